/** mcp.md row 21 for requests without sessions: what an agent asks of a stdio server goes to a child of its own. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { dial, eventually } from '../support/gateway-requests.ts';
import { quietLog } from '../support/gateway-upstreams.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { askModern, modernRequest } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';
import { isRunning } from '../support/upstream-requests.ts';

let gateway: TestGateway;
beforeAll(async () => {
  const args = [fileURLToPath(new URL('../support/stdio-fixtures/modern-server.ts', import.meta.url)), '--both'];
  const upstream = createStdioUpstream({ name: 'main', command: process.execPath, args, clock: systemClock, randomness: systemRandomness, log: quietLog });
  gateway = await startTestGateway({
    upstreams: [{ kind: 'other', upstream, received: () => [], headers: () => [], sessions: () => [], close: () => Promise.resolve() }],
    policy: 'roles: { all: { grants: [{ upstream: "*", tools: ["*"], resources: ["**"], logging: true }] } }\nbindings: [{ role: all, when: { organizationalUnit: analytics } }]\n',
  });
});
afterAll(() => gateway.close());

const tool = (agent: TestIdentity, name: string, options: Parameters<typeof askModern>[4] & { readonly args?: object } = {}): ReturnType<typeof askModern> => askModern(gateway, agent, 'tools/call', { name, arguments: options.args ?? {} }, options);

const pidOf = async (agent: TestIdentity): Promise<number> => Number((await tool(agent, 'pid')).answer.result?.['pid']);

describe('modern requests of several agents to one stdio server', () => {
  it('reach a child of each agent, and requests of one id get their own answers', async () => {
    const [one, two] = [gateway.agent('agent-7'), gateway.agent('agent-8')];
    const [first, again, other] = await Promise.all([pidOf(one), pidOf(one), pidOf(two)]);
    expect(first).toBe(again);
    expect(other).not.toBe(first);
    const held = [tool(one, 'hold', { id: 5 }), tool(one, 'hold', { id: 5 })];
    const progress = await tool(one, 'progress', { id: 5, meta: { progressToken: 'mine' } });
    expect(progress.messages.map(({ id, params }) => [id, params?.['progressToken']])).toEqual([[undefined, 'mine'], [5, undefined]]);
    await eventually(() => gateway.evidence.events.filter(({ action }) => action === 'request.decided').length >= 6);
    await tool(one, 'release');
    const answers = await Promise.all(held);
    expect(answers.map(({ answer }) => answer.id)).toEqual([5, 5]);
    expect(new Set(answers.map(({ answer }) => answer.result?.['released'])).size).toBe(2);
  });

  it('are cancelled at the server when the agent closes its request', async () => {
    const agent = gateway.agent('agent-9');
    await pidOf(agent);
    const sent = modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true } });
    const response = await dial(gateway, agent, sent);
    expect([response.statusCode, response.headers['content-type']]).toEqual([200, 'text/event-stream']);
    response.destroy();
    await expect.poll(async () => (await tool(agent, 'cancelled')).answer.result?.['cancelled']).toHaveLength(1);
  });

  it('lose their child with the certificate', async () => {
    const agent = gateway.agent('agent-10');
    const pid = await pidOf(agent);
    expect(isRunning(pid)).toBe(true);
    gateway.revoke(agent);
    await expect.poll(() => isRunning(pid)).toBe(false);
  });

  it('fail with the child, and the next one starts another', async () => {
    const agent = gateway.agent('agent-11');
    const pid = await pidOf(agent);
    const { status, answer } = await tool(agent, 'exit');
    expect([status, answer.error?.code]).toEqual([502, -32003]);
    expect(await pidOf(agent)).not.toBe(pid);
  });
});
