/**
 * The `ServerResponse` of a request that no connection brought: what a Node handler writes into it is read as
 * the answer of an upstream.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { OutgoingHttpHeaders } from 'node:http';
import { Socket } from 'node:net';
import { SallyportError } from '../errors.ts';
import { SseDecoder } from '../mcp/sse.ts';
import { EventQueue } from './event-queue.ts';
import type { UpstreamAnswer } from './upstream.ts';

export interface RequestOfOurs {
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: string | undefined;
}

export interface CaptureOptions {
  readonly upstream: string;
  /** Octets of a JSON answer or of one SSE event. */
  readonly maxBytes: number;
  /** Characters of events that may wait for their reader. */
  readonly pendingBytes: number;
  /** When aborted, the handler's client is gone. */
  readonly signal: AbortSignal;
}

/** A request as Node's HTTP server would hand it to a handler. */
export const requestOfOurs = ({ method, headers, body }: RequestOfOurs): IncomingMessage => {
  const request = new IncomingMessage(new Socket());
  request.method = method;
  request.url = '/mcp';
  request.httpVersion = '1.1';
  for (const [name, value] of Object.entries({ ...headers, ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }) })) {
    if (value === undefined) continue;
    request.rawHeaders.push(name, value);
    request.headers[name] = value;
  }
  if (body !== undefined) request.push(Buffer.from(body));
  request.push(null);
  request.complete = true;
  return request;
};

export interface Captured {
  readonly response: ServerResponse;
  /** Rejects with `SallyportError` when the handler gives none, or one that cannot be read. */
  readonly answer: Promise<UpstreamAnswer>;
}

export const captureResponse = (request: IncomingMessage, options: CaptureOptions): Captured => {
  const response = new ServerResponse(request);
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamAnswer>();
  const decoder = new SseDecoder({ maxEventBytes: options.maxBytes });
  const chunks: Buffer[] = [];
  let length = 0;
  let queue: EventQueue | undefined;
  let pressed = false;
  let begun = false;
  let closed = false;

  const close = (): void => {
    if (closed) return;
    closed = true;
    options.signal.removeEventListener('abort', onAbort);
    response.destroyed = true;
    response.emit('close');
  };
  const fail = (error: unknown): void => {
    const failure = error instanceof Error ? error : new SallyportError('ERR_UPSTREAM_INVALID', 'the handler threw something that is no error', { facts: { upstream: options.upstream } });
    if (queue === undefined) reject(failure);
    else queue.end(failure);
    close();
  };
  const onAbort = (): void => fail(options.signal.reason);
  const begin = (): void => {
    if (begun) return;
    begun = true;
    if (!String(response.getHeader('content-type') ?? '').toLowerCase().startsWith('text/event-stream')) return;
    queue = new EventQueue({
      pendingBytes: options.pendingBytes,
      onPressure: (paused) => {
        pressed = paused;
        if (!paused) response.emit('drain');
      },
      onLeft: close,
    });
    resolve({ kind: 'stream', status: response.statusCode, session: sessionIn(response), events: queue });
  };
  const take = (chunk: unknown, encoding: unknown): boolean => {
    if (closed) return true;
    begin();
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8') : Buffer.from(chunk as Uint8Array);
    try {
      if (queue !== undefined) {
        for (const event of decoder.push(bytes)) queue.push(event);
        return !pressed;
      }
      length += bytes.length;
      if (length > options.maxBytes) throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'the handler sent an answer larger than is allowed', { facts: { upstream: options.upstream, maxBytes: options.maxBytes } });
      chunks.push(bytes);
    } catch (error) {
      fail(error);
    }
    return true;
  };
  const finish = (): void => {
    begin();
    if (queue !== undefined) queue.end();
    else if (length === 0) resolve({ kind: 'empty', status: response.statusCode, session: sessionIn(response) });
    else resolve({ kind: 'json', status: response.statusCode, session: sessionIn(response), text: Buffer.concat(chunks, length).toString('utf8') });
  };

  // Own properties, since a framework may exchange the prototype.
  Object.assign(response, {
    writeHead(status: number, reasonOrHeaders?: string | OutgoingHttpHeaders | readonly string[], headers?: OutgoingHttpHeaders | readonly string[]) {
      response.statusCode = status;
      setAll(response, typeof reasonOrHeaders === 'string' ? headers : reasonOrHeaders);
      return response;
    },
    flushHeaders: begin,
    write(chunk: unknown, encodingOrCallback?: unknown, callback?: unknown) {
      const flowing = take(chunk, encodingOrCallback);
      callAll([encodingOrCallback, callback]);
      return flowing;
    },
    end(chunk?: unknown, encodingOrCallback?: unknown, callback?: unknown) {
      if (response.finished) return response;
      if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') take(chunk, encodingOrCallback);
      response.finished = true;
      if (!closed) finish();
      callAll([chunk, encodingOrCallback, callback]);
      process.nextTick(() => {
        response.emit('finish');
        close();
      });
      return response;
    },
    destroy(error?: Error) {
      if (!response.finished) fail(error ?? new SallyportError('ERR_UPSTREAM_INVALID', 'the handler broke off its answer', { facts: { upstream: options.upstream } }));
      return response;
    },
  });
  Object.defineProperties(response, {
    headersSent: { get: () => begun },
    writableNeedDrain: { get: () => pressed },
  });
  if (options.signal.aborted) onAbort();
  else options.signal.addEventListener('abort', onAbort, { once: true });
  // Whoever never asks for the answer must not bring the process down.
  promise.catch(() => undefined);
  return { response, answer: promise };
};

const sessionIn = (response: ServerResponse): string | undefined => {
  const given = response.getHeader('mcp-session-id');
  return typeof given === 'string' ? given : undefined;
};

const callAll = (candidates: readonly unknown[]): void => {
  const done = candidates.find((one): one is () => void => typeof one === 'function');
  if (done !== undefined) process.nextTick(done);
};

const setAll = (response: ServerResponse, headers: OutgoingHttpHeaders | readonly string[] | undefined): void => {
  if (headers === undefined) return;
  const pairs = Array.isArray(headers) ? pairsOf(headers as readonly string[]) : Object.entries(headers as OutgoingHttpHeaders);
  for (const [name, value] of pairs) if (value !== undefined) response.setHeader(name, value);
};

const pairsOf = (flat: readonly string[]): [string, string][] => {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) pairs.push([flat[index] ?? '', flat[index + 1] ?? '']);
  return pairs;
};
