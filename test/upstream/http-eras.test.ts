import { createServer } from 'node:http';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { gatewayInfo } from '../../src/upstream/gateway-info.ts';
import { SallyportError } from '../../src/errors.ts';
import { EraFinder } from '../../src/upstream/http-eras.ts';
import { startV1Http } from '../support/mcp-servers/v1-http.ts';
import { startV2Http } from '../support/mcp-servers/v2.ts';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import type { Received } from '../support/raw-http.ts';
import { initialize, recordingLog } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

const discovered = (supportedVersions: readonly string[]) => ({ jsonrpc: '2.0', id: 'sallyport-discover', result: { resultType: 'complete', supportedVersions, capabilities: {}, serverInfo: { name: 'x', version: '1' } } });
const initialized = { jsonrpc: '2.0', id: 'sallyport-initialize', result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'x', version: '1' } } };
const failed = (id: string, code: number) => ({ jsonrpc: '2.0', id, error: { code, message: 'no' } });
const asked = (received: readonly Received[]): readonly string[] => received.map(({ method, message, headers }) => [method, message?.method, headers['mcp-session-id']].filter((part) => part !== undefined).join(' '));

describe('the eras of an HTTP upstream', () => {
  it('are both for an SDK v2 server and legacy for SDK v1 servers', async () => {
    const [v2, stateful, stateless] = [await startV2Http(), await startV1Http(), await startV1Http({ sessions: 'stateless' })];
    for (const server of [v2, stateful, stateless]) lab.onEnd(() => server.close());
    const erasOf = (url: URL) => lab.upstream(url.href).upstream.eras();
    expect(await Promise.all([v2.url, stateful.url, stateless.url].map(erasOf))).toEqual([['modern', 'legacy'], ['legacy'], ['legacy']]);
    expect(stateful.sessions()).toEqual([]);
  });

  it('are asked for with a complete envelope, and a session opened on the way is ended', async () => {
    const { upstream, received, log } = await lab.recording(({ method, message }, response) => {
      if (message?.method === 'server/discover') sendJson(response, 200, discovered(['2026-07-28', '2025-11-25']));
      else if (method === 'DELETE') response.writeHead(200).end();
      else sendJson(response, 200, initialized, { 'mcp-session-id': 's1' });
    });
    expect(await upstream.eras()).toEqual(['modern', 'legacy']);
    await expect.poll(() => asked(received)).toEqual(['POST server/discover', 'POST initialize', 'DELETE s1']);
    expect(received[0]?.headers).toMatchObject({ 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'server/discover' });
    expect(received[0]?.message?.params).toEqual({
      _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': gatewayInfo(), 'io.modelcontextprotocol/clientCapabilities': {} },
    });
    expect(received[1]?.headers).not.toHaveProperty('mcp-method');
    expect(log.entries).toEqual([{ level: 'info', facts: { upstream: 'warehouse', eras: ['modern', 'legacy'] }, message: 'upstream eras found' }]);
  });

  it.each<[string, (received: Received, response: Parameters<Parameters<UpstreamLab['recording']>[0]>[1]) => void, readonly string[]]>([
    ['initialize refused', ({ message }, response) => (message?.method === 'server/discover' ? sendJson(response, 200, discovered(['2026-07-28'])) : sendJson(response, 404, failed('sallyport-initialize', -32601))), ['modern']],
    ['discovery on a stream', ({ message }, response) => {
      if (message?.method === 'server/discover') response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\ndata: ${JSON.stringify(discovered(['2026-07-28']))}\n\n`);
      else sendJson(response, 200, failed('sallyport-initialize', -32600));
    }, ['modern']],
    ['only revisions we do not know', (_, response) => sendJson(response, 200, discovered(['2031-01-01'])), ['legacy']],
    ['method not found', (_, response) => sendJson(response, 200, failed('sallyport-discover', -32601)), ['legacy']],
    ['400 without initialize', (_, response) => sendJson(response, 400, { jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Bad Request: Server not initialized' } }), ['legacy']],
    ['404 in HTML', (_, response) => response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not Found'), ['legacy']],
    ['405', (_, response) => response.writeHead(405).end(), ['legacy']],
    ['a result of another kind', (_, response) => sendJson(response, 200, { jsonrpc: '2.0', id: 'sallyport-discover', result: {} }), ['legacy']],
  ])('with %s', async (_what, answer, expected) => {
    const { upstream } = await lab.recording(answer);
    expect(await upstream.eras()).toEqual(expected);
  });

  it.each<[string, number, string, string | undefined]>([
    ['a server that fails', 500, 'ERR_UPSTREAM_INVALID', '{"jsonrpc":"2.0","id":"sallyport-discover","error":{"code":-32603,"message":"x"}}'],
    ['a proxy without its server', 503, 'ERR_UPSTREAM_UNREACHABLE', undefined],
    ['a server that wants a credential', 401, 'ERR_UPSTREAM_INVALID', undefined],
    ['a server that is busy', 429, 'ERR_UPSTREAM_INVALID', '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"later"}}'],
    ['no word', 202, 'ERR_UPSTREAM_INVALID', undefined],
  ])('cannot be told from %s, and are asked for again', async (_what, status, code, body) => {
    let recovered = false;
    const { upstream } = await lab.recording(({ message }, response) => {
      if (recovered) sendJson(response, 200, message?.method === 'server/discover' ? discovered(['2026-07-28']) : failed('sallyport-initialize', -32601));
      else if (body === undefined) response.writeHead(status).end();
      else sendJson(response, status, body);
    });
    await expect(upstream.eras()).rejects.toMatchObject({ code });
    recovered = true;
    expect(await upstream.eras()).toEqual(['modern']);
  });

  it('must be configured where the gateway may not ask', async () => {
    const { upstream } = await lab.recording((_, response) => response.writeHead(403).end());
    await expect(upstream.eras()).rejects.toMatchObject({ message: 'the upstream does not let the gateway ask which era it speaks: set its era, or give the gateway a credential of its own', facts: { status: 403, method: 'server/discover' } });
  });

  it('are not known of an upstream that is not there, or keeps silent', async () => {
    const server = createServer();
    const url = await lab.listen(server);
    await new Promise((resolve) => {
      server.close(resolve);
    });
    await expect(lab.upstream(url).upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', facts: { reason: 'ECONNREFUSED' } });
    const { upstream } = await lab.recording(() => undefined, { limits: { connectTimeoutMs: 100 } });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT', message: 'the upstream did not say in time which era it speaks: see whether it runs, or set its era' });
  });

  it('are asked for once by all who want to know, and again in the background after ten minutes', async () => {
    let now = 0;
    let versions: readonly string[] = ['2025-11-25'];
    const { upstream, received } = await lab.recording(({ message }, response) => {
      sendJson(response, 200, message?.method === 'server/discover' ? discovered(versions) : initialized);
    }, { monotonicMs: () => now });
    expect(await Promise.all([upstream.eras(), upstream.eras(), upstream.eras()])).toEqual([['legacy'], ['legacy'], ['legacy']]);
    expect(received).toHaveLength(1);
    now = 600_000;
    await upstream.eras();
    expect(received).toHaveLength(1);
    versions = ['2026-07-28'];
    now = 600_001;
    expect(await upstream.eras()).toEqual(['legacy']);
    await expect.poll(() => upstream.eras()).toEqual(['modern', 'legacy']);
    expect(asked(received)).toEqual(['POST server/discover', 'POST server/discover', 'POST initialize']);
  });

  it.each([['an error of the server', true], ['a page', false]])('are asked for again soon after a request was refused with %s, but not for every one', async (_what, jsonRpc) => {
    let now = 0;
    let upgraded = false;
    const { upstream, received } = await lab.recording(({ message }, response) => {
      if (message?.method === 'server/discover' && upgraded) sendJson(response, 200, discovered(['2026-07-28']));
      else if (jsonRpc) sendJson(response, 400, failed(String(message?.id), -32022));
      else response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not Found');
    }, { monotonicMs: () => now });
    const refused = () => upstream.exchange(initialize()).catch(() => undefined);
    expect(await upstream.eras()).toEqual(['legacy']);
    upgraded = true;
    now = 29_999;
    await refused();
    expect(await upstream.eras()).toEqual(['legacy']);
    expect(asked(received)).toEqual(['POST server/discover', 'POST initialize']);
    now = 30_000;
    await refused();
    await expect.poll(() => upstream.eras()).toEqual(['modern']);
  });

  it('whatever the upstream says, are found or refused with a code', async () => {
    const text = fc.oneof(
      fc.json(),
      fc.record({ jsonrpc: fc.constant('2.0'), id: fc.constantFrom('sallyport-discover', 'sallyport-initialize', null, 1), result: fc.oneof(fc.anything(), fc.record({ supportedVersions: fc.anything() }), fc.record({ supportedVersions: fc.array(fc.constantFrom('2026-07-28', '2025-11-25', '', 7)) }), fc.record({ protocolVersion: fc.anything() })) }).map((value) => JSON.stringify(value) ?? ''),
    );
    const answer = fc.oneof(
      fc.record({ kind: fc.constant('json' as const), status: fc.constantFrom(200, 400, 404, 408, 429, 500), text }),
      fc.record({ kind: fc.constant('empty' as const), status: fc.constantFrom(200, 202) }),
      fc.record({ kind: fc.constant('stream' as const), status: fc.constant(200), texts: fc.array(text, { maxLength: 3 }) }).map(({ texts, ...rest }) => ({
        ...rest, events: (async function* () { for (const data of texts) yield { id: undefined, event: undefined, data, retry: undefined }; })(),
      })),
    );
    await fc.assert(fc.asyncProperty(fc.array(answer, { minLength: 2, maxLength: 2 }), async (answers) => {
      const left = [...answers];
      const finder = new EraFinder({ upstream: 'warehouse', configured: 'auto', timeoutMs: 1_000, monotonicMs: () => 0, log: recordingLog(), endSession: async () => undefined, ask: async () => left.shift() ?? expect.unreachable() });
      const found = await finder.eras().catch((error: unknown) => error);
      if (found instanceof SallyportError) expect(found.code).toBe('ERR_UPSTREAM_INVALID');
      else expect([['legacy'], ['modern'], ['modern', 'legacy']]).toContainEqual(found);
    }), { numRuns: 200 });
  });

  it('stay what they were while the upstream is away', async () => {
    let now = 0;
    let away = false;
    const { upstream, received } = await lab.recording((_, response) => (away ? response.destroy() : sendJson(response, 200, failed('sallyport-discover', -32601))), { monotonicMs: () => now });
    await upstream.eras();
    away = true;
    now = 700_000;
    expect(await upstream.eras()).toEqual(['legacy']);
    await expect.poll(() => received.length).toBeGreaterThan(1);
    expect(await upstream.eras()).toEqual(['legacy']);
  });

  it.each([['legacy', ['legacy']], ['modern', ['modern']], ['both', ['modern', 'legacy']]] as const)('are not asked for when configured as %s', async (era, eras) => {
    const { upstream, received } = await lab.recording((_, response) => response.writeHead(500).end(), { era });
    expect(await upstream.eras()).toEqual(eras);
    expect(received).toEqual([]);
  });

  it('are no question to an upstream that is closed', async () => {
    const { upstream } = lab.upstream('http://127.0.0.1:1/mcp', { era: 'modern' });
    await upstream.close();
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  });
});
