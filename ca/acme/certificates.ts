/** Certificates fetched and revoked, RFC 8555 §7.4.2 and §7.6. */
import { spkiHashOf } from '../issuance.ts';
import type { CertificateRecord, RevocationReason } from '../ports.ts';
import { parseCertificate } from '../x509/certificate.ts';
import { fromBase64url } from './base64url.ts';
import { actorOf } from './events.ts';
import { parseJsonObject } from './jws.ts';
import { ownOrder } from './orders.ts';
import type { Identifier } from './ports.ts';
import { AcmeProblem, malformed, notFound, problemOf } from './problem.ts';
import { requireEmpty } from './signed-request.ts';
import type { AccountRequest, SignedRequest } from './signed-request.ts';
import type { AcmeWorld } from './world.ts';

export const certificate = async (world: AcmeWorld, request: AccountRequest, orderId: string): Promise<Response> => {
  requireEmpty(request);
  const order = await ownOrder(world, request, orderId);
  if (order.certificate === undefined) throw notFound('certificate');
  return new Response(order.certificate.chain, { headers: { 'content-type': 'application/pem-certificate-chain', 'cache-control': 'no-store' } });
};

/** CRLReason codes (RFC 5280 §5.3.1) that a subscriber may give. A hold, and what concerns CAs, is the operator's. */
const reasons: ReadonlyMap<number, RevocationReason> = new Map<number, RevocationReason>([
  [0, 'unspecified'],
  [1, 'keyCompromise'],
  [3, 'affiliationChanged'],
  [4, 'superseded'],
  [5, 'cessationOfOperation'],
  [9, 'privilegeWithdrawn'],
]);

/** By the account that ordered it, one that is authorized for all of its names, or by whoever has its key. */
export const revokeCert = async (world: AcmeWorld, request: SignedRequest | AccountRequest): Promise<Response> => {
  const { authority } = world;
  const payload = parseJsonObject(request.payload, 'payload');
  const given = payload.get('certificate');
  const der = typeof given === 'string' ? fromBase64url(given, 16 * 1024) : undefined;
  if (der === undefined) throw malformed('certificate is the base64url of a certificate in DER');
  const code = payload.get('reason') ?? 0;
  const reason = typeof code === 'number' ? reasons.get(code) : undefined;
  if (reason === undefined) throw new AcmeProblem('badRevocationReason', `the reason must be one of ${[...reasons.keys()].join(', ')}`);
  const record = await recordOf(world, der);
  const actor = await requireEntitled(world, request, record);
  try {
    await authority.revoke({ issuerId: record.issuerId, serial: record.serial }, { reason, actor });
  } catch (error) {
    throw problemOf(error, world.present);
  }
  return new Response(null, { status: 200 });
};

const recordOf = async ({ authority }: AcmeWorld, der: Uint8Array): Promise<CertificateRecord> => {
  let thumbprint: string;
  try {
    ({ thumbprint } = parseCertificate(der));
  } catch (cause) {
    throw malformed('the certificate cannot be read', { cause });
  }
  const [record] = await authority.certificates({ thumbprint, limit: 1 });
  if (record === undefined) throw notFound('certificate');
  return record;
};

/** Answers with who it is, for the audit log. */
const requireEntitled = async ({ authority, store, clock }: AcmeWorld, request: SignedRequest | AccountRequest, record: CertificateRecord): Promise<string> => {
  if (!('account' in request)) {
    if (record.spkiHash === spkiHashOf(request.key.spki)) return 'acme:certificate key';
    throw new AcmeProblem('unauthorized', 'the request is signed with another key than that of the certificate');
  }
  const { account, external } = request;
  const order = await store.orderOfCertificate(record.issuerId, record.serial);
  // A server may be named as an agent is; the account of the agent is not for it.
  const isAgents = external?.agent === record.agent && authority.profiles.get(record.profile)?.kind !== 'server';
  if (order?.accountId === account.id || isAgents) return actorOf(account.id);
  // What stands for an agent was given to its account unproved, and a server may be called so.
  if (external?.agent !== undefined) throw new AcmeProblem('unauthorized', 'the account is for the certificates of its agent');
  const names = record.der === undefined ? [] : identifiersOf(record.der);
  for (const identifier of names) {
    if (!(await store.isAuthorized(account.id, identifier, clock.now()))) throw new AcmeProblem('unauthorized', 'the account neither ordered the certificate nor is authorized for all of its names');
  }
  if (names.length === 0) throw new AcmeProblem('unauthorized', 'the account did not order the certificate');
  return actorOf(account.id);
};

/** What an account would have to be authorized for; nothing when the certificate has names of other kinds. */
const identifiersOf = (der: Uint8Array): readonly Identifier[] => {
  const { dnsNames, ipAddresses, uris, emails, otherNames } = parseCertificate(der);
  if (uris.length + emails.length + otherNames.length > 0) return [];
  return [...dnsNames.map((value): Identifier => ({ type: 'dns', value })), ...ipAddresses.map((value): Identifier => ({ type: 'ip', value }))];
};
