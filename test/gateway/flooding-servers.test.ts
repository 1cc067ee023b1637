/** An MCP server that asks without end, and what a name without end leaves in the audit log. */
import { afterEach, describe, expect, it } from 'vitest';
import type { SseEvent, Upstream, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { callMessage, jsonHeaders, openSession, rawRequest } from '../support/gateway-requests.ts';
import type { RawAnswer } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { askModern } from '../support/modern-requests.ts';

let gateway: TestGateway | undefined;
afterEach(() => gateway?.close());

const questions = 1_000;

/** A legacy server that asks in vain a thousand times within a call, and never takes an answer. */
class Asking implements Upstream {
  readonly name = 'main';
  readonly #method: string;
  responding = 0;
  most = 0;

  constructor(method: string) {
    this.#method = method;
  }

  async eras() {
    return ['legacy'] as const;
  }

  async exchange({ messages: [message], method: httpMethod, signal }: UpstreamRequest) {
    if (httpMethod === 'GET') return { kind: 'empty', status: 405 } as const;
    if (message?.kind === 'response') {
      this.responding += 1;
      this.most = Math.max(this.most, this.responding);
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      this.responding -= 1;
    }
    if (message?.kind !== 'request') return { kind: 'empty', status: 202 } as const;
    const { id, method } = message;
    if (method === 'initialize') {
      return { kind: 'json', status: 200, session: 'one', text: JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'asking', version: '1' } } }) } as const;
    }
    return { kind: 'stream', status: 200, events: this.#events(id) } as const;
  }

  async *#events(id: string | number): AsyncGenerator<SseEvent> {
    for (let number = 0; number < questions; number += 1) yield eventOf({ jsonrpc: '2.0', id: number, method: this.#method });
    yield eventOf({ jsonrpc: '2.0', id, result: { tools: [], content: [{ type: 'text', text: 'done' }] } });
  }

  async endSession(): Promise<void> {}

  async endPrincipal(): Promise<void> {}

  async healthy(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}
}

const eventOf = (message: object): SseEvent => ({ id: undefined, event: undefined, data: JSON.stringify(message), retry: undefined });

const start = async (method: string): Promise<{ upstream: Asking; gateway: TestGateway }> => {
  const upstream = new Asking(method);
  gateway = await startTestGateway({ upstreams: [{ kind: 'other', upstream, received: () => [], headers: () => [], sessions: () => [], close: () => Promise.resolve() }] });
  return { upstream, gateway };
};

describe('a server that asks without end and takes no answer', () => {
  it('is refused a bounded number of times at once, and its call is answered', async () => {
    const { upstream, gateway: under } = await start('secret/method');
    const session = await openSession(under, under.agent());
    expect((await session.post(callMessage(1, 'echo'))).answer.result).toMatchObject({ content: [{ text: 'done' }] });
    expect(upstream.most).toBeGreaterThan(0);
    expect(upstream.most).toBeLessThanOrEqual(256);
  });

  it('is answered a bounded number of times at once in translation', async () => {
    const { upstream, gateway: under } = await start('ping');
    expect((await askModern(under, under.agent(), 'tools/call', { name: 'echo', arguments: {} })).answer.result).toMatchObject({ content: [{ text: 'done' }] });
    expect(upstream.most).toBeGreaterThan(0);
    // In the session of the client, and in the one in which the gateway asked for the tools.
    expect(upstream.most).toBeLessThanOrEqual(2 * 64);
  });
});

describe('what is written down', () => {
  const recorded = (under: TestGateway): readonly unknown[] => under.evidence.of('request.decided').map(({ name, outcome, reason }) => [name, outcome, reason]);

  it('of a name is all of it up to the longest that policy takes, and of a longer one its beginning and its hash', async () => {
    gateway = await startTestGateway();
    const agent = gateway.agent();
    const longest = 'n'.repeat(8_192);
    const call = (name: string): Promise<RawAnswer> => rawRequest(gateway as TestGateway, agent, { headers: jsonHeaders, body: callMessage(1, name) });
    await call(longest);
    expect((await call(`${longest}n`)).answer.error?.code).toBe(-32602);
    await call(`${'n'.repeat(255)}😀${'n'.repeat(1_000_000)}`);
    expect(recorded(gateway)).toEqual([
      [longest, 'denied', 'noGrant'],
      [expect.stringMatching(/^n{256}… \(8193 characters, sha256:[0-9a-f]{64}\)$/), 'denied', 'noGrant'],
      [expect.stringMatching(/^n{255}\ufffd… \(1000257 characters, sha256:[0-9a-f]{64}\)$/), 'denied', 'noGrant'],
    ]);
  });

  it('of a notification about nothing in flight is that it was not forwarded, and a batch with one is refused whole', async () => {
    gateway = await startTestGateway();
    const session = await openSession(gateway, gateway.agent(), { revision: '2025-03-26' });
    gateway.evidence.events.length = 0;
    const stray = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 77 } };
    expect((await session.post(stray)).status).toBe(202);
    expect(gateway.evidence.of('request.decided')).toMatchObject([{ method: 'notifications/cancelled', outcome: 'allowed', reason: 'notForwarded' }]);
    expect((await session.post([callMessage(1, 'echo', { text: 'x' }), stray])).status).toBe(400);
    expect(gateway.evidence.of('request.refused')).toMatchObject([{ reason: 'ERR_MCP_INVALID_REQUEST' }]);
    expect(gateway.upstream.received().filter((text) => text.includes('tools/call'))).toEqual([]);
  });
});
