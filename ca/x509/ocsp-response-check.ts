/** May this OCSP answer be believed, and what does it say of a certificate? (RFC 6960 §3.2 and §4.2.2) */
import { hash } from 'node:crypto';
import { CaError } from '../errors.ts';
import { verifySignature } from './algorithm.ts';
import { parseCertificate, verifyCertificateSignature } from './certificate.ts';
import { equalBytes } from './der.ts';
import { EXTENDED_KEY_USAGE, EXTENSION } from './extension.ts';
import { namesEqual } from './name.ts';
import { issuerHashes, keyBits } from './ocsp-certificate-id.ts';
import type { Certificate } from './certificate.ts';
import type { BasicOcspResponse, OcspResponse, OcspSingleResponse } from './ocsp-response-reader.ts';
import type { OcspCertificateStatus } from './ocsp-response-writer.ts';

export interface OcspVerification {
  /** Whose status was asked for. */
  readonly certificate: Pick<Certificate, 'serial'>;
  /** The CA that signed it. */
  readonly issuer: Certificate;
  readonly at: Date;
  /** What was sent; undefined when none was. */
  readonly nonce?: Uint8Array | undefined;
  /** Whether the answer must repeat it. Default: only what it repeats must be right. */
  readonly nonceRequired?: boolean | undefined;
  /** Whether a delegated signer without ocsp-nocheck may be believed. Default: no. */
  readonly delegateIsGood?: ((delegate: Certificate) => boolean) | undefined;
  /** How far thisUpdate may lie in the future. Default 60,000. */
  readonly toleranceMs?: number | undefined;
}

export interface OcspVerdict {
  readonly status: OcspCertificateStatus;
  readonly thisUpdate: Date;
  /** Without it newer information is always available. */
  readonly nextUpdate: Date | undefined;
}

const TOLERANCE_MS = 60_000;

/** Refuses with `ERR_OCSP_INVALID` what must not be believed, an answer that is out of date included. */
export function verifyOcspResponse(response: OcspResponse, options: OcspVerification): OcspVerdict {
  if (response.status !== 'successful') throw refused(`the responder answers ${response.status}`);
  const { issuer, at, certificate, toleranceMs = TOLERANCE_MS } = options;
  // §4.2.1: of what was asked for. Hashes bind the answer to this issuer's name and key.
  const single = response.responses.find((one) => isAbout(one, certificate, issuer));
  if (single === undefined) throw refused('the answer is about other certificates');
  checkSignature(response, options);
  if (response.nonce === undefined ? options.nonceRequired === true : options.nonce === undefined || !equalBytes(response.nonce, options.nonce)) {
    throw refused('the answer does not repeat the nonce that was sent: it may be an old one');
  }
  const { status, thisUpdate, nextUpdate } = single;
  const now = at.getTime();
  // §3.2 (5) and (6).
  if (thisUpdate.getTime() > now + toleranceMs) throw refused('the answer comes from the future: check both clocks');
  if (nextUpdate !== undefined && now >= nextUpdate.getTime()) throw refused('the answer is past its nextUpdate');
  return { status, thisUpdate, nextUpdate };
}

function isAbout({ certificateId }: OcspSingleResponse, { serial }: Pick<Certificate, 'serial'>, issuer: Certificate): boolean {
  if (certificateId.hash === undefined || certificateId.serial !== serial) return false;
  const { name, key } = issuerHashes(issuer, certificateId.hash);
  return certificateId.issuerNameHash === name && certificateId.issuerKeyHash === key;
}

function checkSignature(response: BasicOcspResponse, options: OcspVerification): void {
  const { issuer } = options;
  const signer = isResponder(response, issuer) ? issuer : delegateIn(response, options);
  if (!verifySignature({ spki: signer.spki, algorithm: response.signatureAlgorithm, data: response.responseData, signature: response.signature })) {
    throw refused('the answer is not signed by its responder');
  }
}

/** §4.2.2.2: the CA itself, or whom it named for this, directly. */
function delegateIn(response: BasicOcspResponse, options: OcspVerification): Certificate {
  const { issuer, at } = options;
  for (const der of response.certificates) {
    const delegate = readable(der);
    if (delegate === undefined || !isResponder(response, delegate)) continue;
    if (!namesEqual(delegate.issuerNameDer, issuer.subjectNameDer) || !verifyCertificateSignature(delegate, issuer.spki)) continue;
    const problem = delegateProblem(delegate, at, options.delegateIsGood);
    if (problem !== undefined) throw refused(`the responder's certificate ${problem}`);
    return delegate;
  }
  throw refused('nobody whom the issuer named has signed the answer');
}

function delegateProblem(delegate: Certificate, at: Date, isGood: OcspVerification['delegateIsGood']): string | undefined {
  // By name: anyExtendedKeyUsage and no extension at all do not count.
  if (delegate.extendedKeyUsage?.includes(EXTENDED_KEY_USAGE.OCSPSigning) !== true) return 'is not for OCSP signing';
  if (delegate.basicConstraints?.ca === true) return 'is that of a CA';
  if (delegate.keyUsage?.has('digitalSignature') === false) return 'may not sign';
  if (delegate.unknownCriticalExtensions.length > 0) return 'has a critical extension that is not understood';
  if (at < delegate.notBefore || at.getTime() >= delegate.notAfter.getTime() + 1000) return 'is not valid at this time';
  // §4.2.2.2.1: without ocsp-nocheck somebody has to say that it is not revoked.
  if (!delegate.extensions.has(EXTENSION.ocspNoCheck) && isGood?.(delegate) !== true) return 'may have been revoked: it lacks ocsp-nocheck, and nobody says how it stands';
  return undefined;
}

function isResponder({ responder }: BasicOcspResponse, certificate: Certificate): boolean {
  return 'nameDer' in responder ? namesEqual(responder.nameDer, certificate.subjectNameDer) : responder.keyHash === hash('sha1', keyBits(certificate.spki), 'hex');
}

function readable(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(Uint8Array.from(der));
  } catch {
    return undefined;
  }
}

function refused(reason: string): CaError {
  return new CaError('ERR_OCSP_INVALID', `the OCSP answer cannot be used: ${reason}`, { facts: { reason } });
}
