/** Servers that break the connection at every stage, and count what they execute. */
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { UpstreamLab } from '../support/raw-http.ts';
import { call, get, initialize, modern, notification, post, remove } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

const answer = '{"jsonrpc":"2.0","id":1,"result":{}}';
const ok = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`;

type Stage = 'at once' | 'within the request' | 'after the request' | 'within the head' | 'within the body' | 'never';

/** Breaks the connections of the list in turn, then answers. Executes a request once it has it whole. */
const breaking = async (stages: readonly Stage[], how: 'reset' | 'end' = 'reset') => {
  const executed: string[] = [];
  let connections = 0;
  const server: Server = createTcpServer((socket: Socket) => {
    const stage = stages[connections] ?? 'never';
    connections += 1;
    const cut = (): void => void (how === 'reset' ? socket.resetAndDestroy() : socket.destroy());
    socket.on('error', () => undefined);
    if (stage === 'at once') {
      cut();
      return;
    }
    let given = '';
    socket.on('data', (chunk: Buffer) => {
      given += chunk.toString('latin1');
      if (stage === 'within the request') {
        cut();
        return;
      }
      const [head = '', body = ''] = given.split('\r\n\r\n');
      if (!given.includes('\r\n\r\n') || body.length < Number(/content-length: (\d+)/iu.exec(head)?.[1] ?? 0)) return;
      executed.push(/"method":"([^"]+)"/u.exec(body)?.[1] ?? head.slice(0, head.indexOf(' ')));
      given = '';
      if (stage === 'after the request') cut();
      else if (stage === 'within the head') socket.write('HTTP/1.1 20', cut);
      else if (stage === 'within the body') socket.write(ok.slice(0, -5), cut);
      else socket.write(ok);
    });
  });
  const url = await lab.listen(server);
  return { ...lab.upstream(url), executed, connections: () => connections };
};

const list = (id: number) => post({ jsonrpc: '2.0', id, method: 'tools/list' });
const query = post(call(1, 'query'));

describe('a request whose connection breaks', () => {
  it.each<Stage>(['within the request', 'after the request'])('%s is sent again when it only reads, once', async (stage) => {
    const { upstream, executed } = await breaking([stage]);
    expect(await upstream.exchange(list(1))).toMatchObject({ kind: 'json', status: 200 });
    expect(executed).toEqual(stage === 'after the request' ? ['tools/list', 'tools/list'] : ['tools/list']);
    const hopeless = await breaking([stage, stage, stage]);
    await expect(hopeless.upstream.exchange(list(1))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    expect(hopeless.connections()).toBe(2);
  });

  it.each<Stage>(['within the request', 'after the request', 'within the head', 'within the body'])('%s is never executed twice when it is a call', async (stage) => {
    for (const how of ['reset', 'end'] as const) {
      const { upstream, executed, connections } = await breaking([stage], how);
      await expect(upstream.exchange(query)).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_UPSTREAM_(UNREACHABLE|INVALID)$/) });
      expect([executed.length, connections()]).toEqual([stage === 'within the request' ? 0 : 1, 1]);
    }
  });

  it.each<Stage>(['within the head', 'within the body'])('%s is not sent again even when it only reads: it is being answered', async (stage) => {
    const { upstream, executed } = await breaking([stage]);
    await expect(upstream.exchange(list(1))).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_UPSTREAM_/) });
    expect(executed).toEqual(['tools/list']);
  });

  it.each([
    ['initialize', initialize()],
    ['a notification', post(notification('notifications/initialized'))],
    ['a subscription', modern({ id: 1, method: 'resources/subscribe', params: { uri: 'file:///a' } })],
    ['a listen stream', modern({ id: 1, method: 'subscriptions/listen' })],
    ['the log level', post({ jsonrpc: '2.0', id: 1, method: 'logging/setLevel', params: { level: 'info' } })],
    ['the update of a task', modern({ id: 1, method: 'tasks/update', params: { taskId: 't' } })],
    ['a batch with a call in it', post([{ jsonrpc: '2.0', id: 1, method: 'tools/list' }, call(2, 'query')], { protocolVersion: '2025-03-26' })],
    ['GET', get({ session: 's' })],
    ['DELETE', remove({ session: 's' })],
  ])('after it was written is not sent again: %s', async (_what, request) => {
    const { upstream, executed } = await breaking(['after the request']);
    await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    expect(executed).toHaveLength(1);
  });

  it('while it was idle costs the next call nothing, since nothing was written to it', async () => {
    const sockets: Socket[] = [];
    const { upstream, executed } = await (async () => {
      const seen: string[] = [];
      const server = createTcpServer((socket) => {
        sockets.push(socket);
        socket.on('error', () => undefined).on('data', (chunk: Buffer) => {
          seen.push(/"method":"([^"]+)"/u.exec(chunk.toString('latin1'))?.[1] ?? '');
          socket.write(ok);
        });
      });
      return { ...lab.upstream(await lab.listen(server)), executed: seen };
    })();
    for (let round = 1; round <= 20; round += 1) {
      await upstream.exchange(query);
      for (const socket of sockets) socket.destroy();
      // The end of the connection is on its way to us, or has arrived.
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(executed).toHaveLength(20);
  });
});

describe('a server that is just being restarted', () => {
  it('gets even a call, once it listens again: nothing had been written', async () => {
    const closed = createTcpServer();
    const url = await lab.listen(closed);
    const { port } = new URL(url);
    await new Promise((resolve) => {
      closed.close(resolve);
    });
    const { upstream, log } = lab.upstream(url);
    const executed: string[] = [];
    const answered = upstream.exchange(query);
    // Within the moment that is waited.
    setTimeout(() => void lab.listen(createTcpServer((socket) => {
      socket.on('error', () => undefined).on('data', () => {
        executed.push('call');
        socket.write(ok);
      });
    }), { port: Number(port) }), 20);
    expect(await answered).toMatchObject({ kind: 'json' });
    expect(executed).toEqual(['call']);
    expect(log.entries).toContainEqual({ level: 'debug', facts: { upstream: 'warehouse', reason: 'ECONNREFUSED' }, message: 'upstream request sent again' });
  });

  it('is not dialled again for a client that went away meanwhile', async () => {
    const { upstream, log } = lab.upstream('http://127.0.0.1:1/mcp');
    const controller = new AbortController();
    const failing = upstream.exchange(post(call(1, 'query'), { signal: controller.signal }));
    controller.abort();
    await expect(failing).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    expect(log.entries.filter(({ level }) => level === 'debug')).toEqual([]);
  });
});
