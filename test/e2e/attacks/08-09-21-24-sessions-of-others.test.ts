/** mcp.md rows 8, 9, 21, 24: a session, its events, its child and its questions belong to one principal. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { callMessage, jsonHeaders, openSession, rawRequest, textIn } from '../../support/gateway-requests.ts';
import type { RawSession } from '../../support/gateway-requests.ts';
import { handlerUpstream, startUpstream } from '../../support/gateway-upstreams.ts';
import type { UpstreamKind } from '../../support/gateway-upstreams.ts';
import type { TestIdentity } from '../../support/pki.ts';

describe.each<UpstreamKind>(['stdio', 'http', 'v1'])('with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let victim: TestIdentity;
  let thief: TestIdentity;
  let session: RawSession;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    victim = gateway.agent('victim');
    thief = gateway.agent('thief');
    session = await openSession(gateway, victim, { capabilities: { sampling: {}, elicitation: {}, roots: {} } });
  });
  afterAll(() => gateway.close());
  const anyone = (message: RawSession | string) => [...jsonHeaders, ['mcp-protocol-version', '2025-11-25'], ['mcp-session-id', typeof message === 'string' ? message : (message.id ?? '')]] as const;

  it.each(['POST', 'GET', 'DELETE'])('%s with the session of another principal is answered exactly as with an unknown one', async (method) => {
    const before = gateway.upstream.received().length;
    const body = method === 'POST' ? { body: callMessage(1, 'echo', { text: 'x' }) } : {};
    const [foreign, unknown] = await Promise.all([session.id ?? '', 'A'.repeat(32)].map(async (id) => {
      const answer = await rawRequest(gateway, thief, { method, headers: anyone(id), ...body });
      const { date: _date, ...headers } = answer.headers;
      return { status: answer.status, headers, body: answer.body };
    }));
    expect(foreign?.status).toBe(404);
    expect(foreign).toEqual(unknown);
    expect(gateway.upstream.received()).toHaveLength(before);
    expect((await session.post(callMessage(`alive-${method}`, 'echo', { text: 'mine' }))).status).toBe(200);
  });

  it('the session id of the upstream is never shown and opens nothing', async () => {
    for (const id of gateway.upstream.sessions().map(String)) {
      expect(id).not.toBe(session.id);
      expect((await rawRequest(gateway, victim, { headers: anyone(id), body: callMessage(1, 'echo', { text: 'x' }) })).status).toBe(404);
    }
  });

  it('an event id of another principal, or of another session of the same one, delivers nothing', async () => {
    const asked = await session.stream({ body: callMessage('long', 'slow', { steps: 2, milliseconds: 30 }, { progressToken: 't' }) });
    await asked.message((message) => message.id === 'long');
    const ids = asked.events.map(({ id }) => id).filter((id) => id !== undefined);
    expect(ids.length).toBeGreaterThan(1);
    const own = await openSession(gateway, thief);
    const second = await openSession(gateway, victim);
    for (const lastEventId of ids) {
      for (const other of [own, second]) {
        const stolen = await other.stream({ lastEventId });
        expect([stolen.status, stolen.events]).toEqual([400, []]);
      }
    }
    // Event ids give nothing away either: the upstream's are sealed.
    for (const id of ids) expect(id).toMatch(/^[\w-]{60,}$/);
    const resumed = await session.stream({ lastEventId: ids[0] ?? '' });
    expect((await resumed.message((message) => message.id === 'long')).result).toMatchObject({ content: [{ text: '2 steps' }] });
    resumed.abandon();
  });

  it('a made-up event id is refused before the upstream hears of it', async () => {
    const before = gateway.upstream.headers().length;
    for (const lastEventId of ['0-1', '1', 'A'.repeat(80), `${'A'.repeat(79)}=`]) {
      const answer = await session.stream({ lastEventId });
      expect(answer.status).toBe(400);
    }
    expect(gateway.upstream.headers()).toHaveLength(before);
  });

  it('a response is taken once, from the session that was asked, and only to a question that was asked', async () => {
    const asking = await session.stream({ body: callMessage('ask', 'ask_model', { question: 'why' }) });
    const question = await asking.message(({ method }) => method === 'sampling/createMessage');
    const response = { jsonrpc: '2.0', id: question.id, result: { role: 'assistant', model: 'm', content: { type: 'text', text: 'because' } } };
    const other = await openSession(gateway, thief);
    for (const answer of [
      await other.post(response),
      await rawRequest(gateway, thief, { body: response }),
      await session.post({ ...response, id: 'never asked' }),
      await session.post({ ...response, id: String(question.id) === question.id ? Number.MAX_SAFE_INTEGER : String(question.id) }),
    ]) expect([answer.status, answer.answer.error?.data]).toEqual([400, { code: 'ERR_MCP_UNSOLICITED' }]);
    expect((await session.post(response)).status).toBe(202);
    expect(textIn(await asking.message(({ id }) => id === 'ask'))).toBe('because');
    expect((await session.post(response)).status).toBe(400);
  });

  it('cancellation and progress refer to what the own session has in flight, or vanish', async () => {
    const asked = await session.stream({ body: callMessage('going', 'slow', { steps: 3, milliseconds: 40 }, { progressToken: 'p' }) });
    const other = await openSession(gateway, thief);
    const before = gateway.upstream.received().length;
    expect((await other.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'going' } })).status).toBe(202);
    expect((await session.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'nothing' } })).status).toBe(202);
    expect((await session.post({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress: 1 } })).status).toBe(202);
    expect(gateway.upstream.received()).toHaveLength(before);
    expect(textIn(await asked.message(({ id }) => id === 'going'))).toBe('3 steps');
  });

  it('a second initialize in a session is refused', async () => {
    const again = await session.post({ jsonrpc: '2.0', id: 'again', method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } });
    expect([again.status, again.answer.error?.data]).toEqual([400, { code: 'ERR_MCP_ALREADY_INITIALIZED' }]);
  });
});

describe('an MCP server that keeps the events of all sessions in one store', () => {
  it('replays them to their owner only, also with a renewed certificate', async () => {
    // As SDK servers do with one event store: whoever names an event gets what came after it.
    let sessions = 0;
    const asked: (string | undefined)[] = [];
    const upstream = handlerUpstream((request, response, body) => {
      const { id, method } = (body ?? {}) as { id?: unknown; method?: string };
      const resumed = request.headers['last-event-id'];
      const result = (text: string): string => `data: ${JSON.stringify({ jsonrpc: '2.0', id: 'x', result: { content: [{ type: 'text', text }] } })}\n\n`;
      if (request.method === 'GET') asked.push(resumed as string | undefined);
      if (request.method === 'DELETE' || id === undefined && request.method === 'POST') response.writeHead(202).end();
      else if (method === 'initialize') {
        response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': `session-${(sessions += 1)}` });
        response.end(JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 's', version: '1' } } }));
      } else if (request.method === 'POST') response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`id: event-1\ndata:\n\nid: event-2\n${result('the secret')}`);
      else response.writeHead(200, { 'content-type': 'text/event-stream' }).end(resumed === 'event-1' ? `id: event-2\n${result('the secret')}` : '');
    });
    const gateway = await startTestGateway({ upstreams: [upstream] });
    try {
      const [victim, thief] = [gateway.agent('victim'), gateway.agent('thief')];
      const [mine, mineToo, theirs] = [await openSession(gateway, victim), await openSession(gateway, victim), await openSession(gateway, thief)];
      const called = await mine.stream({ body: callMessage('x', 'echo', { text: 'x' }) });
      await called.closed;
      const lastEventId = called.events[0]?.id ?? '';
      const renewed = await rawRequest(gateway, gateway.agent('victim'), { method: 'GET', headers: [['accept', 'text/event-stream'], ['mcp-session-id', mine.id ?? ''], ['last-event-id', lastEventId]] });
      expect(renewed.body).toContain('the secret');
      asked.length = 0;
      for (const other of [theirs, mineToo]) {
        for (const tried of [lastEventId, 'event-1']) {
          const stolen = await other.stream({ lastEventId: tried });
          await stolen.closed;
          expect([stolen.status, stolen.messages]).toEqual([400, []]);
        }
      }
      expect(asked).toEqual([]);
      const resumed = await mine.stream({ lastEventId });
      expect(textIn(await resumed.message(({ id }) => id === 'x'))).toBe('the secret');
      expect(asked).toEqual(['event-1']);
    } finally {
      await gateway.close();
    }
  });
});

describe('stdio children', () => {
  it('are one for each session, never shared by principals or sessions', async () => {
    const upstream = await startUpstream('stdio');
    const gateway = await startTestGateway({ upstreams: [upstream] });
    try {
      const [a, b] = [gateway.agent('a'), gateway.agent('b')];
      await Promise.all([openSession(gateway, a), openSession(gateway, b), openSession(gateway, b)]);
      expect(new Set(upstream.sessions()).size).toBe(3);
    } finally {
      await gateway.close();
    }
  });
});
