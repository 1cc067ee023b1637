/**
 * `fetch` that presents an identity: for the SDKs' Streamable HTTP transports and anything else that takes a fetch.
 * Over `node:https`, because undici hides why a handshake was refused.
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { systemClock } from '../system.ts';
import { explainAnswer, explainFailure, isVerdict, readAnswer, refuseOutsideLifetime, systemCodeOf } from './explain.ts';
import type { Identity } from './identity.ts';
import { watchIdentity } from './identity-watch.ts';
import type { IdentityWatch } from './identity-watch.ts';
import { readVerdict } from './verdict.ts';

export interface IdentityFetchOptions {
  /** A directory, which is followed for changes, or an identity loaded once. */
  readonly identity: string | Identity;
  /** Opens an encrypted `key.pem`. */
  readonly passphrase?: string | undefined;
  /** What to do with a private key that others may read. Default `refuse`. */
  readonly onReadableKey?: 'refuse' | 'accept';
  /** Told once for each unusable state of a changed directory; the last good identity stays in use. */
  readonly onProblem?: (error: Error) => void;
  /** Told after a changed identity was taken into use. */
  readonly onIdentity?: (identity: Identity) => void;
  /** For connecting and the handshake, not for the answer. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /** How often the files are looked at besides file events. Default 1,000. */
  readonly pollMs?: number;
  readonly clock?: Clock;
}

/** A `fetch`; refusals reject with a `SallyportError` that says why. */
export interface IdentityFetch {
  (input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /** The identity in use; rejects when the directory cannot be used. */
  identity(): Promise<Identity>;
  /** Dials without sending a request and says how the gateway takes this identity: undefined when it accepts. */
  diagnose(url: string | URL): Promise<SallyportError | undefined>;
  /** Ends idle connections and stops following the directory. */
  close(): void;
}

/** Makes a `fetch` that presents an identity. The directory is read at the first request. */
export function createIdentityFetch(options: IdentityFetchOptions): IdentityFetch {
  const clock = options.clock ?? systemClock;
  const connections = new IdentityConnections(options, clock);

  const prepare = async (url: URL): Promise<{ identity: Identity; agent: Agent }> => {
    if (url.protocol !== 'https:') {
      throw new SallyportError('ERR_BRIDGE_IDENTITY', `an identity is presented over https only, not to ${url.protocol}//${url.host}; use the https address of the gateway`);
    }
    const current = await connections.current();
    refuseOutsideLifetime(current.identity, clock.now());
    return current;
  };

  const identityFetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const outgoing = toOutgoing(input, init);
    outgoing.signal?.throwIfAborted();
    const { identity, agent } = await prepare(outgoing.url);
    const context = { url: outgoing.url, identity };
    let answer: IncomingMessage;
    try {
      answer = await send(outgoing, agent, options.connectTimeoutMs ?? 10_000);
    } catch (error) {
      outgoing.signal?.throwIfAborted();
      // A gateway that refuses after the handshake may close before its reason was read: ask once more, sending nothing.
      const code = systemCodeOf(error);
      const verdict = code === 'ECONNRESET' || code === 'EPIPE' ? await identityFetch.diagnose(outgoing.url) : undefined;
      throw verdict?.code === 'ERR_BRIDGE_REFUSED' ? verdict : explainFailure(error, context);
    }
    const status = answer.statusCode ?? 0;
    if (status === 403) return refusedOrForbidden(answer, context, outgoing);
    if (isRedirect(status) && answer.headers.location !== undefined && outgoing.redirect !== 'manual') {
      answer.resume();
      throw new SallyportError('ERR_BRIDGE_UNREACHABLE', `the gateway ${outgoing.url.host} redirects to ${answer.headers.location}; an identity is only presented to the address it was given, so give that one if it is right`, {
        facts: { host: outgoing.url.host, status },
      });
    }
    return toResponse(answer, outgoing, streamOf(answer, outgoing.signal, (error) => explainFailure(error, context)));
  };

  identityFetch.identity = async (): Promise<Identity> => (await connections.current()).identity;
  identityFetch.close = (): void => connections.close();
  identityFetch.diagnose = async (input: string | URL): Promise<SallyportError | undefined> => {
    const url = new URL(input);
    try {
      const { identity, agent } = await prepare(url);
      return await readVerdict({ url, identity, tls: agent.options, timeoutMs: options.connectTimeoutMs ?? 10_000 });
    } catch (error) {
      return explainFailure(error, { url });
    }
  };
  return identityFetch;
}

/** After this much silence a connection is not used again: the machine may have slept, and nobody told this side that it is gone. */
const longestIdleMs = 30_000;

/** One keep-alive agent for each version of the identity: a new certificate means new connections, open streams stay until they end. */
class IdentityConnections {
  readonly #options: IdentityFetchOptions;
  readonly #clock: Clock;
  #lastUsed = 0;
  #watch: Promise<IdentityWatch> | undefined;
  #agent: Agent | undefined;
  #agentFor: Identity | undefined;

  constructor(options: IdentityFetchOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  async current(): Promise<{ identity: Identity; agent: Agent }> {
    const identity = typeof this.#options.identity === 'string' ? (await this.#followed(this.#options.identity)).current : this.#options.identity;
    const now = this.#clock.now().getTime();
    if (Math.abs(now - this.#lastUsed) > longestIdleMs) dropIdle(this.#agent);
    this.#lastUsed = now;
    if (this.#agent === undefined || this.#agentFor !== identity) {
      retire(this.#agent);
      this.#agent = agentOf(identity);
      this.#agentFor = identity;
    }
    return { identity, agent: this.#agent };
  }

  close(): void {
    retire(this.#agent);
    this.#agent = undefined;
    this.#watch?.then(
      (watch) => watch.close(),
      () => undefined,
    );
    this.#watch = undefined;
  }

  #followed(directory: string): Promise<IdentityWatch> {
    if (this.#watch === undefined) {
      const { passphrase, onReadableKey, onProblem, onIdentity, pollMs } = this.#options;
      const watch = watchIdentity(directory, {
        passphrase,
        ...(onReadableKey === undefined ? {} : { onReadableKey }),
        ...(onProblem === undefined ? {} : { onProblem }),
        ...(pollMs === undefined ? {} : { pollMs }),
      });
      this.#watch = watch;
      watch.then(
        (started) => {
          if (onIdentity !== undefined) started.onChange(onIdentity);
        },
        // Not usable yet: the next request reads the directory again.
        () => {
          if (this.#watch === watch) this.#watch = undefined;
        },
      );
    }
    return this.#watch;
  }
}

function agentOf(identity: Identity): Agent {
  return new Agent({
    keepAlive: true,
    // Full handshakes only: a resumed session could outlive a changed verdict.
    maxCachedSessions: 0,
    minVersion: 'TLSv1.2',
    key: identity.key.export({ type: 'pkcs8', format: 'pem' }),
    // The gateway holds the issuing CA: the leaf alone saves it a signature check and us a kilobyte.
    cert: identity.leaf.toString(),
    ca: identity.roots.map((root) => root.toString()),
  });
}

/** Closes what is idle, and what is busy once it becomes idle. */
function retire(agent: Agent | undefined): void {
  if (agent === undefined) return;
  agent.maxFreeSockets = 0;
  dropIdle(agent);
}

function dropIdle(agent: Agent | undefined): void {
  for (const sockets of Object.values(agent?.freeSockets ?? {})) for (const socket of sockets ?? []) socket.destroy();
}

interface Outgoing {
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  readonly body: Uint8Array | ReadableStream<Uint8Array> | undefined;
  readonly signal: AbortSignal | undefined;
  readonly redirect: Request['redirect'];
}

// Hop-by-hop fields and what the connection itself decides; RFC 9110 §7.6.1.
const connectionFields = ['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'];

function toOutgoing(input: string | URL | Request, init: RequestInit | undefined): Outgoing {
  // Request does the standard's work on methods, headers and bodies; a body of known size is kept whole, so that it gets a length.
  const known = init?.body instanceof Uint8Array ? init.body : typeof init?.body === 'string' ? new TextEncoder().encode(init.body) : undefined;
  const request = new Request(input, init?.body instanceof ReadableStream ? { ...init, duplex: 'half' } as RequestInit : init);
  const headers = new Headers(request.headers);
  for (const field of connectionFields) headers.delete(field);
  return {
    url: new URL(request.url),
    method: request.method,
    headers,
    body: known ?? (request.body as ReadableStream<Uint8Array> | null) ?? undefined,
    signal: init?.signal ?? (input instanceof Request ? input.signal : undefined),
    redirect: request.redirect,
  };
}

function send(outgoing: Outgoing, agent: Agent, connectTimeoutMs: number): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string> = Object.fromEntries(outgoing.headers);
    if (outgoing.body instanceof Uint8Array) headers['content-length'] = String(outgoing.body.byteLength);
    const request = httpsRequest(outgoing.url, { agent, method: outgoing.method, headers });
    const abort = (): void => {
      request.destroy(outgoing.signal?.reason instanceof Error ? outgoing.signal.reason : new Error('aborted'));
    };
    outgoing.signal?.addEventListener('abort', abort, { once: true });
    limitConnecting(request, connectTimeoutMs);
    request.on('error', (error) => {
      outgoing.signal?.removeEventListener('abort', abort);
      reject(error);
    });
    request.on('response', (answer) => {
      // From here on the body stream listens to the signal.
      outgoing.signal?.removeEventListener('abort', abort);
      resolve(answer);
    });
    if (outgoing.body === undefined || outgoing.body instanceof Uint8Array) {
      request.end(outgoing.body);
    } else {
      const source = Readable.fromWeb(outgoing.body as import('node:stream/web').ReadableStream<Uint8Array>);
      source.on('error', (error) => request.destroy(error));
      request.on('close', () => source.destroy());
      source.pipe(request);
    }
  });
}

const keepAliveMs = 30_000;

function limitConnecting(request: ClientRequest, timeoutMs: number): void {
  request.on('socket', (socket) => {
    // A stream of which nothing comes may be one whose other end is gone without a word.
    socket.setKeepAlive(true, keepAliveMs);
    if (!socket.connecting) return;
    const timer = setTimeout(() => {
      request.destroy(Object.assign(new Error('connecting took too long'), { code: 'ETIMEDOUT' }));
    }, timeoutMs);
    timer.unref();
    const settle = (): void => clearTimeout(timer);
    socket.once('secureConnect', settle);
    socket.once('close', settle);
  });
}

const isRedirect = (status: number): boolean => status === 301 || status === 302 || status === 303 || status === 307 || status === 308;

/** A 403 is the verdict on the certificate, which rejects, or on one request, which is an answer like others. */
async function refusedOrForbidden(answer: IncomingMessage, context: { url: URL; identity: Identity }, outgoing: Outgoing): Promise<Response> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      size += chunk.byteLength;
      if (size > maxRefusalBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    outgoing.signal?.throwIfAborted();
    throw explainFailure(error, context);
  }
  const body = Buffer.concat(chunks);
  const parsed = readAnswer(403, body.toString('utf8'));
  if (isVerdict(parsed)) throw explainAnswer(parsed, context);
  return toResponse(answer, outgoing, body);
}

const maxRefusalBytes = 65_536;

/** RFC 9110 §15: these answers have no content. */
const withoutBody = new Set([101, 204, 205, 304]);

function toResponse(answer: IncomingMessage, outgoing: Outgoing, body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>): Response {
  const headers = new Headers();
  for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2) headers.append(answer.rawHeaders[at] ?? '', answer.rawHeaders[at + 1] ?? '');
  const status = answer.statusCode ?? 0;
  const empty = withoutBody.has(status) || outgoing.method === 'HEAD';
  if (empty) answer.resume();
  const response = new Response(empty ? null : body, { status, statusText: answer.statusMessage ?? '', headers });
  Object.defineProperty(response, 'url', { value: outgoing.url.href });
  return response;
}

/** The answer's body as a web stream with back-pressure that ends with words when the connection does. */
function streamOf(answer: IncomingMessage, signal: AbortSignal | undefined, explain: (error: unknown) => SallyportError): ReadableStream<Uint8Array> {
  let abort: () => void = () => undefined;
  let settled = false;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const settle = (act: () => void): void => {
        if (settled) return;
        settled = true;
        signal?.removeEventListener('abort', abort);
        act();
      };
      abort = () => {
        settle(() => controller.error(signal?.reason));
        answer.destroy();
      };
      if (signal?.aborted === true) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      answer.pause();
      answer.on('data', (chunk: Buffer) => {
        if (settled) return;
        controller.enqueue(new Uint8Array(chunk));
        if ((controller.desiredSize ?? 0) <= 0) answer.pause();
      });
      answer.on('end', () => settle(() => controller.close()));
      answer.on('error', (error) => settle(() => controller.error(explain(error))));
      answer.on('close', () => settle(() => controller.error(explain(Object.assign(new Error('the connection ended in mid-answer'), { code: 'ECONNRESET' })))));
    },
    pull() {
      answer.resume();
    },
    cancel() {
      settled = true;
      signal?.removeEventListener('abort', abort);
      answer.destroy();
    },
  });
}
