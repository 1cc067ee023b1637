import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, namesIn, openSession } from '../support/gateway-requests.ts';
import type { RawSession } from '../support/gateway-requests.ts';
import type { UpstreamKind } from '../support/gateway-upstreams.ts';

describe.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('a session with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let session: RawSession;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    session = await openSession(gateway, gateway.agent());
  });
  afterAll(() => gateway.close());

  it('opens with an id of the gateway and the capabilities that the principal has grants for', () => {
    expect(session.initialized.answer.result?.['protocolVersion']).toBe('2025-11-25');
    expect(session.initialized.answer.result?.['capabilities']).toHaveProperty('tools');
    if (kind !== 'v2') expect(session.id).toMatch(/^[\w-]{32}$/);
  });

  it('lists the tools the principal may call and calls one', async () => {
    const listed = await session.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    const names = namesIn(listed.answer, 'tools');
    expect(names).toContain('echo');
    expect(names).not.toContain('delete_everything');
    const called = await session.post(callMessage(2, 'echo', { text: 'hello' }));
    expect(called.answer.result?.['content']).toEqual([{ type: 'text', text: 'hello' }]);
    expect(called.headers['cache-control']).toBe('no-store');
  });

  it('ends with DELETE', async () => {
    if (kind === 'v2') return;
    expect((await session.end()).status).toBe(200);
    expect((await session.post({ jsonrpc: '2.0', id: 3, method: 'tools/list' })).status).toBe(404);
  });
});
