import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import { call, post } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

const query = post(call(1, 'query'));
const result = { jsonrpc: '2.0', id: 1, result: {} };

describe('the health of an HTTP upstream', () => {
  it('is looked at once a second however often it is asked for', async () => {
    let now = 0;
    let connections = 0;
    const url = await lab.listen(createTcpServer((socket) => {
      connections += 1;
      socket.on('error', () => undefined);
    }));
    const { upstream } = lab.upstream(url, { monotonicMs: () => now });
    expect(await Promise.all([upstream.healthy(), upstream.healthy()])).toEqual([true, true]);
    now = 999;
    expect(await upstream.healthy()).toBe(true);
    expect(connections).toBe(1);
    now = 2_000;
    expect(await upstream.healthy()).toBe(true);
    expect(connections).toBe(2);
  });

  it('needs no look where an answer has just come', async () => {
    let connections = 0;
    const server = createServer((request, response) => {
      request.resume();
      sendJson(response, 200, result);
    });
    server.on('connection', () => {
      connections += 1;
    });
    const { upstream } = lab.upstream(await lab.listen(server));
    await upstream.exchange(query);
    expect([await upstream.healthy(), connections]).toEqual([true, 1]);
  });
});

describe('an HTTP upstream that is lost', () => {
  it('is reported once, and once more when it is back', async () => {
    const first = createTcpServer();
    const url = await lab.listen(first);
    await new Promise((resolve) => {
      first.close(resolve);
    });
    let now = 0;
    const { upstream, log } = lab.upstream(url, { monotonicMs: () => now });
    for (let index = 0; index < 3; index += 1) await expect(upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    expect(await upstream.healthy()).toBe(false);
    now = 5_000;
    await lab.listen(createServer((request, response) => {
      request.resume();
      sendJson(response, 200, result);
    }), { port: Number(new URL(url).port) });
    for (let index = 0; index < 3; index += 1) await upstream.exchange(query);
    expect(log.entries.filter(({ level }) => level !== 'debug')).toMatchObject([
      { level: 'warn', facts: { upstream: 'warehouse', error: { code: 'ERR_UPSTREAM_UNREACHABLE', facts: { reason: 'ECONNREFUSED' } } }, message: 'upstream cannot be reached' },
      // Three requests, each sent twice, and the look at its health.
      { level: 'info', facts: { upstream: 'warehouse', failures: 7, millis: 5_000 }, message: 'upstream can be reached again' },
    ]);
  });

  it('is not reported for one request whose connection broke, but for two in a row', async () => {
    let answering = true;
    const { upstream, log } = await lab.recording((_, response) => {
      if (answering) sendJson(response, 200, result);
      else response.destroy();
    });
    const fail = () => expect(upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    answering = false;
    await fail();
    answering = true;
    await upstream.exchange(query);
    expect(log.entries).toEqual([]);
    answering = false;
    await fail();
    await fail();
    expect(log.entries).toMatchObject([{ level: 'warn', message: 'upstream cannot be reached' }]);
  });

  it('is one that answers, even with an error, no more', async () => {
    let status = 502;
    const { upstream, log } = await lab.recording((_, response) => response.writeHead(status).end());
    for (let index = 0; index < 2; index += 1) await expect(upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    status = 401;
    await expect(upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
    expect(log.entries.map(({ message }) => message)).toEqual(['upstream cannot be reached', 'upstream can be reached again']);
  });
});
