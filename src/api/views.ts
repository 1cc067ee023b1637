/** Records of the authority as the API shows them, and cursors over lists. */
import { z } from 'zod';
import { encodePem } from '../../ca/x509/pem.ts';
import { keyAlgorithmOfSpki } from '../../ca/x509/algorithm.ts';
import { formatName } from '../../ca/x509/name.ts';
import type { CertificateAuthority } from '../../ca/authority.ts';
import type { Issuer } from '../../ca/issuer.ts';
import type { CertificateRecord, CrlState, ListedToken } from '../../ca/ports.ts';
import type { Profile } from '../../ca/profile.ts';
import type { AdminTarget } from '../admin/decision.ts';
import { SallyportError } from '../errors.ts';
import type { authority as authoritySchema, certificate as certificateSchema, certificateStatus, crl as crlSchema, issued as issuedSchema, profile as profileSchema, token as tokenSchema } from './schemas.ts';

export const certificateView = (record: CertificateRecord, now: Date): z.input<typeof certificateSchema> => ({
  serial: record.serial,
  issuer: record.issuerId,
  thumbprint: record.thumbprint ?? null,
  status: statusOf(record, now),
  agent: record.agent,
  profile: record.profile,
  subject: record.subject,
  organizationalUnits: [...record.organizationalUnits],
  uri: record.uri ?? null,
  dnsNames: [...record.dnsNames],
  spkiHash: record.spkiHash,
  notBefore: record.notBefore.toISOString(),
  notAfter: record.notAfter.toISOString(),
  createdAt: record.createdAt.toISOString(),
  replaces: record.replaces ?? null,
  revokedAt: record.revokedAt?.toISOString() ?? null,
  revocationReason: record.revocationReason ?? null,
  firstSeenAt: record.firstSeenAt?.toISOString() ?? null,
});

const statusOf = (record: CertificateRecord, now: Date): z.output<typeof certificateStatus> => {
  if (record.revocationReason === 'certificateHold') return 'held';
  if (record.state !== 'issued') return record.state;
  // notAfter is inclusive, and certificates count in seconds.
  return now.getTime() >= record.notAfter.getTime() + 1_000 ? 'expired' : 'live';
};

/** As it was handed out; `ERR_CA_CERTIFICATE_UNKNOWN` when there is no certificate behind the record. */
export const issuedView = (record: CertificateRecord, authority: CertificateAuthority, now: Date): z.input<typeof issuedSchema> => {
  if (record.der === undefined) throw new SallyportError('ERR_INTERNAL', 'the certificate is not in the store');
  const pem = encodePem('CERTIFICATE', record.der);
  return { certificate: certificateView(record, now), pem, chain: pem + (authority.issuerById(record.issuerId)?.chain ?? ''), roots: authority.roots };
};

export const targetOf = ({ agent, profile, organizationalUnits }: Pick<CertificateRecord, 'agent' | 'profile' | 'organizationalUnits'>): AdminTarget => ({ agent, profile, organizationalUnits });

export const tokenView = (token: ListedToken): z.input<typeof tokenSchema> => ({
  id: token.secretHash,
  agent: token.agent,
  organizationalUnits: [...token.organizationalUnits],
  profile: token.profile,
  certificateTtlSeconds: token.ttlSeconds ?? null,
  createdAt: token.createdAt.toISOString(),
  createdBy: token.createdBy ?? null,
  expiresAt: token.expiresAt.toISOString(),
  spentAt: token.spentAt?.toISOString() ?? null,
});

/** All partitions of a CA as one, as `sallyport crl` tells of them: the highest number, the earliest times. Undefined while there is none. */
export const crlView = (parts: readonly Pick<CrlState, 'issuerId' | 'crlNumber' | 'thisUpdate' | 'nextUpdate' | 'entries'>[], ca: string): z.input<typeof crlSchema> | undefined => {
  const [first] = parts;
  if (first === undefined) return undefined;
  const earliest = (dates: readonly Date[]): string => new Date(Math.min(...dates.map((date) => date.getTime()))).toISOString();
  return {
    ca,
    issuer: first.issuerId,
    crlNumber: String(parts.reduce((most, { crlNumber }) => (crlNumber > most ? crlNumber : most), 0n)),
    thisUpdate: earliest(parts.map(({ thisUpdate }) => thisUpdate)),
    nextUpdate: earliest(parts.map(({ nextUpdate }) => nextUpdate)),
    entries: parts.reduce((sum, { entries }) => sum + entries, 0),
    partitions: parts.length,
  };
};

export const authorityView = ({ name, id, role, status, since, root, certificate, signer, pem }: Issuer): z.input<typeof authoritySchema> => ({
  name,
  id,
  role,
  status,
  subject: formatName(certificate.subject),
  serial: certificate.serial,
  thumbprint: certificate.thumbprint,
  notBefore: certificate.notBefore.toISOString(),
  notAfter: certificate.notAfter.toISOString(),
  since: since.getTime() === 0 ? null : since.toISOString(),
  root,
  keyAlgorithm: keyAlgorithmOfSpki(certificate.spki),
  keyHere: signer !== undefined,
  pem,
});

export const profileView = (profile: Profile): z.input<typeof profileSchema> => ({
  name: profile.name,
  kind: profile.kind,
  extendedKeyUsage: [...profile.extendedKeyUsage],
  defaultTtlSeconds: profile.defaultTtlSeconds,
  maxTtlSeconds: profile.maxTtlSeconds,
  keyAlgorithms: [...profile.keyAlgorithms],
  status: profile.status,
  approval: profile.approval,
});

/** Of an issuer by name or id. */
export const issuerIdOf = (word: string | undefined, authority: Pick<CertificateAuthority, 'issuers'>): string | undefined => {
  if (word === undefined || word.length === 64) return word;
  const found = authority.issuers.find(({ name }) => name === word);
  if (found === undefined) throw badRequest(`there is no CA named ${word}: use one of ${authority.issuers.map(({ name }) => name).join(', ')}`);
  return found.id;
};

const place = z.tuple([z.int().min(0).max(8_640_000_000_000_000), z.string().max(64), z.string().max(64)]);

/** Where a page ended: nothing secret, but nobody's business to make up. */
export const cursorOf = (at: Date, first: string, second = ''): string => Buffer.from(JSON.stringify([at.getTime(), first, second])).toString('base64url');

export const placeOf = (cursor: string): { readonly at: Date; readonly first: string; readonly second: string } => {
  try {
    const [at, first, second] = place.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
    return { at: new Date(at), first, second };
  } catch {
    throw badRequest('cursor: take it from `next` of the page before');
  }
};

export const badRequest = (message: string, problems: readonly string[] = []): SallyportError => new SallyportError('ERR_API_REQUEST', message, { facts: { problems } });
