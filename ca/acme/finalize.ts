/** From a ready order to a certificate, RFC 8555 §7.4. */
import { hash } from 'node:crypto';
import { CaError } from '../errors.ts';
import { provenCsr } from '../csr-content.ts';
import { pathAbove } from '../issuer.ts';
import type { CertificateRecord } from '../ports.ts';
import type { IssuedCertificate } from '../requests.ts';
import { encodePem } from '../x509/pem.ts';
import type { Csr } from '../x509/csr.ts';
import { fromBase64url, toBase64url } from './base64url.ts';
import { orderFailed, orderFilled } from './events.ts';
import { checkNames, credentialOf, fillOrder } from './fill.ts';
import type { AcmeOrder, OrderedCertificate } from './ports.ts';
import { AcmeProblem, problemOf } from './problem.ts';
import { payloadOf } from './signed-request.ts';
import type { AccountRequest } from './signed-request.ts';
import type { AcmeWorld } from './world.ts';

/** An order as it is now, and when to ask again if it is not done. */
export interface Progress {
  readonly order: AcmeOrder;
  readonly retryAfterSeconds?: number | undefined;
}

/** An order that has been processing for this long was left behind by a process that ended. */
const staleMs = 60_000;

/** @throws AcmeProblem; what the client can do better leaves the order ready */
export const finalize = async (world: AcmeWorld, request: AccountRequest, order: AcmeOrder): Promise<Progress> => {
  const { store, clock } = world;
  const { key } = request;
  if (order.status !== 'ready' || order.expiresAt <= clock.now()) throw new AcmeProblem('orderNotReady', `the order is ${order.status === 'ready' ? 'expired' : order.status}, not ready`);
  const csr = readCsr(payloadOf(request).get('csr'));
  // RFC 8555 §11.1.
  if (Buffer.from(csr.spki).equals(key.spki)) throw new AcmeProblem('badCSR', 'the key of the account must not be certified; make another one');
  checkNames(order, csr, request.external);
  const claim = { csr: toBase64url(csr.der), spkiHash: csr.spkiHash, at: clock.now() };
  if (!(await store.claimOrder(order.id, claim))) throw new AcmeProblem('orderNotReady', 'the order is being filled already');
  const claimed: AcmeOrder = { ...order, status: 'processing', csr: claim.csr, spkiHash: claim.spkiHash, finalizedAt: claim.at };
  try {
    return await filled(world, claimed, await fillOrder(world, request, { order: claimed, csr }));
  } catch (error) {
    if (isWaiting(error)) return { order: claimed, retryAfterSeconds: patienceOf(error) };
    const problem = problemOf(error, world.present);
    // Whether something was signed is settled later from what is on record, unless the authority said no.
    if (error instanceof CaError && problem.type !== 'serverInternal') await store.releaseOrder(order.id);
    throw problem;
  }
};

/** An order that is processing is one that a second person must approve, or one that a process left behind when it ended. */
export const followUp = async (world: AcmeWorld, request: AccountRequest, order: AcmeOrder): Promise<Progress> => {
  if (order.status !== 'processing' || order.csr === undefined) return { order };
  if (world.authority.profiles.get(order.profile)?.approval === 'required') return approved(world, request, order, provenCsr(fromBase64url(order.csr, maxCsrOctets) ?? new Uint8Array()));
  return settleAbandoned(world, order);
};

/** Asking again with the same order and key is what collects the certificate. */
const approved = async (world: AcmeWorld, request: AccountRequest, order: AcmeOrder, csr: Csr): Promise<Progress> => {
  // Whoever asks again after a denial begins anew; an order that was denied does not.
  const requests = await world.certificates.findRequests({ credentialHash: hash('sha256', credentialOf(order), 'hex') });
  const refusal = requests.find(({ state, expiresAt }) => state === 'denied' || state === 'expired' || (state === 'pending' && expiresAt <= world.clock.now()));
  if (refusal !== undefined) return failed(world, order, new AcmeProblem('unauthorized', refusal.state === 'denied' ? 'the order was denied; ask the operator' : 'the order was not approved in time; ask the operator, then make a new one'));
  try {
    return await filled(world, order, await fillOrder(world, request, { order, csr }));
  } catch (error) {
    if (isWaiting(error)) return { order, retryAfterSeconds: patienceOf(error) };
    const problem = problemOf(error, world.present);
    if (problem.type === 'serverInternal' || problem.type === 'rateLimited') throw problem;
    return failed(world, order, problem);
  }
};

/** The inventory knows whether there is a certificate. */
const settleAbandoned = async (world: AcmeWorld, order: AcmeOrder): Promise<Progress> => {
  const { clock, authority } = world;
  const { finalizedAt, spkiHash } = order;
  if (finalizedAt === undefined || spkiHash === undefined || clock.now().getTime() - finalizedAt.getTime() < staleMs) return { order };
  const made = await authority.certificates({ spkiHash, profile: order.profile, createdFrom: finalizedAt });
  const record = made.find(({ der }) => der !== undefined);
  if (record?.der === undefined) return failed(world, order, new AcmeProblem('serverInternal', 'the certificate could not be issued; make a new order'));
  return filled(world, order, { ...record, chain: chainOf(world, record, record.der) });
};

const filled = async ({ store, clock }: AcmeWorld, order: AcmeOrder, { issuerId, serial, chain, notAfter }: Pick<IssuedCertificate, 'issuerId' | 'serial' | 'chain' | 'notAfter'>): Promise<Progress> => {
  const certificate: OrderedCertificate = { issuerId, serial, chain, notAfter };
  await store.settleOrder(order.id, { certificate }, orderFilled(order, certificate, { time: clock.now() }));
  return { order: { ...order, status: 'valid', certificate } };
};

const failed = async ({ store, clock }: AcmeWorld, order: AcmeOrder, { document: error }: AcmeProblem): Promise<Progress> => {
  await store.settleOrder(order.id, { error }, orderFailed(order, error, { time: clock.now() }));
  return { order: { ...order, status: 'invalid', error } };
};

const isWaiting = (error: unknown): error is CaError => error instanceof CaError && error.code === 'ERR_REQUEST_PENDING';

const patienceOf = ({ facts }: CaError): number => Math.max(1, Number(facts['retryAfterSeconds'] ?? 1));

const chainOf = ({ authority }: AcmeWorld, record: CertificateRecord, der: Uint8Array): string => {
  const issuer = authority.issuerById(record.issuerId);
  return encodePem('CERTIFICATE', der) + (issuer === undefined ? '' : pathAbove(authority.hierarchy, issuer).pem);
};

const maxCsrOctets = 16 * 1024;

const readCsr = (given: unknown): Csr => {
  const der = typeof given === 'string' ? fromBase64url(given, maxCsrOctets) : undefined;
  if (der === undefined || der.length === 0) throw new AcmeProblem('badCSR', 'csr is the base64url of a certificate request in DER');
  try {
    return provenCsr(der);
  } catch (cause) {
    if (cause instanceof CaError) throw new AcmeProblem('badCSR', cause.message, { cause });
    throw cause;
  }
};
