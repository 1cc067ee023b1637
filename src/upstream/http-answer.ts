/**
 * Reads one HTTP response of an upstream into an answer. Everything is bounded and checked before
 * it is believed: status, media type, coding, size, encoding, time.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { SallyportError } from '../errors.ts';
import { SseDecoder } from '../mcp/sse.ts';
import { abandonedError } from './abandoned.ts';
import { EventQueue } from './event-queue.ts';
import { failureOf } from './http-failure.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream.ts';

export interface HttpAnswerLimits {
  /** Until a JSON answer is complete. Streams may be silent for ever. */
  readonly answerTimeoutMs: number;
  /** Of a JSON answer. */
  readonly answerBytes: number;
  /** Of one event of a stream. */
  readonly eventBytes: number;
  /** Read ahead of the consumer of a stream. */
  readonly pendingBytes: number;
}

type Body = 'none' | 'json' | 'stream' | 'unknown';

/** One per request; handed to undici, which calls the `on…` methods. */
export class HttpAnswer implements Dispatcher.DispatchHandler {
  readonly answer: Promise<UpstreamAnswer>;
  readonly #upstream: string;
  readonly #request: UpstreamRequest;
  readonly #limits: HttpAnswerLimits;
  readonly #abandon = (): void => this.#fail(abandonedError(this.#request.signal));
  #resolve: (answer: UpstreamAnswer) => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #status = 0;
  #session: string | undefined;
  #body: Body = 'none';
  #parts: Buffer[] = [];
  #bytes = 0;
  #late: NodeJS.Timeout | undefined;
  #queue: EventQueue | undefined;
  #decoder: SseDecoder | undefined;
  #done = false;

  constructor(upstream: string, request: UpstreamRequest, limits: HttpAnswerLimits) {
    this.#upstream = upstream;
    this.#request = request;
    this.#limits = limits;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    request.signal.addEventListener('abort', this.#abandon, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#done) controller.abort(abandonedError(this.#request.signal));
    else if (this.#request.signal.aborted) this.#abandon();
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // Informational responses come before the real one.
    if (status < 200) return;
    this.#status = status;
    this.#body = bodyOf(headers);
    const refusal = this.#refusal(status, headers);
    if (refusal !== undefined) {
      this.#fail(refusal);
      return;
    }
    if (this.#request.session === undefined) this.#session = this.#sessionOf(headers['mcp-session-id']);
    if (this.#done) return;
    if (this.#body === 'stream') this.#openStream(status);
    else this.#late = setTimeout(() => this.#fail(this.#error('ERR_UPSTREAM_TIMEOUT', 'the upstream did not complete its answer in time')), this.#limits.answerTimeoutMs);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#done) return;
    if (this.#body === 'stream') {
      this.#decode(chunk);
      return;
    }
    this.#bytes += chunk.length;
    if (this.#bytes > this.#limits.answerBytes) {
      this.#fail(this.#error('ERR_UPSTREAM_TOO_LARGE', 'the answer of the upstream exceeds the limit', { limit: this.#limits.answerBytes }));
      return;
    }
    this.#parts.push(chunk);
  }

  onResponseEnd(): void {
    if (this.#done) return;
    this.#finish();
    if (this.#queue !== undefined) {
      this.#queue.end();
      return;
    }
    const answer = this.#complete();
    if (answer instanceof SallyportError) this.#reject(answer);
    else this.#resolve(answer);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#fail(failureOf(this.#upstream, error));
  }

  /** What makes an answer unusable whatever its body holds. */
  #refusal(status: number, headers: IncomingHttpHeaders): SallyportError | undefined {
    if (status >= 300 && status < 400) return this.#error('ERR_UPSTREAM_INVALID', 'the upstream redirects, which is not followed: configure its final url', { status });
    // Never the agent's to solve: a 401 would send its client into OAuth discovery for our own credentials.
    if (status === 401 || status === 403 || status === 407) {
      return this.#error('ERR_UPSTREAM_INVALID', 'the upstream refused the gateway: check the headers or the certificate configured for it', { status });
    }
    if (status === 404 && this.#request.session !== undefined) {
      return new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the upstream has ended the session: initialize a new one', { facts: { upstream: this.#upstream } });
    }
    const coding = headers['content-encoding'];
    if (coding !== undefined && coding.toLowerCase() !== 'identity') {
      return this.#error('ERR_UPSTREAM_INVALID', 'the upstream encoded its answer although none was asked for: switch compression off', { contentEncoding: coding });
    }
    if (this.#body === 'stream' && (status !== 200 || this.#request.method === 'DELETE')) return this.#error('ERR_UPSTREAM_INVALID', 'the upstream sent a stream where none belongs', { status });
    return undefined;
  }

  #sessionOf(header: string | string[] | undefined): string | undefined {
    if (header === undefined) return undefined;
    // Streamable HTTP: a session id is visible ASCII.
    if (typeof header === 'string' && /^[\u0021-\u007e]{1,1024}$/u.test(header)) return header;
    this.#fail(this.#error('ERR_UPSTREAM_INVALID', 'the upstream sent a malformed Mcp-Session-Id'));
    return undefined;
  }

  #openStream(status: number): void {
    this.#decoder = new SseDecoder({ maxEventBytes: this.#limits.eventBytes });
    this.#queue = new EventQueue({
      pendingBytes: this.#limits.pendingBytes,
      onPressure: (paused) => {
        if (paused) this.#controller?.pause();
        else this.#controller?.resume();
      },
      onLeft: () => {
        this.#finish();
        this.#controller?.abort(new Error('the consumer of the stream left'));
      },
    });
    this.#resolve({ kind: 'stream', status, session: this.#session, events: this.#queue });
  }

  #decode(chunk: Buffer): void {
    try {
      for (const event of this.#decoder?.push(chunk) ?? []) this.#queue?.push(event);
    } catch (cause) {
      this.#fail(cause instanceof SallyportError ? cause : this.#error('ERR_UPSTREAM_INVALID', 'the upstream sent a malformed event stream'));
    }
  }

  #complete(): UpstreamAnswer | SallyportError {
    const status = this.#status;
    const session = this.#session;
    if (this.#bytes === 0 && (status >= 200 && status < 300)) return this.#request.method === 'GET' ? this.#error('ERR_UPSTREAM_INVALID', 'the upstream answered GET without a stream', { status }) : { kind: 'empty', status, session };
    // Streamable HTTP: no GET stream, or sessions that clients cannot end.
    if (status === 405 && this.#request.method !== 'POST') return { kind: 'empty', status };
    const text = this.#body === 'json' ? textOf(this.#parts, this.#bytes) : undefined;
    if (status < 300 && text !== undefined && this.#request.method !== 'GET') return { kind: 'json', status, session, text };
    if (status >= 400 && text !== undefined && isJsonRpc(text)) return { kind: 'json', status, text };
    if (status === 502 || status === 503 || status === 504) return this.#error('ERR_UPSTREAM_UNREACHABLE', 'what stands before the upstream cannot reach it: see whether it runs', { status });
    return this.#error('ERR_UPSTREAM_INVALID', 'the upstream answered with something that is not MCP: check its url', { status });
  }

  #error(code: 'ERR_UPSTREAM_INVALID' | 'ERR_UPSTREAM_TIMEOUT' | 'ERR_UPSTREAM_TOO_LARGE' | 'ERR_UPSTREAM_UNREACHABLE', message: string, facts: Record<string, string | number> = {}): SallyportError {
    return new SallyportError(code, message, { facts: { upstream: this.#upstream, ...facts } });
  }

  #fail(error: SallyportError): void {
    if (this.#done) return;
    this.#finish();
    this.#controller?.abort(error);
    // A consumer that went away itself needs no failure; anything else must not look like a proper end.
    if (this.#queue !== undefined && this.#request.signal.aborted) this.#queue.leave();
    else this.#queue?.end(error);
    this.#reject(error);
  }

  #finish(): void {
    this.#done = true;
    clearTimeout(this.#late);
    this.#request.signal.removeEventListener('abort', this.#abandon);
  }
}

const bodyOf = (headers: IncomingHttpHeaders): Body => {
  const type = headers['content-type'];
  if (type === undefined) return 'none';
  if (typeof type !== 'string') return 'unknown';
  if (type === 'application/json') return 'json';
  const [media = '', ...parameters] = type.toLowerCase().split(';').map((part) => part.trim());
  const isUtf8Text = parameters.every((parameter) => !parameter.startsWith('charset=') || parameter === 'charset=utf-8' || parameter === 'charset="utf-8"');
  if (!isUtf8Text) return 'unknown';
  if (media === 'application/json') return 'json';
  return media === 'text/event-stream' ? 'stream' : 'unknown';
};

const textOf = (parts: readonly Buffer[], bytes: number): string | undefined => {
  const whole = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, bytes);
  return isUtf8(whole) ? whole.toString('utf8') : undefined;
};

const isJsonRpc = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && 'jsonrpc' in value && value.jsonrpc === '2.0';
  } catch {
    return false;
  }
};
