/** The upstreams in front of servers that other people wrote. */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { allEventsOf, call, eventsOf, get, initialize, isRunning, jsonOf, notification, post, recordingLog, remove } from '../support/upstream-requests.ts';

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).toReversed()) await end();
});

const everything = createRequire(import.meta.url).resolve('@modelcontextprotocol/server-everything/dist/index.js');

describe('server-everything over stdio', () => {
  it('lists, calls, reports progress and ends with its session', async () => {
    const log = recordingLog();
    const upstream = createStdioUpstream({ name: 'everything', command: process.execPath, args: [everything, 'stdio'], clock: systemClock, randomness: systemRandomness, log });
    ending.push(() => upstream.close());
    const { session } = await upstream.exchange(initialize());
    expect((await upstream.exchange(post(notification('notifications/initialized'), { session }))).status).toBe(202);
    const list = await upstream.exchange(post({ jsonrpc: '2.0', id: 1, method: 'tools/list' }, { session }));
    // It may say that its list changed before it gives it.
    const listed = list.kind === 'json' ? list.text : ((await allEventsOf(list)).at(-1)?.data ?? '');
    const tools = (JSON.parse(listed) as { result: { tools: { name: string }[] } }).result.tools.map((tool) => tool.name);
    expect(tools).toContain('echo');
    const echo = await upstream.exchange(post(call(2, 'echo', { message: 'hello' }), { session }));
    const echoed = echo.kind === 'json' ? echo.text : ((await allEventsOf(echo)).at(-1)?.data ?? '');
    expect(JSON.parse(echoed)).toMatchObject({ id: 2, result: { content: [{ type: 'text', text: 'Echo: hello' }] } });
    const long = await upstream.exchange(post(call(3, 'trigger-long-running-operation', { duration: 0.3, steps: 3 }, { progressToken: 'p' }), { session, protocolVersion: '2025-11-25' }));
    const events = (await allEventsOf(long)).map((event) => event.data);
    expect(events[0]).toBe('');
    expect(events.filter((data) => data.includes('notifications/progress')).length).toBeGreaterThanOrEqual(3);
    expect(JSON.parse(events.at(-1) ?? '')).toMatchObject({ id: 3 });
    const pid = Number(log.entries.find((entry) => entry.message === 'upstream process started')?.facts['pid']);
    await upstream.exchange(remove({ session }));
    expect(isRunning(pid)).toBe(false);
  });
});

describe('an SDK server over HTTP', () => {
  const startSdkServer = async (enableJsonResponse: boolean): Promise<string> => {
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: () => randomUUID(), enableJsonResponse });
    const server = new McpServer({ name: 'sdk', version: '1.0.0' });
    server.registerTool('add', { inputSchema: { a: z.number(), b: z.number() } }, ({ a, b }) => ({ content: [{ type: 'text', text: String(a + b) }] }));
    // The SDK's own types disagree under exactOptionalPropertyTypes.
    await server.connect(transport as unknown as Parameters<typeof server.connect>[0]);
    const http = createServer((request, response) => void transport.handleRequest(request, response));
    await new Promise<void>((resolve) => {
      http.listen(0, '127.0.0.1', resolve);
    });
    ending.push(async () => {
      await server.close();
      http.closeAllConnections();
      http.close();
    });
    return `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`;
  };

  it.each([true, false])('is initialized, called, listened to and ended (JSON answers: %s)', async (enableJsonResponse) => {
    const upstream = createHttpUpstream({ name: 'sdk', url: await startSdkServer(enableJsonResponse), log: recordingLog() });
    ending.push(() => upstream.close());
    const initialized = await upstream.exchange(initialize());
    const { session } = initialized;
    expect(session).toMatch(/^[\w-]{36}$/u);
    expect(initialized.kind).toBe(enableJsonResponse ? 'json' : 'stream');
    if (!enableJsonResponse) expect(await allEventsOf(initialized)).toHaveLength(1);
    expect((await upstream.exchange(post(notification('notifications/initialized'), { session }))).status).toBe(202);
    const controller = new AbortController();
    const listening = eventsOf(await upstream.exchange(get({ session, signal: controller.signal })));
    const sum = await upstream.exchange(post(call(1, 'add', { a: 2, b: 3 }), { session }));
    const text = enableJsonResponse ? jsonOf(sum) : JSON.parse((await allEventsOf(sum))[0]?.data ?? '');
    expect(text).toMatchObject({ id: 1, result: { content: [{ type: 'text', text: '5' }] } });
    controller.abort();
    expect((await listening.next()).done).toBe(true);
    await delay(10);
    expect((await upstream.exchange(remove({ session }))).status).toBe(200);
    await expect(upstream.exchange(post(call(2, 'add', { a: 1, b: 1 }), { session }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
  });
});
