/** May this CRL be used, and does it speak about this certificate? (RFC 5280 §6.3.3) */
import { CaError } from '../errors.ts';
import { verifySignature } from './algorithm.ts';
import { formatName, namesEqual } from './name.ts';
import type { Certificate } from './certificate.ts';
import type { Crl } from './crl-reader.ts';

/** What scope depends on; kept when the entries have gone into an index. */
export type CrlHead = Pick<Crl, 'issuerNameDer' | 'issuer' | 'issuingDistributionPoint' | 'crlNumber' | 'thisUpdate' | 'nextUpdate'>;

export interface CrlFreshness {
  readonly at: Date;
  /** Oldest acceptable age since thisUpdate. Required in effect for a CRL without nextUpdate, which is refused otherwise. */
  readonly maxAgeMs?: number;
  /** How far thisUpdate may lie in the future, and nextUpdate in the past. Default 0. */
  readonly toleranceMs?: number;
}

export interface CrlVerification extends CrlFreshness {
  /** `complete` refuses delta CRLs, which list changes only, and is the default; `delta` refuses complete ones. */
  readonly kind?: 'complete' | 'delta';
}

/**
 * Refuses a CRL that must not be used:
 * `ERR_CRL_ISSUER`: another issuer, or one that may not sign CRLs ·
 * `ERR_CRL_SCOPE`: indirect, limited to some reasons, for attribute certificates, delta ·
 * `ERR_CRL_SIGNATURE`: not made by the issuer's key ·
 * `ERR_CRL_STALE`: from the future, past nextUpdate, or too old.
 * Freshness comes last, so that `ERR_CRL_STALE` is said only of a genuine CRL.
 */
export function verifyCrl(crl: Crl, issuer: Certificate, options: CrlVerification): void {
  checkIssuer(crl, issuer);
  checkKind(crl, options.kind ?? 'complete');
  if (!verifySignature({ spki: issuer.spki, algorithm: crl.signatureAlgorithm, data: crl.tbs, signature: crl.signature })) {
    throw refusal(crl, 'ERR_CRL_SIGNATURE', 'the CRL is not signed by its issuer; fetch it again from the issuer');
  }
  checkCrlFreshness(crl, options);
}

/** The time rules alone, for a CRL that was verified before. Refuses with `ERR_CRL_STALE`. */
export function checkCrlFreshness(crl: Crl, { at, maxAgeMs, toleranceMs = 0 }: CrlFreshness): void {
  const now = at.getTime();
  if (Number.isNaN(now)) throw new TypeError('at must be a valid date');
  if (crl.thisUpdate.getTime() > now + toleranceMs) throw refusal(crl, 'ERR_CRL_STALE', 'the CRL comes from the future; check the clock of this machine');
  if (crl.nextUpdate === undefined) {
    // RFC 5280 §5.1.2.5 requires nextUpdate; without it only an explicit age bounds the CRL's life.
    if (maxAgeMs === undefined) throw refusal(crl, 'ERR_CRL_STALE', 'the CRL has no nextUpdate; set a maximum age to accept it');
  } else if (now >= crl.nextUpdate.getTime() + toleranceMs) {
    throw refusal(crl, 'ERR_CRL_STALE', 'the CRL is past its nextUpdate; publish or fetch a newer one');
  }
  if (maxAgeMs !== undefined && now - crl.thisUpdate.getTime() > maxAgeMs) throw refusal(crl, 'ERR_CRL_STALE', 'the CRL is older than the maximum age; publish or fetch a newer one');
}

/** Whether the CRL speaks about the certificate; `checkCrlCovers` says why not. */
export function crlCovers(crl: CrlHead, certificate: Certificate): boolean {
  return uncovered(crl, certificate) === undefined;
}

/** Refuses with `ERR_CRL_ISSUER` or `ERR_CRL_SCOPE` when absence from this CRL would say nothing about the certificate. */
export function checkCrlCovers(crl: CrlHead, certificate: Certificate): void {
  const refused = uncovered(crl, certificate);
  if (refused !== undefined) throw refused;
}

function checkIssuer(crl: Crl, issuer: Certificate): void {
  // RFC 5280 §6.3.3 (f): the name, the key, and the permission to sign CRLs.
  if (!namesEqual(crl.issuerNameDer, issuer.subjectNameDer)) throw refusal(crl, 'ERR_CRL_ISSUER', 'the CRL was issued under another name; fetch the one of this issuer');
  if (crl.authorityKeyIdentifier !== undefined && issuer.subjectKeyIdentifier !== undefined && crl.authorityKeyIdentifier !== issuer.subjectKeyIdentifier) {
    throw refusal(crl, 'ERR_CRL_ISSUER', 'the CRL was signed with another key of this issuer; give the certificate of that key');
  }
  if (issuer.keyUsage !== undefined && !issuer.keyUsage.has('cRLSign')) throw refusal(crl, 'ERR_CRL_ISSUER', 'the issuer may not sign CRLs: its keyUsage lacks cRLSign');
  if (issuer.basicConstraints?.ca === false) throw refusal(crl, 'ERR_CRL_ISSUER', 'the issuer is not a CA; use the CRL of the CA itself');
}

function checkKind(crl: Crl, kind: 'complete' | 'delta'): void {
  if (kind === 'complete' && crl.baseCrlNumber !== undefined) throw refusal(crl, 'ERR_CRL_SCOPE', 'the CRL is a delta CRL; fetch the complete one');
  if (kind === 'delta' && crl.baseCrlNumber === undefined) throw refusal(crl, 'ERR_CRL_SCOPE', 'the CRL is complete; expected a delta CRL');
  const scope = crl.issuingDistributionPoint;
  if (scope === undefined) return;
  // Stricter than RFC 5280 §6.3.3 (b): none of these is ever the whole truth about an agent's certificate.
  if (scope.indirect) throw refusal(crl, 'ERR_CRL_SCOPE', 'the CRL is indirect: it lists certificates of other issuers too; use the CRL of the issuer itself');
  if (scope.onlySomeReasons) throw refusal(crl, 'ERR_CRL_SCOPE', 'the CRL covers only some revocation reasons; use a CRL for all of them');
  if (scope.onlyAttributeCertificates) throw refusal(crl, 'ERR_CRL_SCOPE', 'the CRL covers attribute certificates only; use one for public key certificates');
}

function uncovered(crl: CrlHead, certificate: Certificate): CaError | undefined {
  if (!namesEqual(crl.issuerNameDer, certificate.issuerNameDer)) return refusal(crl, 'ERR_CRL_ISSUER', 'the certificate has another issuer than the CRL');
  // RFC 5280 §6.3.3: a point with cRLIssuer leads to an indirect CRL, one with reasons covers only those.
  const points = certificate.crlDistributionPoints?.filter((point) => !point.foreignIssuer && !point.limitedReasons);
  if (points?.length === 0) return refusal(crl, 'ERR_CRL_SCOPE', 'the certificate names only distribution points for partial CRLs or CRLs of other issuers');
  const scope = crl.issuingDistributionPoint;
  if (scope === undefined) return undefined;
  if (scope.indirect || scope.onlySomeReasons || scope.onlyAttributeCertificates) return refusal(crl, 'ERR_CRL_SCOPE', 'the CRL is indirect or partial');
  // §6.3.3 (b)(2)(i): one of the names must be one of the certificate's, octet for octet.
  if (scope.uris !== undefined && !scope.uris.some((uri) => points?.some((point) => point.uris.includes(uri)) === true)) {
    return refusal(crl, 'ERR_CRL_SCOPE', 'the CRL belongs to another distribution point than the certificate');
  }
  return kindMismatch(crl, certificate);
}

/** RFC 5280 §6.3.3 (b)(2)(ii) and (iii). */
function kindMismatch(crl: CrlHead, certificate: Certificate): CaError | undefined {
  const scope = crl.issuingDistributionPoint;
  if (scope === undefined || (!scope.onlyUserCertificates && !scope.onlyCaCertificates)) return undefined;
  // Before version 3 nothing says whether a certificate is a CA's.
  if (certificate.version !== 3) return refusal(crl, 'ERR_CRL_SCOPE', 'the CRL is limited to one kind of certificate, and this one does not say its kind');
  const ca = certificate.basicConstraints?.ca === true;
  if (scope.onlyUserCertificates && ca) return refusal(crl, 'ERR_CRL_SCOPE', 'the CRL covers end-entity certificates only, and this is a CA');
  if (scope.onlyCaCertificates && !ca) return refusal(crl, 'ERR_CRL_SCOPE', 'the CRL covers CA certificates only, and this is not one');
  return undefined;
}

function refusal(crl: CrlHead, code: 'ERR_CRL_ISSUER' | 'ERR_CRL_SCOPE' | 'ERR_CRL_SIGNATURE' | 'ERR_CRL_STALE', message: string): CaError {
  return new CaError(code, message, {
    facts: {
      issuer: formatName(crl.issuer),
      crlNumber: crl.crlNumber?.toString(),
      thisUpdate: crl.thisUpdate.toISOString(),
      nextUpdate: crl.nextUpdate?.toISOString(),
    },
  });
}
