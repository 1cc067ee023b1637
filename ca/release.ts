/** Lifting a hold, the only revocation that can be taken back (RFC 5280 §5.3.1, removeFromCRL). */
import { CaError } from './errors.ts';
import { certificateReleased } from './events.ts';
import type { CertificateRecord } from './ports.ts';
import type { ReleaseResult, ReleaseSelector, RevokeOptions } from './requests.ts';
import { allCertificates, compromises } from './revocation.ts';
import type { RevocationWorld } from './revocation.ts';
import { describeSelector, queryOf } from './revocation-selector.ts';

/** @throws CaError `ERR_CA_CERTIFICATE_UNKNOWN`, `ERR_CA_NOT_HELD`, `ERR_CA_KEY_REFUSED` */
export const releaseSelected = async (
  { store, clock }: Pick<RevocationWorld, 'store' | 'clock'>,
  selector: ReleaseSelector,
  options: Pick<RevokeOptions, 'actor' | 'among'>,
): Promise<ReleaseResult> => {
  const { what, facts } = describeSelector(selector);
  const at = clock.now();
  const found = await allCertificates(store, queryOf(selector, at));
  const held = found.filter((record) => record.state === 'revoked' && record.revocationReason === 'certificateHold' && (options.among?.(record) ?? true));
  if (held.length === 0) throw notHeld(what, found, facts);
  for (const { spkiHash, serial } of held) {
    const ofKey = await allCertificates(store, { spkiHash, revocationReasons: [...compromises] });
    if (ofKey.length > 0) {
      throw new CaError('ERR_CA_KEY_REFUSED', `the key of serial ${serial} was revoked as compromised with another certificate; revoke this one too and enroll with a new key`, { facts: { serial, spkiHash } });
    }
  }
  const actor = options.actor ?? 'ca';
  const result = await store.release(held, at, (record) => certificateReleased(record, { time: at, actor }));
  // Somebody else was faster, with a release or a final revocation.
  if (result.released.length === 0) throw notHeld(what, await allCertificates(store, queryOf(selector, at)), facts);
  return result;
};

const notHeld = (what: string, found: readonly CertificateRecord[], facts: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>): CaError => {
  const final = found.find(({ state }) => state === 'revoked');
  if (final !== undefined) return new CaError('ERR_CA_NOT_HELD', `${what} is revoked for good (${final.revocationReason ?? 'unspecified'}): only a hold can be lifted; issue a new certificate`, { facts });
  if (found.length > 0) return new CaError('ERR_CA_NOT_HELD', `${what} is not on hold; see sallyport inventory --status held`, { facts });
  return new CaError('ERR_CA_CERTIFICATE_UNKNOWN', `${what} has no certificate here; see sallyport inventory`, { facts });
};
