/** `sallyport issue --server`: the key is made on this machine, and only a request for it goes to the gateway. */
import { z } from 'zod';
import { CaError } from '../../ca/errors.ts';
import { generatePrivateKey } from '../../ca/key-store.ts';
import type { KeyAlgorithm } from '../../ca/ports.ts';
import { keyAlgorithms } from '../../ca/profile.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { createCsr, parseCsr } from '../../ca/x509/csr.ts';
import { decodePem, encodePem } from '../../ca/x509/pem.ts';
import { newlyIssued, profile as profileSchema } from '../api/schemas.ts';
import { beginIdentity } from '../bridge/identity-directory.ts';
import { SallyportError } from '../errors.ts';
import { argument } from './cli.ts';
import type { Call } from './cli.ts';
import { checkOptions, writeCertificate } from './issue-order.ts';
import type { IssueOptions, Outcome } from './issue-order.ts';
import type { RemoteAuthority } from './remote.ts';

const profiles = z.strictObject({ items: z.array(profileSchema), keyAlgorithm: z.enum(keyAlgorithms as [KeyAlgorithm, ...KeyAlgorithm[]]) });

export async function issueRemotely(call: Call<IssueOptions>, remote: RemoteAuthority, { csr, target, directory }: { readonly csr: Uint8Array | undefined; readonly target: string | undefined; readonly directory: string }): Promise<Outcome> {
  const { items, keyAlgorithm } = await remote.call('GET', '/profiles', { answer: profiles });
  const profile = items.find(({ name }) => name === call.options.profile);
  checkOptions(call.options, profile?.kind);
  if (csr !== undefined) {
    const issued = await order(call, remote, { csr, kind: profile?.kind });
    return { ...issued, files: target === undefined ? [] : await writeCertificate(target, issued.certificate) };
  }
  // Whoever waits for approval must still have the key when it comes.
  if (profile?.approval === 'required') throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} demands approval, so the key is made by whoever asks; give a certificate signing request`, { facts: { profile: profile.name } });
  const key = await generatePrivateKey(keyAlgorithm);
  const draft = await beginIdentity(directory, key, undefined);
  let issued: Issued;
  try {
    issued = await order(call, remote, { csr: createCsr(key), kind: profile?.kind });
  } catch (error) {
    await draft.discard();
    throw error;
  }
  const { certificate, gatewayUrl, renewal, roots } = issued;
  try {
    await draft.commit({ name: certificate.agent, certificatePem: certificate.chain, caPem: roots, gateway: gatewayUrl, renewal });
  } catch (error) {
    throw await withoutKey(error, certificate.serial, remote);
  }
  return { ...issued, files: ['key.pem', 'cert.pem', 'ca.pem', 'identity.json'] };
}

type Issued = Omit<Outcome, 'files'> & { readonly roots: string; readonly renewal: string };

async function order(call: Call<IssueOptions>, remote: RemoteAuthority, { csr, kind }: { readonly csr: Uint8Array; readonly kind: string | undefined }): Promise<Issued> {
  const body = { ...bodyOf(call, kind), csr: encodePem('CERTIFICATE REQUEST', csr) };
  // Of an answer that is lost the certificate is not: asked again, the gateway answers with the same one.
  const idempotencyKey = Buffer.from(call.io.randomness.bytes(16)).toString('base64url');
  const { certificate, chain, roots, grants, gateway, renewal } = await remote.call('POST', '/certificates', { answer: newlyIssued, body, idempotencyKey });
  const [leaf] = decodePem(chain, 'CERTIFICATE');
  if (leaf === undefined || parseCertificate(leaf.der).spkiHash !== parseCsr(csr).spkiHash) throw new SallyportError('ERR_BRIDGE_REFUSED', 'the certificate in the answer is not for the key of the request, and nothing was stored: have it revoked, and look who answers there', { facts: { serial: certificate.serial } });
  const { serial, thumbprint, subject, organizationalUnits, uri, notBefore, notAfter, profile, agent } = certificate;
  return {
    certificate: { agent, serial, thumbprint: thumbprint ?? '', subject, organizationalUnits, uri: uri ?? undefined, notBefore: new Date(notBefore), notAfter: new Date(notAfter), profile, chain },
    grants, kind, gatewayUrl: gateway, roots, renewal,
  };
}

/** What is asked for, as the API has it; the key apart. */
function bodyOf({ args, options }: Pick<Call<IssueOptions>, 'args' | 'options'>, kind: string | undefined): { readonly profile: string; readonly ttl?: string } & Readonly<Record<string, unknown>> {
  const name = argument({ args }, 0);
  const { profile, ttl, host = [], ou = [], email, allowRevoked } = options;
  const common = { profile, ...(ttl === undefined ? {} : { ttl }) };
  return kind === 'server' ? { ...common, hosts: [name, ...host] } : { ...common, agent: name, organizationalUnits: ou, ...(email === undefined ? {} : { email }), ...(allowRevoked === true ? { allowRevoked } : {}) };
}

/** A certificate whose key is on no disk helps nobody and would count as live; who may issue need not be allowed to revoke. */
async function withoutKey(error: unknown, serial: string, remote: RemoteAuthority): Promise<unknown> {
  try {
    await remote.call('POST', '/revocations', { answer: z.looseObject({}), body: { serial, reason: 'superseded' } });
    return error;
  } catch {
    return error instanceof SallyportError ? new SallyportError(error.code, `${error.message}; certificate ${serial} was issued and has no key: have it revoked`, { facts: { ...error.facts, serial }, cause: error }) : error;
  }
}
