/**
 * Stands between an in-process handler and its `ServerResponse`: the session id is replaced by the
 * gateway's, and JSON bodies and SSE events pass the answer filter before they leave.
 */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { encodeSseEvent, SseDecoder } from '../mcp/sse.ts';
import { SallyportError } from '../errors.ts';
import type { SseEvent } from '../upstream/upstream.ts';

export interface TapOptions {
  /** Given the handler's session id when it sets one; returns what the MCP client is told. */
  readonly onSession: (upstreamSession: string) => string | undefined;
  readonly json: (text: string) => string;
  readonly event: (event: SseEvent) => SseEvent | undefined;
  /** Octets of a JSON answer or of one SSE event. */
  readonly maxBytes: number;
}

/** How the body is treated once the handler's headers are known. */
type Mode = 'undecided' | 'json' | 'stream' | 'verbatim';

/** Resolves when the answer has been handed to the socket or the socket is gone; rejects when the filter refuses it. */
export const tapResponse = (response: ServerResponse, options: TapOptions): Promise<void> => {
  const original = {
    writeHead: response.writeHead.bind(response) as (status: number) => ServerResponse,
    write: response.write.bind(response) as (chunk: string | Uint8Array, callback?: () => void) => boolean,
    end: response.end.bind(response) as (chunk?: string | Uint8Array, callback?: () => void) => ServerResponse,
    flushHeaders: response.flushHeaders.bind(response),
  };
  let mode: Mode = 'undecided';
  let status = 200;
  const chunks: Buffer[] = [];
  let length = 0;
  const decoder = new SseDecoder({ maxEventBytes: options.maxBytes });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  response.once('finish', resolve).once('close', resolve);

  const decide = (): void => {
    if (mode !== 'undecided') return;
    const given = response.getHeader('mcp-session-id');
    if (typeof given === 'string') {
      const session = options.onSession(given);
      if (session === undefined) response.removeHeader('mcp-session-id');
      else response.setHeader('mcp-session-id', session);
    }
    const media = String(response.getHeader('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase();
    mode = media === 'application/json' ? 'json' : media === 'text/event-stream' ? 'stream' : 'verbatim';
    // Lists differ per principal, so no shared cache may keep any answer (mcp.md row 17).
    if (mode !== 'verbatim') response.setHeader('cache-control', 'no-store').removeHeader('content-length');
    // Node's own implicit head would come through the replaced writeHead, which sends nothing.
    if (mode !== 'json') original.writeHead(status);
  };
  const fail = (error: unknown): void => {
    reject(error);
    response.destroy();
  };
  const take = (chunk: Uint8Array | string, encoding: BufferEncoding | undefined): boolean => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    if (mode === 'verbatim') return original.write(bytes);
    try {
      if (mode === 'stream') {
        let flowing = true;
        for (const event of decoder.push(bytes)) {
          const kept = options.event(event);
          if (kept !== undefined) flowing = original.write(encodeSseEvent(kept));
        }
        return flowing;
      }
      length += bytes.length;
      if (length > options.maxBytes) throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'the MCP server sent an answer larger than is allowed', { facts: { maxBytes: options.maxBytes } });
      chunks.push(Buffer.from(bytes));
    } catch (error) {
      fail(error);
    }
    return true;
  };

  Object.assign(response, {
    writeHead(code: number, reasonOrHeaders?: string | HeadersArgument, headers?: HeadersArgument) {
      status = code;
      response.statusCode = code;
      setAll(response, typeof reasonOrHeaders === 'string' ? headers : reasonOrHeaders);
      return response;
    },
    flushHeaders() {
      decide();
      // A JSON answer is sent whole, with the length it has after filtering.
      if (mode !== 'json') original.flushHeaders();
    },
    write(chunk: string | Uint8Array, encodingOrCallback?: BufferEncoding | (() => void), callback?: () => void) {
      decide();
      const flowing = take(chunk, typeof encodingOrCallback === 'string' ? encodingOrCallback : undefined);
      const done = typeof encodingOrCallback === 'function' ? encodingOrCallback : callback;
      if (done !== undefined) process.nextTick(done);
      return flowing;
    },
    end(chunk?: string | Uint8Array | (() => void), encodingOrCallback?: BufferEncoding | (() => void), callback?: () => void) {
      decide();
      if (chunk !== undefined && typeof chunk !== 'function') take(chunk, typeof encodingOrCallback === 'string' ? encodingOrCallback : undefined);
      const done = [chunk, encodingOrCallback, callback].find((one): one is () => void => typeof one === 'function');
      if (done !== undefined) response.once('finish', done);
      if (mode !== 'json' || response.destroyed) return original.end();
      try {
        const text = length === 0 ? '' : options.json(Buffer.concat(chunks, length).toString('utf8'));
        response.setHeader('content-length', Buffer.byteLength(text));
        original.writeHead(status);
        return original.end(text);
      } catch (error) {
        fail(error);
        return response;
      }
    },
  });
  return promise;
};

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
