/** The agent's side of enrollment: the key is made here and never leaves, the gateway's root is pinned by the token. */
import { createHash, generateKeyPair } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Clock } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';
import { systemClock } from '../system.ts';
import { parseEnrollmentToken } from './enrollment-token.ts';
import { explainFailure, readAnswer } from './explain.ts';
import { certificatesOf, isIssuedBy, samePublicKey, serialOf } from './identity.ts';
import { beginIdentity } from './identity-directory.ts';

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
  /** For each of the two connections. Default 15,000. */
  readonly timeoutMs?: number;
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
 * (cannot be stored) or `ERR_BRIDGE_UNREACHABLE`; then nothing is left behind.
 */
export async function enroll(options: EnrollOptions): Promise<EnrolledIdentity> {
  const { rootThumbprint } = parseEnrollmentToken(options.token);
  const url = enrollmentUrl(options.url);
  const timeoutMs = options.timeoutMs ?? 15_000;
  const key = await makeKey(options.keyAlgorithm ?? 'p256');
  const draft = await beginIdentity(options.out, key, options.passphrase);
  try {
    const root = await pinnedRoot(url, rootThumbprint, timeoutMs);
    const csr = encodePem('CERTIFICATE REQUEST', createCsr(key));
    const answer = await requestCertificate(url, root, { token: options.token.trim(), csr }, timeoutMs);
    const leaf = checkAnswer(answer, key, root, (options.clock ?? systemClock).now());
    const name = commonNameOf(leaf) ?? leaf.subjectAltName?.replace(/^URI:/u, '') ?? serialOf(leaf);
    await draft.commit({ name, certificatePem: answer.certificate, caPem: root.toString(), gateway: answer.gateway, renewal: answer.renewal });
    return {
      name,
      directory: resolve(options.out),
      serial: serialOf(leaf),
      thumbprint: thumbprintOf(leaf),
      notBefore: leaf.validFromDate,
      notAfter: leaf.validToDate,
      gateway: answer.gateway,
    };
  } finally {
    // After a commit there is nothing left to discard.
    await draft.discard();
  }
}

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
  if (url?.protocol !== 'https:') throw failed(`${String(given)} is not an https address; give the enrollment listener, for example https://gateway:8444`);
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
      else reject(failed(`${url.host} does not show the root that the token pins; check that the token was made by this gateway, and do not go on if it was`, 'ERR_BRIDGE_UNTRUSTED_GATEWAY'));
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

const answerSchema = z.object({ certificate: z.string(), ca: z.string(), gateway: z.url({ protocol: /^https$/u }).optional(), renewal: z.url({ protocol: /^https$/u }).optional() });
type EnrollmentAnswer = z.infer<typeof answerSchema>;
const maxAnswerBytes = 262_144;

/** Second connection: verified against the pinned root before the token is sent. */
function requestCertificate(url: URL, root: X509Certificate, question: { token: string; csr: string }, timeoutMs: number): Promise<EnrollmentAnswer> {
  const body = Buffer.from(JSON.stringify(question));
  return new Promise((resolve, reject) => {
    const request = httpsRequest(url, {
      method: 'POST',
      agent: false,
      ca: root.toString(),
      minVersion: 'TLSv1.2',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'content-length': body.byteLength },
    });
    const timer = setTimeout(() => request.destroy(Object.assign(new Error('the answer took too long'), { code: 'ETIMEDOUT' })), timeoutMs);
    request.on('close', () => clearTimeout(timer));
    request.on('error', (error) => reject(explainFailure(error, { url })));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.byteLength;
        chunks.push(chunk);
        if (size > maxAnswerBytes) request.destroy(failed('the answer is too large to be a certificate'));
      });
      response.on('error', (error) => reject(explainFailure(error, { url })));
      response.on('end', () => {
        try {
          resolve(readEnrollment(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'), url));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.end(body);
  });
}

function readEnrollment(status: number, body: string, url: URL): EnrollmentAnswer {
  if (status !== 200 && status !== 201) {
    const { code, message } = readAnswer(status, body);
    const reason = code === undefined ? `HTTP ${status}` : String(code);
    const next = reason.startsWith('ERR_TOKEN_') || reason === 'ERR_CA_IDENTITY_REVOKED' ? 'ask its operator for a new token (sallyport token create NAME)' : status === 404 ? 'give the address of its enrollment listener (gateway.enroll)' : 'its operator finds the reason with sallyport audit tail';
    throw failed(`${url.host} refused the enrollment: ${message ?? `HTTP ${status}`}; ${next}`, reason);
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw failed(`${url.host} did not answer with an enrollment; give the address of its enrollment listener (gateway.enroll)`, undefined, cause);
  }
  const parsed = answerSchema.safeParse(value);
  if (!parsed.success) throw failed(`the answer of ${url.host} lacks ${parsed.error.issues[0]?.path.join('.') ?? 'its parts'}; both sides should run the same release of sallyport`);
  return parsed.data;
}

/** The certificate is for our key and reaches the pinned root, whatever the answer claims; returns the leaf. */
function checkAnswer(answer: EnrollmentAnswer, key: KeyObject, root: X509Certificate, now: Date): X509Certificate {
  let path: readonly X509Certificate[];
  let ca: readonly X509Certificate[];
  try {
    path = certificatesOf(answer.certificate);
    ca = certificatesOf(answer.ca);
  } catch (cause) {
    throw failed('the answer holds something that is not a certificate; nothing was stored', 'ERR_CERTIFICATE_INVALID', cause);
  }
  const [leaf] = path;
  if (leaf === undefined || leaf.ca || !samePublicKey(key, leaf)) throw failed('the certificate in the answer is not for the key made here; nothing was stored', 'ERR_CERTIFICATE_INVALID');
  if (!ca.some((certificate) => certificate.raw.equals(root.raw))) throw failed('the root in the answer is not the one the token pins; nothing was stored', 'ERR_BRIDGE_UNTRUSTED_GATEWAY');
  const complete = path.at(-1)?.raw.equals(root.raw) === true ? path : [...path, root];
  const connected = complete.every((certificate, index) => {
    const issuer = complete[index + 1];
    return issuer === undefined || isIssuedBy(certificate, issuer);
  });
  if (!connected || complete.length < 2) throw failed('the certificate in the answer does not come from the root the token pins; nothing was stored', 'ERR_CERTIFICATE_INVALID');
  if (now > leaf.validToDate || now < leaf.validFromDate) throw failed(`the certificate is valid from ${leaf.validFromDate.toISOString()} to ${leaf.validToDate.toISOString()} and it is ${now.toISOString()} here; set the clock of this machine`, 'ERR_PEER_NOT_YET_VALID');
  return leaf;
}

function commonNameOf(certificate: X509Certificate): string | undefined {
  const value: unknown = certificate.toLegacyObject().subject?.CN;
  return typeof value === 'string' ? value : undefined;
}

const failed = (message: string, reason?: string, cause?: unknown): SallyportError => new SallyportError('ERR_BRIDGE_ENROLLMENT', message, { facts: { reason }, cause });
