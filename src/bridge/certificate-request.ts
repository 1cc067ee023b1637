/** The question to a gateway's enrollment port and its answer, for enrollment and renewal alike. */
import { request as httpsRequest } from 'node:https';
import { z } from 'zod';
import { errorTable, SallyportError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { explainFailure, readAnswer } from './explain.ts';
import { refusalWords, whenToRetry } from './refusal-words.ts';

export interface CertificateQuestion {
  readonly url: URL;
  readonly what: 'enrollment' | 'renewal';
  /** Roots in PEM, and for a renewal the identity that is its credential. */
  readonly tls: { readonly ca: string | readonly string[]; readonly key?: string; readonly cert?: string };
  readonly body: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

const answerSchema = z.object({ certificate: z.string(), ca: z.string(), crossCertificates: z.string().optional(), gateway: z.url({ protocol: /^https$/u }).optional(), renewal: z.url({ protocol: /^https$/u }).optional() });

/** Certificates in PEM, leaf first; none of it has been checked. */
export type CertificateAnswer = z.infer<typeof answerSchema>;

const maxAnswerBytes = 262_144;

const pendingSchema = z.object({ pending: z.object({ request: z.string().max(64), retryAfterSeconds: z.int().min(1), expiresAt: z.string() }) });

/**
 * Rejects with `ERR_BRIDGE_ENROLLMENT` when refused or not understood, `ERR_BRIDGE_PENDING` while a second person has to
 * approve it, `ERR_BRIDGE_UNREACHABLE` and its kin otherwise.
 */
export function requestCertificate({ url, what, tls, body, timeoutMs }: CertificateQuestion): Promise<CertificateAnswer> {
  const octets = Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const request = httpsRequest(url, {
      method: 'POST',
      agent: false,
      ...tls,
      ca: typeof tls.ca === 'string' ? tls.ca : [...tls.ca],
      minVersion: 'TLSv1.2',
      headers: { 'content-type': 'application/json', accept: 'application/json', 'content-length': octets.byteLength },
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
        if (size > maxAnswerBytes) request.destroy(notIssued('the answer is too large to be a certificate; give the address of an enrollment listener'));
      });
      response.on('error', (error) => reject(explainFailure(error, { url })));
      response.on('end', () => {
        try {
          resolve(readCertificateAnswer(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'), { url, what }));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.end(octets);
  });
}

function readCertificateAnswer(status: number, body: string, { url, what }: Pick<CertificateQuestion, 'url' | 'what'>): CertificateAnswer {
  if (status === 202) throw pendingError(body, url);
  if (status !== 200 && status !== 201) {
    const { code, message } = readAnswer(status, body);
    const reason = code === undefined ? `HTTP ${status}` : String(code);
    throw notIssued(`${url.host} refused the ${what}: ${message ?? `HTTP ${status}`}; ${nextStep(reason, status)}`, reason);
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (cause) {
    throw notIssued(`${url.host} did not answer with a certificate; give the address of its enrollment listener (gateway.enroll)`, undefined, cause);
  }
  const parsed = answerSchema.safeParse(value);
  if (!parsed.success) throw notIssued(`the answer of ${url.host} lacks ${parsed.error.issues[0]?.path.join('.') ?? 'its parts'}; both sides should run the same release of sallyport`);
  return parsed.data;
}

function pendingError(body: string, url: URL): SallyportError {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    value = undefined;
  }
  const parsed = pendingSchema.safeParse(value);
  if (!parsed.success) return notIssued(`${url.host} answered that the request waits, but not for how long; both sides should run the same release of sallyport`);
  const { request, retryAfterSeconds, expiresAt } = parsed.data.pending;
  return new SallyportError('ERR_BRIDGE_PENDING', `${url.host} keeps request ${printable(request)} until a second person has approved it (sallyport requests approve); come back with the same token before ${printable(expiresAt)}, the key is kept for it`, {
    facts: { request, retryAfterSeconds, expiresAt },
  });
}

/** A terminal must not obey what a gateway says. */
const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 64);

function nextStep(reason: string, status: number): string {
  if (reason !== 'ERR_HTTP_PATH' && Object.hasOwn(errorTable, reason)) {
    const words = refusalWords[reason as ErrorCode];
    if (words !== undefined) return words.next.replace(whenToRetry, 'try again later');
  }
  return status === 404 ? 'give the address of its enrollment listener (gateway.enroll)' : 'its operator finds the reason with sallyport audit tail';
}

export const notIssued = (message: string, reason?: string, cause?: unknown): SallyportError => new SallyportError('ERR_BRIDGE_ENROLLMENT', message, { facts: { reason }, cause });
