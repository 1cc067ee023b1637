/** The status of certificates by CRLs that came along (RFC 5280 §6.3), delta CRLs included. */
import { CaError } from '../../errors.ts';
import { checkCrlCovers, verifyCrl } from '../crl.ts';
import { formatName } from '../name.ts';
import { nameKey } from './name-key.ts';
import type { Certificate } from '../certificate.ts';
import type { Crl, CrlFreshness, RevokedEntry } from '../crl.ts';
import type { CertificateStatus, StatusSource } from './verdict.ts';

/** Whether a CRL is its issuer's, and not out of date; `why` says why not. */
type Standing = { readonly genuine: true; readonly current: boolean; readonly why: string } | { readonly genuine: false; readonly why: string };

/**
 * Each CRL must be signed by the key that signed the certificate: those of another issuer
 * (indirect), of another key of the same name, and for some reasons only are not used. Signatures are
 * checked once per CRL and issuer.
 */
export function statusFromCrls(crls: readonly Crl[], freshness: CrlFreshness): StatusSource {
  const byIssuer = new Map<string, Crl[]>();
  for (const crl of crls) {
    const name = nameKey(crl.issuer);
    const same = byIssuer.get(name);
    if (same === undefined) byIssuer.set(name, [crl]);
    else same.push(crl);
  }
  const standings = new WeakMap<Crl, Map<string, Standing>>();
  const standing = (crl: Crl, issuer: Certificate): Standing => {
    const known = standings.get(crl) ?? new Map<string, Standing>();
    standings.set(crl, known);
    // What `verifyCrl` looks at stands in the issuer's certificate, not in its key alone.
    const value = known.get(issuer.thumbprint) ?? judge(crl, issuer, freshness);
    known.set(issuer.thumbprint, value);
    return value;
  };
  return (certificate, issuer) => {
    const found = (byIssuer.get(nameKey(certificate.issuer)) ?? []).map((crl): Found => ({ crl, standing: standing(crl, issuer), elsewhere: scopeProblem(crl, certificate) }));
    return revocation(found, certificate, freshness.at) ?? conclusion(found, certificate);
  };
}

interface Found {
  readonly crl: Crl;
  readonly standing: Standing;
  /** Why the CRL says nothing about the certificate; undefined when it does. */
  readonly elsewhere: string | undefined;
}

/** A revocation counts for good, also in a CRL that is out of date; only certificateHold can be lifted, and is judged by the newest. */
function revocation(found: readonly Found[], certificate: Certificate, at: Date): CertificateStatus | undefined {
  for (const { crl, standing, elsewhere } of found) {
    if (!standing.genuine || elsewhere !== undefined) continue;
    const entry = crl.find(certificate.serial);
    if (entry?.reason === undefined || entry.reason === 'certificateHold') continue;
    // At a moment of the past, what a later CRL lists may not have been revoked yet.
    if (standing.current || entry.revokedAt <= at) return { status: 'revoked', reason: entry.reason, revokedAt: entry.revokedAt };
  }
  return undefined;
}

function conclusion(found: readonly Found[], certificate: Certificate): CertificateStatus {
  const usable = found.filter(({ standing, elsewhere }) => standing.genuine && standing.current && elsewhere === undefined).map(({ crl }) => crl);
  const base = newest(usable.filter(({ baseCrlNumber }) => baseCrlNumber === undefined));
  if (base === undefined) return unlisted(found, certificate);
  const delta = newest(usable.filter((crl) => isLaterDelta(crl, base) && isOfSameScope(crl, base)));
  const change = delta?.find(certificate.serial);
  // What a delta CRL takes off counts only where it belongs to the complete one; what it adds counts anyway.
  const held: RevokedEntry | undefined = change !== undefined && (change.reason !== undefined || completes(delta, base)) ? change : base.find(certificate.serial);
  if (held?.reason !== undefined) return { status: 'revoked', reason: held.reason, revokedAt: held.revokedAt };
  const number = (crl: Crl) => (crl.crlNumber === undefined ? `of ${crl.thisUpdate.toISOString()}` : String(crl.crlNumber));
  return { status: 'good', source: `CRL ${number(base)}${delta === undefined || !completes(delta, base) ? '' : ` with delta CRL ${number(delta)}`} of ${formatName(base.issuer)}` };
}

function isLaterDelta(crl: Crl, base: Crl): boolean {
  return crl.baseCrlNumber !== undefined && (crl.crlNumber === undefined || base.crlNumber === undefined || base.crlNumber < crl.crlNumber);
}

/** RFC 5280 §5.2.4 (b): numbers of another scope count something else. */
function isOfSameScope(delta: Crl, base: Crl): boolean {
  return JSON.stringify(delta.issuingDistributionPoint) === JSON.stringify(base.issuingDistributionPoint);
}

/** RFC 5280 §5.2.4 (c): the complete CRL is at least as new as the one the changes start from. */
function completes(delta: Crl | undefined, base: Crl): boolean {
  return delta?.baseCrlNumber !== undefined && base.crlNumber !== undefined && delta.baseCrlNumber <= base.crlNumber;
}

function newest(crls: readonly Crl[]): Crl | undefined {
  return crls.toSorted((a, b) => b.thisUpdate.getTime() - a.thisUpdate.getTime() || compareNumbers(b.crlNumber ?? -1n, a.crlNumber ?? -1n))[0];
}

const compareNumbers = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

function unlisted(found: readonly Found[], certificate: Certificate): CertificateStatus {
  // RFC 9608 §4: with a place to look it up, the certificate contradicts itself. Only of end entities.
  if (certificate.noRevAvail && certificate.crlDistributionPoints === undefined && certificate.basicConstraints?.ca !== true) return { status: 'notPublished' };
  const whys = new Set(found.map(({ standing, elsewhere, crl }) => (!standing.genuine || !standing.current ? standing.why : (elsewhere ?? `CRL ${crl.crlNumber ?? ''} is a delta CRL without its complete one`))));
  return { status: 'unknown', because: whys.size === 0 ? 'no CRL of its issuer was given' : [...whys].slice(0, 3).join('; ') };
}

function scopeProblem(crl: Crl, certificate: Certificate): string | undefined {
  try {
    checkCrlCovers(crl, certificate);
    return undefined;
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    return error.message;
  }
}

function judge(crl: Crl, issuer: Certificate, freshness: CrlFreshness): Standing {
  try {
    verifyCrl(crl, issuer, { ...freshness, kind: crl.baseCrlNumber === undefined ? 'complete' : 'delta' });
    return { genuine: true, current: true, why: '' };
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    return error.code === 'ERR_CRL_STALE' ? { genuine: true, current: false, why: error.message } : { genuine: false, why: error.message };
  }
}
