/** What changes while a call waits for the gateway to ask the MCP server something: it is judged by what is so then. */
import { afterEach, describe, expect, it } from 'vitest';
import { parsePolicy } from '../../src/policy/load.ts';
import type { Upstream, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { callMessage, openSession, textIn } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { askModern } from '../support/modern-requests.ts';

const policy = (verdicts: string, tools = '["*"]'): string => `
roles: { all: { grants: [{ upstream: "*", tools: ${tools} }] } }
bindings: [{ role: all, when: { organizationalUnit: analytics } }]
${verdicts}
`;

/** An MCP server of both eras whose `tools/list` takes until it is let go. */
class SlowToList implements Upstream {
  readonly name = 'main';
  readonly methods: string[] = [];
  readonly endedPrincipals: string[] = [];
  readonly asked = Promise.withResolvers<void>();
  readonly #let = Promise.withResolvers<void>();

  letGo(): void {
    this.#let.resolve();
  }

  calls(): readonly string[] {
    return this.methods.filter((method) => method === 'tools/call');
  }

  async headerless(): Promise<boolean> {
    return true;
  }

  async eras() {
    return ['legacy', 'modern'] as const;
  }

  async exchange({ messages: [message] }: UpstreamRequest) {
    if (message?.kind !== 'request') return { kind: 'empty', status: 202 } as const;
    const { id, method } = message;
    this.methods.push(method);
    const answer = (result: object, session?: string) => ({ kind: 'json', status: 200, text: JSON.stringify({ jsonrpc: '2.0', id, result }), session }) as const;
    if (method === 'initialize') return answer({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'slow', version: '1' } }, 'session-1');
    if (method !== 'tools/list') return answer({ content: [{ type: 'text', text: 'paid' }] });
    this.asked.resolve();
    await this.#let.promise;
    return answer({ tools: [{ name: 'pay', inputSchema: { type: 'object' } }] });
  }

  async endSession(): Promise<void> {}

  async endPrincipal(principalId: string): Promise<void> {
    this.endedPrincipals.push(principalId);
  }

  async healthy(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}
}

let gateway: TestGateway | undefined;
afterEach(() => gateway?.close());

const start = async (verdicts: string) => {
  const upstream = new SlowToList();
  const started = (gateway = await startTestGateway({
    policy: policy(verdicts), upstreams: [{ kind: 'other', upstream, received: () => [], headers: () => [], sessions: () => [], close: () => Promise.resolve() }],
  }));
  return { upstream, gateway: started, agent: started.agent() };
};

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));

/** Resolves once the gateway has nothing of a request at hand any more. */
const recorded = async (of: TestGateway, reason: string): Promise<void> => {
  for (let attempt = 0; attempt < 200 && !of.evidence.events.some((event) => event.reason === reason); attempt += 1) await new Promise((resolve) => setTimeout(resolve, 10));
};

describe.each(['', 'onToolChange: deny'])('while the gateway asks what tools there are (%s)', (verdicts) => {
  it('a modern call whose certificate is revoked is not carried out', async () => {
    const { upstream, gateway: under, agent } = await start(verdicts);
    const call = askModern(under, agent, 'tools/call', { name: 'pay', arguments: {} });
    call.catch(() => undefined);
    await upstream.asked.promise;
    under.revoke(agent);
    await expect(call).rejects.toThrow();
    await settled();
    upstream.letGo();
    await recorded(under, 'ERR_HTTP_ABANDONED');
    await settled();
    expect(upstream.calls()).toEqual([]);
    expect(under.evidence.of('request.decided')).toMatchObject([{ method: 'tools/call', name: 'pay', outcome: 'failed', reason: 'ERR_HTTP_ABANDONED' }]);
    // What the question may have left at the upstream, such as a process, ends with the certificate too.
    expect(upstream.endedPrincipals).toHaveLength(1);
  });

  it('a modern call that policy takes back is refused', async () => {
    const { upstream, gateway: under, agent } = await start(verdicts);
    const call = askModern(under, agent, 'tools/call', { name: 'pay', arguments: {} });
    await upstream.asked.promise;
    under.gateway.gate.replacePolicy(parsePolicy(policy(verdicts, '[other]')));
    upstream.letGo();
    expect((await call).answer.error).toMatchObject({ code: -32602 });
    expect(upstream.calls()).toEqual([]);
    expect(under.evidence.of('request.decided')).toMatchObject([{ name: 'pay', outcome: 'denied', reason: 'noGrant' }]);
  });
});

describe('in a session, while the gateway asks what tools there are', () => {
  it('a call is not carried out when the certificate is revoked', async () => {
    const { upstream, gateway: under, agent } = await start('onToolChange: deny');
    const session = await openSession(under, agent);
    const call = session.post(callMessage(1, 'pay'));
    call.catch(() => undefined);
    await upstream.asked.promise;
    under.revoke(agent);
    await expect(call).rejects.toThrow();
    await settled();
    upstream.letGo();
    await recorded(under, 'ERR_HTTP_ABANDONED');
    await settled();
    expect(upstream.calls()).toEqual([]);
  });

  it('a call is not carried out when the session is ended, and says so', async () => {
    const { upstream, gateway: under, agent } = await start('onToolChange: deny');
    const session = await openSession(under, agent);
    const call = session.post(callMessage(1, 'pay'));
    await upstream.asked.promise;
    expect((await session.end()).status).toBe(200);
    upstream.letGo();
    expect((await call).status).toBe(404);
    expect(upstream.calls()).toEqual([]);
  });

  it('a call is carried out when nothing changes', async () => {
    const { upstream, gateway: under, agent } = await start('onToolChange: deny');
    const session = await openSession(under, agent);
    const call = session.post(callMessage(1, 'pay'));
    await upstream.asked.promise;
    upstream.letGo();
    expect(textIn((await call).answer)).toBe('paid');
    expect(upstream.calls()).toEqual(['tools/call']);
  });
});
