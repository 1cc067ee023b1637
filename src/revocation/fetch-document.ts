/**
 * One request for what others publish, bounded in size and time. Straight to the address that was
 * configured: no proxy of the environment, no redirect to another scheme, no decompression.
 */
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { RequestOptions } from 'node:https';
import { SallyportError } from '../errors.ts';

export interface FetchRequest {
  readonly url: string;
  /** Of what is had already. */
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
  readonly accept: string;
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** Sent by POST. */
  readonly body?: { readonly type: string; readonly bytes: Uint8Array } | undefined;
  readonly tls?: Pick<RequestOptions, 'ca' | 'checkServerIdentity' | 'rejectUnauthorized' | 'agent'> | undefined;
}

export type Fetched =
  | { readonly status: 'unchanged' }
  | { readonly status: 'fetched'; readonly bytes: Uint8Array; readonly etag: string | undefined; readonly lastModified: string | undefined };

export type FetchDocument = (request: FetchRequest) => Promise<Fetched>;

const MAX_REDIRECTS = 3;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const MAX_VALIDATOR = 1_024;

/** @throws SallyportError `ERR_TRUST_FETCH` */
export const fetchDocument: FetchDocument = async (wanted) => {
  // One limit for everything, so that a slow trickle or a chain of redirects gains nothing.
  const signal = AbortSignal.timeout(wanted.timeoutMs);
  let { url } = wanted;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const answer = await ask(url, wanted, signal);
    if (!redirects.has(answer.statusCode ?? 0)) return await read(answer, wanted, url);
    answer.destroy();
    const next = URL.parse(answer.headers.location ?? '', url);
    if (wanted.body !== undefined || next === null || next.protocol !== URL.parse(url)?.protocol || next.username !== '' || next.password !== '') {
      throw failed(wanted.url, 'the server redirects to where it must not: name the final address');
    }
    url = next.href;
  }
  throw failed(wanted.url, 'the server redirects again and again: name the final address');
};

const ask = (url: string, { etag, lastModified, accept, body, tls, timeoutMs }: FetchRequest, signal: AbortSignal): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? httpsRequest : httpRequest;
    const outgoing = send(url, {
      // An agent of its own reads no proxy from the environment and keeps no connection.
      agent: false, ...(url.startsWith('https:') ? tls : {}), signal, method: body === undefined ? 'GET' : 'POST',
      headers: {
        accept, 'accept-encoding': 'identity', 'user-agent': 'sallyport',
        ...(etag === undefined ? {} : { 'if-none-match': etag }),
        ...(lastModified === undefined ? {} : { 'if-modified-since': lastModified }),
        ...(body === undefined ? {} : { 'content-type': body.type, 'content-length': body.bytes.length }),
      },
    });
    outgoing.once('response', resolve);
    outgoing.once('error', (cause: NodeJS.ErrnoException) => {
      reject(failed(url, signal.aborted ? `no answer within ${timeoutMs} ms` : `no connection (${cause.code ?? cause.message})`, cause));
    });
    outgoing.end(body?.bytes);
  });

const read = async (answer: IncomingMessage, { maxBytes, timeoutMs, etag, lastModified }: FetchRequest, url: string): Promise<Fetched> => {
  const { statusCode = 0, headers } = answer;
  if (statusCode === 304 && (etag ?? lastModified) !== undefined) {
    answer.destroy();
    return { status: 'unchanged' };
  }
  const refuse = (why: string): never => {
    answer.destroy();
    throw failed(url, why);
  };
  if (statusCode !== 200) refuse(`the server answers ${statusCode}`);
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') refuse('the answer has a content coding that was not asked for');
  if (Number(headers['content-length'] ?? 0) > maxBytes) refuse(`the answer has more than ${maxBytes} octets`);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (cause) {
    throw failed(url, (cause as Error).name === 'TimeoutError' || (cause as Error).name === 'AbortError' ? `the answer was not complete within ${timeoutMs} ms` : 'the connection broke before the answer was complete', cause);
  }
  if (length > maxBytes) refuse(`the answer has more than ${maxBytes} octets`);
  if (!answer.complete) refuse('the connection broke before the answer was complete');
  return { status: 'fetched', bytes: await joined(chunks, length), etag: validator(headers.etag), lastModified: validator(headers['last-modified']) };
};

/** Copied per turn of the event loop. */
const COPY_OCTETS = 2 * 1024 * 1024;

/** As `Buffer.concat`, giving way to others. */
const joined = async (chunks: readonly Buffer[], length: number): Promise<Uint8Array> => {
  const whole = new Uint8Array(length);
  let at = 0;
  let paused = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
    if (at - paused < COPY_OCTETS) continue;
    paused = at;
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  return whole;
};

/** What is kept on disk and sent back. */
const validator = (value: string | undefined): string | undefined => (value !== undefined && value.length <= MAX_VALIDATOR && /^[\t\x20-\x7e\x80-\xff]*$/u.test(value) ? value : undefined);

const failed = (url: string, reason: string, cause?: unknown): SallyportError =>
  new SallyportError('ERR_TRUST_FETCH', `${url} could not be fetched: ${reason}`, { facts: { url, reason }, cause });
