import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import type { HttpUpstreamOptions } from '../../src/upstream/http.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { allEventsOf, call, eventsOf, get, initialize, notification, post, recordingLog, remove } from '../support/upstream-requests.ts';

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).toReversed()) await end();
});

const listen = async (server: Server | ReturnType<typeof createTcpServer>): Promise<string> => {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  ending.push(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  );
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
};

const upstreamAt = (url: string, options: Partial<HttpUpstreamOptions> = {}): { upstream: Upstream; log: ReturnType<typeof recordingLog> } => {
  const log = recordingLog();
  const upstream = createHttpUpstream({ name: 'warehouse', url, log, ...options });
  ending.push(() => upstream.close());
  return { upstream, log };
};

const upstreamOf = async (listener: RequestListener, options: Partial<HttpUpstreamOptions> = {}): Promise<Upstream> => upstreamAt(await listen(createServer(listener)), options).upstream;

const answering =
  (status: number, type: string | undefined, body: string | Buffer, headers: Record<string, string> = {}) =>
  (request: IncomingMessage, response: ServerResponse): void => {
    request.resume();
    response.writeHead(status, { ...(type === undefined ? {} : { 'content-type': type }), ...headers });
    response.end(body);
  };

const result = '{"jsonrpc":"2.0","id":1,  "result":{"n":12345678901234567890}}';
const request = post(call(1, 'query'));

describe('a request to an HTTP upstream', () => {
  it('is made of decided values only', async () => {
    let seen: { method: string | undefined; url: string | undefined; raw: string[]; body: string } | undefined;
    const upstream = await upstreamOf(
      (incoming, response) => {
        let body = '';
        incoming.on('data', (chunk: Buffer) => {
          body += chunk.toString();
        });
        incoming.on('end', () => {
          seen = { method: incoming.method, url: incoming.url, raw: incoming.rawHeaders, body };
          answering(200, 'application/json', result)(incoming, response);
        });
      },
      { headers: { authorization: 'Bearer configured' }, identityHeaders: (principal, roles) => ({ 'x-agent': principal.id, 'x-roles': roles.join(' ') }) },
    );
    const body = '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"n":12345678901234567890}}';
    await upstream.exchange(post(body, { session: 'sess', protocolVersion: '2025-11-25' }));
    expect(seen?.body).toBe(body);
    expect([seen?.method, seen?.url]).toEqual(['POST', '/mcp']);
    const names = seen?.raw.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()).sort();
    expect(names).toEqual([
      'accept', 'accept-encoding', 'authorization', 'connection', 'content-length', 'content-type', 'host', 'mcp-protocol-version', 'mcp-session-id', 'x-agent', 'x-roles',
    ]);
    expect(seen?.raw.join('\n')).toContain('x-agent\ncn:agent-7\nx-roles\nanalyst');
    expect(seen?.raw.join('\n')).toContain('accept-encoding\nidentity');
  });

  it('uses its connections again', async () => {
    let connections = 0;
    const server = createServer(answering(200, 'application/json', result));
    server.on('connection', () => {
      connections += 1;
    });
    const { upstream } = upstreamAt(await listen(server));
    for (let index = 0; index < 20; index += 1) await upstream.exchange(request);
    // A call made the moment an answer is complete may find its connection not yet free.
    expect(connections).toBeLessThanOrEqual(2);
  });

  it('is not sent when the identity cannot be put into headers', async () => {
    let requests = 0;
    const upstream = await upstreamOf(
      (incoming, response) => {
        requests += 1;
        answering(200, 'application/json', result)(incoming, response);
      },
      { identityHeaders: () => ({ 'x-agent': 'a\r\nx-roles: admin' }) },
    );
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_INTERNAL', facts: { header: 'x-agent' } });
    expect(requests).toBe(0);
  });

  it.each([{ host: 'x' }, { 'Mcp-Session-Id': 'x' }, { 'mcp-param-region': 'x' }, { 'Mcp-Name': 'x' }, { 'X-Sallyport-Principal': 'x' }, { 'transfer-encoding': 'chunked' }, { 'a b': 'x' }, { a: 'x\ny' }])('cannot be configured to carry %j', (headers) => {
    expect(() => upstreamAt('http://127.0.0.1:1/mcp', { headers: headers as unknown as Record<string, string> })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });

  it.each(['ftp://x/mcp', 'mcp', 'http://user:secret@x/mcp', 'http://x/mcp#f'])('cannot be configured to go to %s', (url) => {
    expect(() => upstreamAt(url)).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });
});

describe('an answer of an HTTP upstream', () => {
  it('that is JSON is carried on as it was written', async () => {
    const upstream = await upstreamOf(answering(200, 'application/json; charset=utf-8', result));
    expect(await upstream.exchange(request)).toEqual({ kind: 'json', status: 200, session: undefined, text: result });
  });

  it('brings the session that initialize opened, and a later one cannot change it', async () => {
    const upstream = await upstreamOf(answering(200, 'application/json', result, { 'mcp-session-id': 'abc' }));
    expect((await upstream.exchange(initialize())).session).toBe('abc');
    expect((await upstream.exchange(post(call(1, 'query'), { session: 'mine' }))).session).toBeUndefined();
  });

  it('with a malformed session id is refused', async () => {
    const upstream = await upstreamOf(answering(200, 'application/json', result, { 'mcp-session-id': 'a b' }));
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });

  it('without content is passed on as such', async () => {
    const upstream = await upstreamOf(answering(202, undefined, ''));
    expect(await upstream.exchange(post(notification('notifications/initialized')))).toEqual({ kind: 'empty', status: 202, session: undefined });
  });

  it.each([400, 404, 429, 500])('with status %i that is JSON-RPC is carried on', async (status) => {
    const error = '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}';
    const upstream = await upstreamOf(answering(status, 'application/json', error));
    expect(await upstream.exchange(request)).toMatchObject({ kind: 'json', status, text: error });
  });

  it.each([
    ['a page', 200, 'text/html', '<html>', {}, 'ERR_UPSTREAM_INVALID'],
    ['JSON by another name', 200, 'text/json', result, {}, 'ERR_UPSTREAM_INVALID'],
    ['another charset', 200, 'application/json; charset=utf-16', result, {}, 'ERR_UPSTREAM_INVALID'],
    ['octets that are not UTF-8', 200, 'application/json', Buffer.from([0x22, 0xff, 0x22]), {}, 'ERR_UPSTREAM_INVALID'],
    ['gzip', 200, 'application/json', result, { 'content-encoding': 'gzip' }, 'ERR_UPSTREAM_INVALID'],
    ['a redirect', 307, undefined, '', { location: 'http://127.0.0.1:1/' }, 'ERR_UPSTREAM_INVALID'],
    ['401, although JSON-RPC', 401, 'application/json', result, { 'www-authenticate': 'Bearer' }, 'ERR_UPSTREAM_INVALID'],
    ['403, although JSON-RPC', 403, 'application/json', result, {}, 'ERR_UPSTREAM_INVALID'],
    ['an error page', 500, 'text/html', '<html>', {}, 'ERR_UPSTREAM_INVALID'],
    ['an error that is JSON only', 500, 'application/json', '{"message":"x"}', {}, 'ERR_UPSTREAM_INVALID'],
    ['a proxy without its server', 502, 'text/html', '<html>', {}, 'ERR_UPSTREAM_UNREACHABLE'],
    ['a stream with an error status', 500, 'text/event-stream', '', {}, 'ERR_UPSTREAM_INVALID'],
  ])('that is %s is refused', async (_, status, type, body, headers, code) => {
    const upstream = await upstreamOf(answering(status, type, body, headers as Record<string, string>));
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code, facts: { upstream: 'warehouse' } });
  });

  it('of exactly the bound is taken, one octet more is not', async () => {
    const text = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { text: 'x'.repeat(100_000) } });
    const listener = answering(200, 'application/json', text);
    const fits = await upstreamOf(listener, { limits: { answerBytes: text.length } });
    expect((await fits.exchange(request)).kind).toBe('json');
    const tight = await upstreamOf(listener, { limits: { answerBytes: text.length - 1 } });
    await expect(tight.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TOO_LARGE' });
  });

  it('for a session that the upstream does not know any more says that', async () => {
    const upstream = await upstreamOf(answering(404, 'application/json', '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'));
    await expect(upstream.exchange(post(call(1, 'query'), { session: 's' }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
  });

  it('that does not come in time is given up, before its head and within its body', async () => {
    const silent = await upstreamOf((incoming) => incoming.resume(), { limits: { answerTimeoutMs: 100 } });
    await expect(silent.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    const stalling = await upstreamOf(
      (incoming, response) => {
        incoming.resume();
        response.writeHead(200, { 'content-type': 'application/json' }).write('{');
      },
      { limits: { answerTimeoutMs: 100 } },
    );
    await expect(stalling.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT', message: 'the upstream did not complete its answer in time' });
  });

  it('that breaks off is no answer', async () => {
    const upstream = await upstreamOf((incoming, response) => {
      incoming.resume();
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' }).write('{');
      setTimeout(() => response.destroy(), 20);
    });
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
  });

  it('that is not HTTP is refused', async () => {
    const server = createTcpServer((socket: Socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    });
    const { upstream } = upstreamAt(await listen(server));
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });
});

describe('a stream of an HTTP upstream', () => {
  const streaming = (body: (response: ServerResponse) => void): RequestListener => (incoming, response) => {
    incoming.resume();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    body(response);
  };

  it('gives the events as they were written, then ends', async () => {
    const upstream = await upstreamOf(streaming((response) => response.end(`id: 7\ndata: \n\n: keepalive\n\nevent: message\nid: 8\nretry: 50\ndata: ${result}\n\n`)));
    expect(await allEventsOf(await upstream.exchange(request))).toEqual([
      { id: '7', event: undefined, data: '', retry: undefined },
      { id: '8', event: 'message', data: result, retry: 50 },
    ]);
  });

  it('is resumed with the last event id', async () => {
    let seen: string | undefined;
    const upstream = await upstreamOf((incoming, response) => {
      seen = `${incoming.method} ${String(incoming.headers['last-event-id'])} ${String(incoming.headers['accept'])}`;
      streaming((stream) => stream.end())(incoming, response);
    });
    await allEventsOf(await upstream.exchange(get({ session: 's', lastEventId: '8' })));
    expect(seen).toBe('GET 8 text/event-stream');
  });

  it('fails when the upstream vanishes, after what came before', async () => {
    const upstream = await upstreamOf(
      streaming((response) => {
        response.write('data: 1\n\n');
        setTimeout(() => response.destroy(), 20);
      }),
    );
    const events = eventsOf(await upstream.exchange(request));
    expect((await events.next()).value?.data).toBe('1');
    await expect(events.next()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
  });

  it('fails at an event beyond the bound', async () => {
    const upstream = await upstreamOf(streaming((response) => response.write(`data: ${'x'.repeat(2000)}\n\n`)), { limits: { eventBytes: 1000 } });
    await expect(allEventsOf(await upstream.exchange(request))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TOO_LARGE' });
  });

  it.each(['the peer goes away', 'the consumer leaves'])('is closed at the upstream when %s', async (how) => {
    let closed = false;
    const upstream = await upstreamOf(
      streaming((response) => {
        response.on('close', () => {
          closed = true;
        });
        response.write('data: 1\n\n');
      }),
    );
    const controller = new AbortController();
    const events = eventsOf(await upstream.exchange(get({ session: 's', signal: controller.signal })));
    await events.next();
    if (how === 'the peer goes away') controller.abort();
    else await events.return?.();
    expect((await events.next()).done).toBe(true);
    await expect.poll(() => closed).toBe(true);
  });

  it('is not read ahead of a slow consumer', async () => {
    let written = 0;
    const upstream = await upstreamOf(
      streaming((response) => {
        const block = `data: ${'x'.repeat(10_000)}\n\n`;
        const pump = (): void => {
          while (written < 3000) {
            written += 1;
            if (!response.write(block)) {
              response.once('drain', pump);
              return;
            }
          }
          response.end();
        };
        pump();
      }),
      { limits: { pendingBytes: 50_000 } },
    );
    const answer = await upstream.exchange(request);
    let before = -1;
    // What the sockets hold is written soon; then the upstream waits.
    await expect.poll(() => {
      const still = written === before;
      before = written;
      return still && written > 0;
    }, { interval: 100 }).toBe(true);
    expect(written).toBeLessThan(3000);
    expect(await allEventsOf(answer)).toHaveLength(3000);
  });

  it('is not there for everyone: 405 to GET is passed on, JSON is not', async () => {
    const without = await upstreamOf(answering(405, 'text/plain', 'Method Not Allowed'));
    expect(await without.exchange(get({ session: 's' }))).toEqual({ kind: 'empty', status: 405 });
    const odd = await upstreamOf(answering(200, 'application/json', result));
    await expect(odd.exchange(get({ session: 's' }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });
});

describe('an HTTP upstream', () => {
  it('that is not there is unreachable and not healthy', async () => {
    const server = createTcpServer();
    const url = await listen(server);
    const { upstream } = upstreamAt(url, { limits: { healthSharedMs: 0 } });
    expect(await upstream.healthy()).toBe(true);
    await new Promise((resolve) => {
      server.close(resolve);
    });
    expect(await upstream.healthy()).toBe(false);
    await expect(upstream.exchange(request)).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE',
      message: 'the upstream cannot be reached: check that it runs and that its url is right',
      facts: { reason: 'ECONNREFUSED' },
    });
  });

  it('is let go when the peer goes away before the answer', async () => {
    let closed = false;
    const upstream = await upstreamOf((incoming, response) => {
      incoming.resume();
      response.on('close', () => {
        closed = true;
      });
      incoming.on('end', () => controller.abort());
    });
    const controller = new AbortController();
    await expect(upstream.exchange(post(call(1, 'query'), { signal: controller.signal }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => closed).toBe(true);
    const gone = AbortSignal.abort();
    await expect(upstream.exchange(post(call(1, 'query'), { signal: gone }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
  });

  it('is told that a session ended, by the peer or by the gateway', async () => {
    const seen: string[] = [];
    const upstream = await upstreamOf((incoming, response) => {
      seen.push(`${incoming.method} ${String(incoming.headers['mcp-session-id'])}`);
      answering(200, undefined, '')(incoming, response);
    });
    expect(await upstream.exchange(remove({ session: 'a' }))).toMatchObject({ kind: 'empty', status: 200 });
    await upstream.endSession('b');
    expect(seen).toEqual(['DELETE a', 'DELETE b']);
  });

  it('that cannot be told so is only logged', async () => {
    const { upstream, log } = upstreamAt('http://127.0.0.1:1/mcp');
    await upstream.endSession('a');
    expect(log.entries).toEqual([{ level: 'warn', facts: { upstream: 'warehouse', reason: 'ECONNREFUSED' }, message: 'upstream session could not be ended' }]);
  });

  it('fails what is in flight when it is closed, and takes nothing more', async () => {
    const upstream = await upstreamOf((incoming) => incoming.resume());
    const pending = upstream.exchange(request);
    pending.catch(() => undefined);
    await upstream.close();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    expect(await upstream.healthy()).toBe(false);
  });
});
