/**
 * The `ServerResponse` that an in-process handler is given. What the handler writes into it passes
 * the answer filter on its way to the real one: the session id is replaced by the gateway's, JSON
 * bodies leave whole, SSE events one by one, anything else not at all.
 */
import { ServerResponse } from 'node:http';
import type { OutgoingHttpHeaders } from 'node:http';
import { SallyportError } from '../errors.ts';
import { encodeSseEvent, SseDecoder } from '../mcp/sse.ts';
import type { SseEvent } from '../upstream/upstream.ts';
import { gather } from './gathered.ts';

export interface TapOptions {
  /** Told the status before anything is sent; throws when such an answer is not the MCP client's to see. */
  readonly onStatus: (status: number) => void;
  /** Given the handler's session id when it sets one in a successful answer; returns what the MCP client is told. */
  readonly onSession: (upstreamSession: string) => string | undefined;
  readonly json: (text: string) => string;
  readonly event: (event: SseEvent) => SseEvent | undefined;
  /** Octets of a JSON answer or of one SSE event. */
  readonly maxBytes: number;
}

export interface Tap {
  readonly response: ServerResponse;
  /** Resolves when the answer has been handed to the socket or the socket is gone; rejects when the filter refuses it. */
  readonly sent: Promise<void>;
  /** To the handler the client is gone; nothing it still writes arrives. */
  abandon(reason: unknown): void;
}

/** How the body is treated, known from the handler's headers. */
type Mode = 'undecided' | 'json' | 'stream' | 'bodiless' | 'failed';

/** Headers of a handler that concern the MCP client. Everything else about the answer is the gateway's to say. */
const passedOn = new Set(['content-type', 'allow', 'retry-after']);

export const tapResponse = (real: ServerResponse, options: TapOptions): Tap => {
  const tapped = new ServerResponse(real.req);
  const decoder = new SseDecoder({ maxEventBytes: options.maxBytes });
  const chunks: Buffer[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let mode: Mode = 'undecided';
  let length = 0;
  let closed = false;

  const decide = (): void => {
    if (mode !== 'undecided') return;
    options.onStatus(tapped.statusCode);
    const media = String(tapped.getHeader('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
    mode = media === 'application/json' ? 'json' : media === 'text/event-stream' ? 'stream' : 'bodiless';
    const given = tapped.getHeader('mcp-session-id');
    const session = typeof given === 'string' && tapped.statusCode < 400 ? options.onSession(given) : undefined;
    if (session !== undefined) real.setHeader('mcp-session-id', session);
    for (const [name, value] of Object.entries(tapped.getHeaders())) if (value !== undefined && passedOn.has(name)) real.setHeader(name, value);
    // Lists differ per principal, so no shared cache may keep any answer (mcp.md row 17).
    real.setHeader('cache-control', 'no-store');
    if (mode !== 'stream') return;
    gather(real);
    real.setHeader('x-accel-buffering', 'no').writeHead(tapped.statusCode);
  };
  const fail = (error: unknown): void => {
    mode = 'failed';
    reject(error);
  };
  /** @returns whether more may be written at once */
  const take = (chunk: unknown, encoding: unknown): boolean => {
    if (mode === 'failed') return true;
    try {
      decide();
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding as BufferEncoding | undefined) : Buffer.from(chunk as Uint8Array);
      if (mode === 'bodiless') {
        if (bytes.length > 0) throw invalid('something that is neither JSON nor an event stream');
        return true;
      }
      if (mode === 'stream') {
        let flowing = true;
        for (const event of decoder.push(bytes)) {
          const kept = options.event(event);
          if (kept === undefined) continue;
          gather(real);
          flowing = real.write(encodeSseEvent(kept));
        }
        return flowing;
      }
      length += bytes.length;
      if (length > options.maxBytes) throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'the MCP server sent an answer larger than is allowed', { facts: { maxBytes: options.maxBytes } });
      chunks.push(bytes);
    } catch (error) {
      fail(error);
    }
    return true;
  };
  const finish = (): void => {
    if (mode === 'failed') return;
    try {
      decide();
      if (mode !== 'json') {
        // RFC 9110 §8.6: no Content-Length in a 204.
        if (mode === 'bodiless' && tapped.statusCode !== 204) real.setHeader('content-length', 0);
        if (mode === 'bodiless') real.writeHead(tapped.statusCode);
        real.end();
        return;
      }
      const text = length === 0 ? '' : options.json(Buffer.concat(chunks, length).toString('utf8'));
      real.setHeader('content-length', Buffer.byteLength(text)).writeHead(tapped.statusCode).end(text);
    } catch (error) {
      fail(error);
    }
  };

  // Own properties, since a framework may exchange the prototype.
  Object.assign(tapped, {
    writeHead(status: number, reasonOrHeaders?: string | HeadersArgument, headers?: HeadersArgument) {
      tapped.statusCode = status;
      setAll(tapped, typeof reasonOrHeaders === 'string' ? headers : reasonOrHeaders);
      return tapped;
    },
    flushHeaders() {
      try {
        if (mode !== 'failed') decide();
        // A JSON answer is sent whole, with the length and status it has in the end.
        if (mode === 'stream') real.flushHeaders();
      } catch (error) {
        fail(error);
      }
    },
    write(chunk: unknown, encodingOrCallback?: unknown, callback?: unknown) {
      const flowing = take(chunk, typeof encodingOrCallback === 'string' ? encodingOrCallback : undefined);
      const done = [encodingOrCallback, callback].find((one): one is () => void => typeof one === 'function');
      if (done !== undefined) process.nextTick(done);
      return flowing;
    },
    end(chunk?: unknown, encodingOrCallback?: unknown, callback?: unknown) {
      if (tapped.finished) return tapped;
      if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') take(chunk, typeof encodingOrCallback === 'string' ? encodingOrCallback : undefined);
      const done = [chunk, encodingOrCallback, callback].find((one): one is () => void => typeof one === 'function');
      if (done !== undefined) tapped.once('finish', done);
      tapped.finished = true;
      finish();
      return tapped;
    },
    destroy(error?: Error) {
      tapped.destroyed = true;
      if (error !== undefined && mode !== 'failed') fail(error);
      // Without a head the endpoint still answers; a stream that breaks off must not look complete.
      else if (real.headersSent) real.destroy();
      else if (mode !== 'failed') fail(invalid('no answer'));
      return tapped;
    },
  });
  Object.defineProperties(tapped, {
    headersSent: { get: () => mode !== 'undecided' },
    socket: { get: () => real.socket, set: () => {} },
    writableNeedDrain: { get: () => real.writableNeedDrain },
  });
  const close = (): void => {
    if (closed) return;
    closed = true;
    tapped.destroyed = true;
    tapped.emit('close');
  };
  real.once('finish', () => {
    resolve();
    if (!closed) tapped.emit('finish');
  });
  real.once('close', () => {
    resolve();
    close();
  });
  real.on('drain', () => tapped.emit('drain'));
  const abandon = (reason: unknown): void => {
    fail(reason);
    close();
  };
  return { response: tapped, sent: promise, abandon };
};

const invalid = (what: string): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the MCP server sent ${what}`);

type HeadersArgument = OutgoingHttpHeaders | readonly (string | readonly string[])[];

const setAll = (response: ServerResponse, headers: HeadersArgument | undefined): void => {
  if (headers === undefined) return;
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers as OutgoingHttpHeaders)) if (value !== undefined) response.setHeader(name, value);
    return;
  }
  const flat = headers.flat() as readonly string[];
  for (let index = 0; index + 1 < flat.length; index += 2) response.appendHeader(flat[index] ?? '', flat[index + 1] ?? '');
};
