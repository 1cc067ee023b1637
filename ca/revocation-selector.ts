/** Which certificates a selector means. */
import { CaError } from './errors.ts';
import type { ErrorFacts } from './errors.ts';
import type { CertificateQuery, CertificateRecord } from './ports.ts';
import { roleOf } from './record-role.ts';
import type { RevokeSelector } from './requests.ts';
import { serialFromHex, serialToHex } from './x509/serial.ts';

type Query = Omit<CertificateQuery, 'limit' | 'offset'>;

/** @throws CaError `ERR_CA_SELECTION` when nothing is selected by, `ERR_DER_INVALID` for what is no serial */
export const queryOf = (selector: RevokeSelector, now: Date): Query => {
  const { agent, organizationalUnit, issuerId, profile, issuedFrom, issuedBefore } = selector;
  const given: Query = {
    ...(agent === undefined ? {} : { agent }),
    ...(selector.serial === undefined ? {} : { serial: serialToHex(serialFromHex(selector.serial)) }),
    ...(selector.thumbprint === undefined ? {} : { thumbprint: plainHex(selector.thumbprint) }),
    ...(selector.spkiHash === undefined ? {} : { spkiHash: plainHex(selector.spkiHash) }),
    ...(organizationalUnit === undefined ? {} : { organizationalUnit }),
    ...(issuerId === undefined ? {} : { issuerId }),
    ...(profile === undefined ? {} : { profile }),
    ...(issuedFrom === undefined ? {} : { createdFrom: issuedFrom }),
    ...(issuedBefore === undefined ? {} : { createdBefore: issuedBefore }),
  };
  // No condition would mean every certificate there is, by mistake most likely.
  if (Object.keys(given).length === 0) throw new CaError('ERR_CA_SELECTION', 'nothing says which certificates are meant; give an agent, a serial or another way of naming them');
  return isExact(selector) ? given : { ...given, validAt: wholeSecond(now) };
};

/** A CA goes with all it issued, so no bulk selection takes it along. */
export const isChosen = (selector: RevokeSelector): ((record: CertificateRecord) => boolean) =>
  isExact(selector) || selector.agent !== undefined ? () => true : (record) => roleOf(record) !== 'ca';

/** The selector in words. */
export const describeSelector = (selector: RevokeSelector): { readonly what: string; readonly facts: ErrorFacts } => {
  const facts: Record<string, string> = {};
  for (const [name, value] of Object.entries(selector) as [keyof RevokeSelector, string | Date | undefined][]) {
    if (value !== undefined) facts[name] = value instanceof Date ? value.toISOString() : value;
  }
  const words = Object.entries(facts).map(([name, value]) => `${labels[name as keyof RevokeSelector]} ${name === 'serial' || name === 'thumbprint' ? value : JSON.stringify(value)}`);
  return { what: words.join(' with '), facts };
};

/** notAfter is inclusive: within its last second a certificate still lives. */
export const wholeSecond = (now: Date): Date => new Date(Math.floor(now.getTime() / 1_000) * 1_000);

/** One certificate or one key is named: expired ones are reached too, since the key goes on. */
const isExact = ({ serial, thumbprint, spkiHash }: RevokeSelector): boolean => serial !== undefined || thumbprint !== undefined || spkiHash !== undefined;

/** As OpenSSL prints them: with colons, in upper case. */
const plainHex = (text: string): string => text.replaceAll(':', '').toLowerCase();

const labels: Readonly<Record<keyof RevokeSelector, string>> = {
  agent: 'agent',
  serial: 'serial',
  thumbprint: 'thumbprint',
  spkiHash: 'key',
  organizationalUnit: 'organizational unit',
  issuerId: 'issuer',
  profile: 'profile',
  issuedFrom: 'issue from',
  issuedBefore: 'issue before',
};
