/**
 * Reads one HTTP response of an upstream into an answer. Everything is bounded and checked before
 * it is believed: status, media type, coding, size, encoding, time.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { SallyportError } from '../errors.ts';
import { parseExact } from '../mcp/exact-json.ts';
import { isObject } from '../mcp/read-messages.ts';
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

/** What of a request decides how its answer is read. */
export type AnsweredRequest = Pick<UpstreamRequest, 'era' | 'method' | 'session' | 'messages' | 'signal'>;

export interface HttpAnswerOptions {
  readonly upstream: string;
  readonly limits: HttpAnswerLimits;
  /** Over TLS a connection that closes without a word may be a certificate refused. */
  readonly secure: boolean;
}

/** One per attempt to send a request; handed to undici, which calls the `on…` methods. */
export class HttpAnswer implements Dispatcher.DispatchHandler {
  readonly answer: Promise<UpstreamAnswer>;
  readonly #options: HttpAnswerOptions;
  readonly #upstream: string;
  readonly #request: AnsweredRequest;
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
  #left = false;
  #begun = false;

  constructor(request: AnsweredRequest, options: HttpAnswerOptions) {
    this.#options = options;
    this.#upstream = options.upstream;
    this.#request = request;
    this.#limits = options.limits;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    request.signal.addEventListener('abort', this.#abandon, { once: true });
  }

  /** A connection stood and the request may have been written to it. */
  get left(): boolean {
    return this.#left;
  }

  /** The upstream has begun to answer. */
  get begun(): boolean {
    return this.#begun;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#left = true;
    this.#controller = controller;
    if (this.#done) controller.abort(abandonedError(this.#request.signal));
    else if (this.#request.signal.aborted) this.#abandon();
  }

  onResponseStarted(): void {
    this.#begun = true;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    this.#begun = true;
    // Informational responses come before the real one.
    if (status < 200) return;
    this.#status = status;
    this.#body = bodyOf(headers);
    const refusal = this.#refusal(status, headers);
    if (refusal !== undefined) {
      this.#fail(refusal);
      return;
    }
    // The modern era has no sessions: an id given all the same is not kept.
    if (this.#request.era === 'legacy' && this.#request.session === undefined) this.#session = this.#sessionOf(headers['mcp-session-id']);
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
    this.#fail(failureOf(error, this.#options));
  }

  /** What makes an answer unusable whatever its body holds. */
  #refusal(status: number, headers: IncomingHttpHeaders): SallyportError | undefined {
    if (status >= 300 && status < 400) return this.#error('ERR_UPSTREAM_INVALID', 'the upstream redirects, which is not followed: configure its final url', { status });
    // Never the agent's to solve: a 401 would send its client into OAuth discovery for our own credentials.
    if (status === 401 || status === 403 || status === 407) {
      return this.#error('ERR_UPSTREAM_INVALID', 'the upstream refused the gateway: check the credential, headers or certificate configured for it', { status });
    }
    if (status === 404 && this.#request.era === 'legacy' && this.#request.session !== undefined) {
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
    if (this.#bytes === 0 && (status >= 200 && status < 300)) {
      if (this.#request.method === 'GET') return this.#error('ERR_UPSTREAM_INVALID', 'the upstream answered GET without a stream', { status });
      if (this.#request.era === 'modern' && this.#request.messages[0]?.kind === 'request') return this.#error('ERR_UPSTREAM_INVALID', 'the upstream gave no answer to a request', { status });
      return { kind: 'empty', status, session };
    }
    // Streamable HTTP: no GET stream, or sessions that clients cannot end.
    if (status === 405 && this.#request.method !== 'POST') return { kind: 'empty', status };
    const text = this.#body === 'json' ? textOf(this.#parts, this.#bytes) : undefined;
    if (status < 300 && text !== undefined && this.#request.method !== 'GET') return { kind: 'json', status, session, text };
    if (status >= 400 && text !== undefined && this.#isAnswer(text)) return { kind: 'json', status, text };
    const refusal = certificateRefusal(status, this.#parts);
    if (refusal !== undefined) return this.#error('ERR_UPSTREAM_UNREACHABLE', refusal, { status, reason: 'certificateRefused' });
    if (status === 502 || status === 503 || status === 504) return this.#error('ERR_UPSTREAM_UNREACHABLE', 'what stands before the upstream cannot reach it: see whether it runs', { status });
    return this.#error('ERR_UPSTREAM_INVALID', 'the upstream answered with something that is not MCP: check its url', { status });
  }

  /** Whether an answer with an error status is one of the MCP server, and to this request. */
  #isAnswer(text: string): boolean {
    const value = jsonRpcOf(text);
    if (value === undefined || this.#request.era === 'legacy') return value !== undefined;
    const [message] = this.#request.messages;
    // JSON-RPC 2.0 §5: the id is null when the server could not read it.
    return 'error' in value && message?.kind === 'request' && (value['id'] === message.id || value['id'] === null);
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

const jsonRpcOf = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value = parseExact(text);
    return isObject(value) && value['jsonrpc'] === '2.0' ? value : undefined;
  } catch {
    return undefined;
  }
};

/** What nginx and those like it say, in HTML and over HTTP, where others end the handshake. */
const certificateRefusal = (status: number, parts: readonly Buffer[]): string | undefined => {
  const page = status === 400 ? (parts[0]?.toString('latin1', 0, 1_024) ?? '') : '';
  if (status === 496 || page.includes('No required SSL certificate was sent')) return 'the upstream demands a client certificate: set tls.cert and tls.key of this upstream';
  if (status === 495 || page.includes('The SSL certificate error')) return 'the upstream does not accept the certificate of the gateway: set tls.cert and tls.key of this upstream to one it trusts';
  if (status === 497 || page.includes('The plain HTTP request was sent to HTTPS port')) return 'the upstream speaks TLS: give it an https url';
  return undefined;
};
