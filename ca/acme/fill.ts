/** What an order asks of the authority: only the key comes from its certificate request, and the names there must be those that were ordered. */
import { isIP } from 'node:net';
import type { CertificateRecord } from '../ports.ts';
import type { CertificateKey, IssuedCertificate } from '../requests.ts';
import type { Csr } from '../x509/csr.ts';
import { lowerCaseHost } from '../subject-rules.ts';
import { nameAttributes } from '../x509/name.ts';
import { actorOf } from './events.ts';
import type { AcmeOrder, ExternalAccount } from './ports.ts';
import { AcmeProblem } from './problem.ts';
import type { AccountRequest } from './signed-request.ts';
import type { AcmeWorld } from './world.ts';

/** RFC 8555 §7.4: exactly the identifiers of the order. @throws AcmeProblem `badCSR` */
export const checkNames = (order: AcmeOrder, csr: Csr, external: ExternalAccount | undefined): void => {
  const commonNames = nameAttributes(csr.subject, 'CN').map(plain);
  const { dnsNames, ipAddresses } = csr.requested;
  if (external?.agent === undefined) {
    requireSame(new Set([...dnsNames.map(plain), ...ipAddresses, ...commonNames]), order.identifiers.map(({ value }) => value));
    return;
  }
  // Whatever else there is the authority judges: the agent itself may be named, in any of its spellings.
  const ordered = order.identifiers.filter(({ type }) => type === 'dns').map(({ value }) => value);
  requireSame(new Set([...dnsNames.map(plain), ...commonNames].filter((name) => ordered.includes(name))), ordered);
};

/** What an approval is for: this order. */
export const credentialOf = (order: AcmeOrder): string => `acme order ${order.id}`;

/** @throws CaError as the authority does, `ERR_REQUEST_PENDING` when a second person must approve it */
export const fillOrder = async (world: AcmeWorld, { account, external, address }: AccountRequest, { order, csr }: { readonly order: AcmeOrder; readonly csr: Csr }): Promise<IssuedCertificate> => {
  const { authority } = world;
  const values = order.identifiers.map(({ value }) => value);
  const asking = { actor: actorOf(account.id), way: 'acme', credential: credentialOf(order), csr: csr.der, profile: order.profile, address, ...(external === undefined ? {} : { vouchedBy: external.createdBy }) } as const;
  if (external?.agent === undefined) {
    // The first is the commonName, and the request may have chosen one.
    const [chosen] = nameAttributes(csr.subject, 'CN').map(plain);
    return authority.issueServer({ ...asking, hosts: chosen === undefined ? values : [chosen, ...values.filter((name) => name !== chosen)] });
  }
  const replaces = await predecessorOf(world, account.id);
  return authority.issue({
    ...asking,
    agent: external.agent,
    organizationalUnits: external.organizationalUnits,
    // ACME clients write what they ordered into the request. It stands for the agent, and the certificate has the SPIFFE ID in its place.
    standIns: [...new Set([external.agent, ...values])],
    wordGivenAt: external.createdAt,
    ...(external.ttlSeconds === undefined ? {} : { ttl: external.ttlSeconds }),
    ...(replaces === undefined ? {} : { replaces }),
  });
};

/**
 * The certificate that the account renews, so that what a lost answer left behind makes room, as it does in
 * renewal over mutual TLS: the newest one that was seen in use, else the oldest that lives.
 */
const predecessorOf = async ({ store, authority, clock }: AcmeWorld, accountId: string): Promise<CertificateKey | undefined> => {
  const live: CertificateRecord[] = [];
  for (const { serial, issuerId } of await store.certificatesOf(accountId, clock.now())) live.push(...(await authority.certificates({ serial, issuerId, states: ['issued'] })));
  const record = live.findLast(({ firstSeenAt }) => firstSeenAt !== undefined) ?? live[0];
  return record && { issuerId: record.issuerId, serial: record.serial };
};

const plain = (name: string): string => (isIP(name) === 0 ? lowerCaseHost(name) : name);

const requireSame = (asked: ReadonlySet<string>, ordered: readonly string[]): void => {
  const missing = ordered.filter((name) => !asked.has(name));
  const foreign = [...asked].filter((name) => !ordered.includes(name));
  if (missing.length > 0) throw new AcmeProblem('badCSR', `the request lacks what was ordered: ${missing.join(', ')}`);
  if (foreign.length > 0) throw new AcmeProblem('badCSR', `the request asks for what was not ordered: ${foreign.map((name) => JSON.stringify(name.slice(0, 100))).join(', ')}`);
};
