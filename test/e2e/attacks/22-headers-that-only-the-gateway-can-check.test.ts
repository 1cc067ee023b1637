/** mcp.md row 22: a stdio server never sees a header, so whatever headers promise is checked by the gateway or by nobody. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { callMessage, jsonHeaders, openSession } from '../../support/gateway-requests.ts';
import type { RawSession } from '../../support/gateway-requests.ts';

describe('a stdio upstream behind the gateway', () => {
  let gateway: TestGateway;
  let session: RawSession;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    session = await openSession(gateway, gateway.agent(), { revision: '2025-06-18' });
  });
  afterAll(() => gateway.close());
  const withRevision = (revision: string) => [...jsonHeaders, ['mcp-session-id', session.id ?? ''] as const, ['mcp-protocol-version', revision] as const];
  const reached = (text: string): boolean => gateway.upstream.received().some((received) => received.includes(text));

  it('gets a call whose MCP-Protocol-Version is what initialize agreed on', async () => {
    expect((await session.post(callMessage('a', 'echo', { text: 'agreed' }))).status).toBe(200);
    expect(reached('agreed')).toBe(true);
  });

  it.each([
    ['a revision nobody speaks', '2031-01-01', 'ERR_MCP_REVISION'],
    ['the modern revision, which has no sessions', '2026-07-28', 'ERR_MCP_ENVELOPE'],
  ])('never hears of a call that names %s', async (_what, revision, code) => {
    const answer = await session.post(callMessage('b', 'echo', { text: `named ${revision}` }), { headers: withRevision(revision) });
    expect([answer.status, answer.answer.error?.data]).toMatchObject([400, { code }]);
    expect(reached(`named ${revision}`)).toBe(false);
  });

  it('never hears of a batch, which this revision does not have', async () => {
    const answer = await session.post([callMessage('c', 'echo', { text: 'batched' })]);
    expect([answer.status, (answer.messages[0]?.error?.data)]).toEqual([400, { code: 'ERR_MCP_BATCH' }]);
    expect(reached('batched')).toBe(false);
  });
});
