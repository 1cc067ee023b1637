import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callMessage, namesIn, openSession, textIn } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import type { UpstreamKind } from '../support/gateway-upstreams.ts';
import { askModern } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';

describe.each<UpstreamKind>(['stdio', 'http'])('a modern client of a legacy server on %s', (kind) => {
  let gateway: TestGateway;
  let agent: TestIdentity;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    agent = gateway.agent();
  });
  afterAll(() => gateway.close());

  it('discovers, lists and calls what it may, and no more', async () => {
    expect((await askModern(gateway, agent, 'server/discover')).answer.result).toMatchObject({ resultType: 'complete', cacheScope: 'private' });
    const tools = namesIn((await askModern(gateway, agent, 'tools/list')).answer, 'tools');
    expect(tools).toContain('echo');
    expect(tools).not.toContain('delete_everything');
    const called = await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'x' } });
    expect(called.answer.result).toMatchObject({ resultType: 'complete' });
    expect(textIn(called.answer)).toBe('x');
    expect((await askModern(gateway, agent, 'tools/call', { name: 'delete_everything', arguments: {} })).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
    expect((await askModern(gateway, agent, 'resources/read', { uri: 'file:///readme.txt' })).answer.result).toMatchObject({ resultType: 'complete' });
  });
});

describe('a legacy client of that', () => {
  it('is not disturbed', async () => {
    const gateway = await startTestGateway({ upstreams: ['http'] });
    const session = await openSession(gateway, gateway.agent());
    expect(textIn((await session.post(callMessage(1, 'echo', { text: 'x' }))).answer)).toBe('x');
    await gateway.close();
  });
});
