/** The agent's side of enrollment: the key is made here and never leaves, the gateway's root is pinned by the token. */
import { createHash, generateKeyPair } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import type { Clock } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';
import { systemClock } from '../system.ts';
import { notIssued, requestCertificate } from './certificate-request.ts';
import type { CertificateAnswer } from './certificate-request.ts';
import { parseEnrollmentToken } from './enrollment-token.ts';
import { explainFailure } from './explain.ts';
import { certificatesOf, isIssuedBy, samePublicKey, serialOf } from './identity.ts';
import { rootsAfter } from './root-bundle.ts';
import { beginIdentity, resumeIdentity } from './identity-directory.ts';

export type AgentKeyAlgorithm = 'p256' | 'p384' | 'ed25519' | 'rsa3072' | 'ml-dsa-65';

export interface EnrollOptions {
  /** Address of the enrollment listener, e.g. `https://gateway:8444`. */
  readonly url: string | URL;
  readonly token: string;
  /** Identity directory to be made; must not exist or be empty. */
  readonly out: string;
  readonly clock?: Clock | undefined;
  /** Default `p256`. */
  readonly keyAlgorithm?: AgentKeyAlgorithm;
  /** Encrypts `key.pem`. */
  readonly passphrase?: string | undefined;
  /** For each connection. Default 15,000. */
  readonly timeoutMs?: number;
  /** How long to wait for a second person, where the profile demands one. Default 0: rejects at once with `ERR_BRIDGE_PENDING`. */
  readonly waitMs?: number;
  /** Told once that it waits. */
  readonly onPending?: (pending: SallyportError) => void;
  /** Ends waiting. */
  readonly signal?: AbortSignal | undefined;
}

export interface EnrolledIdentity {
  readonly name: string;
  readonly directory: string;
  readonly serial: string;
  readonly thumbprint: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly gateway: string | undefined;
}

/**
 * Makes a key, has it certified for a one-time token and stores the identity.
 * Rejects with `ERR_BRIDGE_ENROLLMENT` (refused, or an answer that does not hold up), `ERR_BRIDGE_IDENTITY`
 * (cannot be stored) or `ERR_BRIDGE_UNREACHABLE`; then nothing is left behind. With `ERR_BRIDGE_PENDING` the key is
 * kept beside `out`, and the same call with the same token goes on from there.
 */
export async function enroll(options: EnrollOptions): Promise<EnrolledIdentity> {
  const { rootThumbprint } = parseEnrollmentToken(options.token);
  const url = enrollmentUrl(options.url);
  const timeoutMs = options.timeoutMs ?? 15_000;
  const proof = createHash('sha256').update(options.token.trim()).digest('hex');
  const resumed = await resumeIdentity(options.out, { proof, passphrase: options.passphrase });
  const key = resumed?.key ?? (await makeKey(options.keyAlgorithm ?? 'p256'));
  const draft = resumed?.draft ?? (await beginIdentity(options.out, key, options.passphrase));
  let kept = resumed !== undefined;
  try {
    const root = await pinnedRoot(url, rootThumbprint, timeoutMs);
    const csr = encodePem('CERTIFICATE REQUEST', createCsr(key));
    // A connection of its own, verified against the pinned root before the token is sent.
    const ask = () => requestCertificate({ url, what: 'enrollment', tls: { ca: root.toString() }, body: { token: options.token.trim(), csr }, timeoutMs });
    const keep = async (): Promise<void> => {
      await draft.keep(proof);
      kept = true;
    };
    const answer = await untilApproved(ask, keep, options);
    kept = false;
    const leaf = checkAnswer(answer, key, root, (options.clock ?? systemClock).now());
    const name = commonNameOf(leaf) ?? leaf.subjectAltName?.replace(/^URI:/u, '') ?? serialOf(leaf);
    await draft.commit({ name, certificatePem: answer.certificate, caPem: rootsAfter(answer, [root], (options.clock ?? systemClock).now()).join(''), gateway: answer.gateway, renewal: answer.renewal });
    return {
      name,
      directory: resolve(options.out),
      serial: serialOf(leaf),
      thumbprint: thumbprintOf(leaf),
      notBefore: leaf.validFromDate,
      notAfter: leaf.validToDate,
      gateway: answer.gateway,
    };
  } catch (error) {
    if (isFinal(error)) kept = false;
    throw error;
  } finally {
    // After a commit there is nothing left to discard.
    if (!kept) await draft.discard();
  }
}

/** Asks again, as often as the gateway wants it, until somebody has decided or the time is up. */
async function untilApproved(ask: () => Promise<CertificateAnswer>, keep: () => Promise<void>, { waitMs = 0, onPending, signal, clock = systemClock }: EnrollOptions): Promise<CertificateAnswer> {
  const until = clock.now().getTime() + waitMs;
  for (let first = true; ; first = false) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      const waits = error.code === 'ERR_BRIDGE_PENDING';
      // A gateway that is being restarted is waited for as well, once it has the request.
      if (!waits && (first || error.code !== 'ERR_BRIDGE_UNREACHABLE')) throw error;
      if (waits && first) {
        await keep();
        onPending?.(error);
      }
      const left = until - clock.now().getTime();
      if (left <= 0 || signal?.aborted === true) throw error;
      const pauseMs = Math.min(left, 1_000 * (Number(error.facts['retryAfterSeconds']) || 10));
      await sleep(pauseMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    }
  }
}

/** Refused for good, so that the key is of no use any more. */
const isFinal = (error: unknown): boolean => error instanceof SallyportError && /^ERR_(?:TOKEN_|REQUEST_(?:DENIED|EXPIRED)|CA_)/.test(String(error.facts['reason']));

const generate = promisify(generateKeyPair) as unknown as (type: string, options?: object) => Promise<{ privateKey: KeyObject }>;

async function makeKey(algorithm: AgentKeyAlgorithm): Promise<KeyObject> {
  switch (algorithm) {
    case 'p256':
      return (await generate('ec', { namedCurve: 'P-256' })).privateKey;
    case 'p384':
      return (await generate('ec', { namedCurve: 'P-384' })).privateKey;
    case 'rsa3072':
      return (await generate('rsa', { modulusLength: 3072 })).privateKey;
    case 'ed25519':
    case 'ml-dsa-65':
      return (await generate(algorithm, {})).privateKey;
  }
}

function enrollmentUrl(given: string | URL): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== 'https:') throw notIssued(`${String(given)} is not an https address; give the enrollment listener, for example https://gateway:8444`);
  // The address of the listener or of its endpoint: both are what people paste.
  if (!url.pathname.endsWith('/enroll')) url.pathname = `${url.pathname.replace(/\/+$/u, '')}/enroll`;
  url.search = '';
  url.hash = '';
  return url;
}

/** First connection: nothing is sent, only the chain is looked at until the pinned root is found in it. */
function pinnedRoot(url: URL, pin: string, timeoutMs: number): Promise<X509Certificate> {
  const host = url.hostname.replace(/^\[|\]$/gu, '');
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(url.port === '' ? 443 : url.port), servername: isIP(host) === 0 ? host : '', rejectUnauthorized: false, minVersion: 'TLSv1.2' });
    const timer = setTimeout(() => socket.destroy(Object.assign(new Error('connecting took too long'), { code: 'ETIMEDOUT' })), timeoutMs);
    socket.on('close', () => {
      clearTimeout(timer);
      reject(explainFailure(Object.assign(new Error('closed without an answer'), { code: 'ECONNRESET' }), { url }));
    });
    socket.on('error', (error) => reject(explainFailure(error, { url })));
    socket.on('secureConnect', () => {
      const root = certificateWith(socket.getPeerX509Certificate(), pin);
      socket.destroy();
      if (root !== undefined) resolve(root);
      else reject(notIssued(`${url.host} does not show the root that the token pins; check that the token was made by this gateway, and do not go on if it was`, 'ERR_BRIDGE_UNTRUSTED_GATEWAY'));
    });
  });
}

const longestChain = 10;

function certificateWith(leaf: X509Certificate | undefined, thumbprint: string): X509Certificate | undefined {
  let at = leaf;
  for (let depth = 0; at !== undefined && depth < longestChain; depth += 1) {
    if (thumbprintOf(at) === thumbprint) return at;
    at = at.issuerCertificate;
  }
  return undefined;
}

const thumbprintOf = (certificate: X509Certificate): string => createHash('sha256').update(certificate.raw).digest('hex');

/** The certificate is for our key and reaches the pinned root, whatever the answer claims; returns the leaf. */
function checkAnswer(answer: CertificateAnswer, key: KeyObject, root: X509Certificate, now: Date): X509Certificate {
  let path: readonly X509Certificate[];
  let ca: readonly X509Certificate[];
  try {
    path = certificatesOf(answer.certificate);
    ca = certificatesOf(answer.ca);
  } catch (cause) {
    throw notIssued('the answer holds something that is not a certificate; nothing was stored', 'ERR_CERTIFICATE_INVALID', cause);
  }
  const [leaf] = path;
  if (leaf === undefined || leaf.ca || !samePublicKey(key, leaf)) throw notIssued('the certificate in the answer is not for the key made here; nothing was stored', 'ERR_CERTIFICATE_INVALID');
  if (!ca.some((certificate) => certificate.raw.equals(root.raw))) throw notIssued('the root in the answer is not the one the token pins; nothing was stored', 'ERR_BRIDGE_UNTRUSTED_GATEWAY');
  const complete = path.at(-1)?.raw.equals(root.raw) === true ? path : [...path, root];
  const connected = complete.every((certificate, index) => {
    const issuer = complete[index + 1];
    return issuer === undefined || isIssuedBy(certificate, issuer);
  });
  if (!connected || complete.length < 2) throw notIssued('the certificate in the answer does not come from the root the token pins; nothing was stored', 'ERR_CERTIFICATE_INVALID');
  if (now > leaf.validToDate || now < leaf.validFromDate) throw notIssued(`the certificate is valid from ${leaf.validFromDate.toISOString()} to ${leaf.validToDate.toISOString()} and it is ${now.toISOString()} here; set the clock of this machine`, 'ERR_PEER_NOT_YET_VALID');
  return leaf;
}

function commonNameOf(certificate: X509Certificate): string | undefined {
  const value: unknown = certificate.toLegacyObject().subject?.CN;
  return typeof value === 'string' ? value : undefined;
}
