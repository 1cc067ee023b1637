import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { tapResponse } from '../../src/gateway/response-tap.ts';
import type { TapOptions } from '../../src/gateway/response-tap.ts';

/** Serves one request with a handler behind a tap; the answer, or the code the tap rejected with. */
const through = async (handler: (response: ServerResponse) => unknown, options: Partial<TapOptions> = {}): Promise<{ status?: number; headers?: IncomingMessage['headers']; body?: string; rejected?: string }> => {
  let rejected: string | undefined;
  const server = createServer((_request, response) => {
    const tap = tapResponse(response, { maxBytes: 100, onStatus: () => undefined, onSession: () => 'ours', json: (json) => json.replace('secret', 'filtered'), event: (event) => (event.data === 'drop' ? undefined : event), ...options });
    tap.sent.catch((error: { code: string }) => {
      rejected = error.code;
      if (!response.headersSent) response.writeHead(502).end();
      else response.destroy();
    });
    handler(tap.response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const asked = once(get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', agent: false }), 'response').catch(() => undefined);
    const [answer] = ((await asked) ?? []) as [IncomingMessage?];
    if (answer === undefined) return { body: 'cut', ...(rejected === undefined ? {} : { rejected }) };
    const body = await text(answer).catch(() => 'cut');
    return { status: answer.statusCode ?? 0, headers: answer.headers, body, ...(rejected === undefined ? {} : { rejected }) };
  } finally {
    server.closeAllConnections();
    server.close();
  }
};

describe('a tapped response', () => {
  it('sends JSON whole, filtered, with its own length, whatever way it was written', async () => {
    for (const handler of [
      (r: ServerResponse) => r.writeHead(201, { 'Content-Type': 'application/json', 'Content-Length': '999', 'Mcp-Session-Id': 'theirs' }).end('"secret"'),
      (r: ServerResponse) => {
        r.statusCode = 201;
        r.setHeader('content-type', 'application/json; charset=utf-8');
        r.setHeader('mcp-session-id', 'theirs');
        r.write('"sec');
        r.end(Buffer.from('ret"'));
      },
      (r: ServerResponse) => pipeline(Readable.from([Buffer.from('"secret"')]), r.writeHead(201, ['content-type', 'application/json', 'mcp-session-id', 'theirs'])),
    ]) {
      const { status, headers, body } = await through(handler);
      expect([status, body, headers?.['content-length'], headers?.['mcp-session-id'], headers?.['cache-control']]).toEqual([201, '"filtered"', '10', 'ours', 'no-store']);
    }
  });

  it('passes events one by one and drops those that the filter drops', async () => {
    const { body, headers } = await through((r) => {
      r.writeHead(200, { 'content-type': 'text/event-stream', 'x-powered-by': 'x', 'set-cookie': 'a=b' });
      r.flushHeaders();
      r.write('data: o');
      r.write('ne\n\ndata: drop\n\n');
      r.end('data: two\n\n');
    });
    expect(body).toBe('data: one\n\ndata: two\n\n');
    expect([headers?.['x-powered-by'], headers?.['set-cookie']]).toEqual([undefined, undefined]);
  });

  it('sends no body of any other kind', async () => {
    expect(await through((r) => r.end('plain'))).toMatchObject({ rejected: 'ERR_UPSTREAM_INVALID', body: '' });
    expect(await through((r) => r.writeHead(202).end())).toMatchObject({ status: 202, body: '' });
    expect(await through((r) => r.writeHead(204).end())).toMatchObject({ status: 204, body: '' });
  });

  it('refuses more than is allowed, and what the filter refuses, before anything was sent', async () => {
    expect(await through((r) => r.writeHead(200, { 'content-type': 'application/json' }).end('x'.repeat(101)))).toMatchObject({ status: 502, rejected: 'ERR_UPSTREAM_TOO_LARGE' });
    // The head of a stream may be gone by then: it breaks off.
    expect(await through((r) => r.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${'x'.repeat(101)}\n\n`))).toMatchObject({ rejected: 'ERR_UPSTREAM_TOO_LARGE' });
  });

  it('tells the handler of the end, calls back, and looks sent', async () => {
    const seen: unknown[] = [];
    await through((r) => {
      seen.push(r.headersSent, r.writableEnded);
      r.once('finish', () => seen.push('finish')).once('close', () => seen.push('close'));
      r.writeHead(200, { 'content-type': 'application/json' }).end('{}', () => seen.push('called back'));
      seen.push(r.headersSent, r.writableEnded);
      r.end('twice');
    });
    expect(seen).toEqual([false, false, true, true, 'finish', 'called back', 'close']);
  });
});
