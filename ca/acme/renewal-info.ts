/** When to renew, RFC 9773. */
import type { CertificateRecord, Clock } from '../ports.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { fromBase64url } from './base64url.ts';
import { malformed, notFound } from './problem.ts';
import { json } from './world.ts';
import type { AcmeAuthority } from './world.ts';

const longestPauseSeconds = 6 * 3_600;

/** RFC 9773 §4.1: key identifier of the issuer, a dot, and the serial, both base64url. @throws AcmeProblem */
export const certificateNamed = async (authority: Pick<AcmeAuthority, 'certificates'>, name: string): Promise<CertificateRecord> => {
  const [aki, serial, ...rest] = name.split('.').map((part) => fromBase64url(part, 32));
  if (aki === undefined || serial === undefined || rest.length > 0 || aki.length === 0 || serial.length === 0) throw malformed('a certificate identifier is the base64url of the authority key identifier, a dot, and the base64url of the serial');
  const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
  // The serial is DER content: ours never begin with 00, as their first octet is below 80.
  const found = await authority.certificates({ serial: hex(serial), limit: 10 });
  const record = found.find(({ der }) => der !== undefined && parseCertificate(der).authorityKeyIdentifier === hex(aki));
  if (record === undefined) throw notFound('certificate');
  return record;
};

/** GET; nobody has to prove anything for it. */
export const renewalInfo = async ({ authority, clock }: { readonly authority: Pick<AcmeAuthority, 'certificates' | 'issuerById'>; readonly clock: Clock }, name: string): Promise<Response> => {
  const record = await certificateNamed(authority, name);
  const now = clock.now();
  // A CA that another one has taken the place of is going to be retired: whoever has its certificates needs new ones before that.
  const atOnce = record.state === 'revoked' || authority.issuerById(record.issuerId)?.status !== 'active';
  const { start, end } = windowOf(record, { atOnce, now });
  const lifetime = (record.notAfter.getTime() - record.notBefore.getTime()) / 1_000;
  // RFC 9773 §4.3: how often to ask. Some twenty times in a lifetime, so that a revocation is heard of in time.
  const pause = Math.max(1, Math.min(longestPauseSeconds, Math.floor(lifetime / 20)));
  return json(200, { suggestedWindow: { start: start.toISOString(), end: end.toISOString() } }, { 'retry-after': String(pause) });
};

/** Around two thirds of the lifetime, a twentieth of it wide: clients pick a moment in it, so that they do not all come at once. RFC 9773 §4.2: a window that is over means now. */
const windowOf = ({ notBefore, notAfter }: CertificateRecord, { atOnce, now }: { readonly atOnce: boolean; readonly now: Date }): { readonly start: Date; readonly end: Date } => {
  const lifetime = notAfter.getTime() + 1_000 - notBefore.getTime();
  if (atOnce) return { start: new Date(now.getTime() - 3_600_000), end: new Date(now.getTime() - 1_000) };
  const middle = notBefore.getTime() + (lifetime * 2) / 3;
  return { start: new Date(middle - lifetime / 40), end: new Date(middle + lifetime / 40) };
};
