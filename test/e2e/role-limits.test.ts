import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, eventually, openSession } from '../support/gateway-requests.ts';

let gateway: TestGateway;
afterEach(() => gateway.close());

const policy = `
roles:
  analyst:
    grants: [{ upstream: "*", tools: [echo] }]
    limits: { calls: 2/min }
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
`;

it('a role limits the calls of an agent over all its sessions, and the one too many reaches nothing', async () => {
  gateway = await startTestGateway({ policy, upstreams: ['http'] });
  const agent = gateway.agent();
  const [first, second] = [await openSession(gateway, agent), await openSession(gateway, agent)];
  expect((await first.post(callMessage('a', 'echo', { text: 'one' }))).status).toBe(200);
  expect((await second.post(callMessage('b', 'echo', { text: 'two' }))).status).toBe(200);
  const refused = await first.post(callMessage('c', 'echo', { text: 'three' }));
  expect([refused.status, refused.headers['retry-after'], refused.answer.id, refused.answer.error?.data]).toEqual([429, '1', 'c', { code: 'ERR_LIMIT_RATE' }]);
  expect(gateway.upstream.received().some((text) => text.includes('three'))).toBe(false);
  expect(gateway.evidence.of('request.refused')).toMatchObject([{ outcome: 'denied', reason: 'ERR_LIMIT_RATE' }]);
  // Lists are no calls.
  expect((await first.post({ jsonrpc: '2.0', id: 'd', method: 'tools/list' })).status).toBe(200);
});

describe('a call whose legacy client went away', () => {
  const one = policy.replace('calls: 2/min', 'concurrent: 1').replace('[echo]', '[echo, slow]');
  const leave = async (limits: { readonly upstreamTimeoutMs?: number } = {}) => {
    gateway = await startTestGateway({ policy: one, upstreams: ['http'], limits });
    const agent = gateway.agent();
    const session = await openSession(gateway, agent);
    const leaving = await session.stream({ body: callMessage('left', 'slow', { steps: 1, milliseconds: 10_000 }) });
    await eventually(() => gateway.upstream.received().some((text) => text.includes('left')));
    leaving.abandon();
    return session;
  };
  const status = async (session: Awaited<ReturnType<typeof leave>>, id: string): Promise<number> => (await session.post(callMessage(id, 'echo', { text: id }))).status;

  it('keeps its place, so that leaving is no way around the limit, until the client cancels it', async () => {
    const session = await leave();
    expect([await status(session, 'a'), await status(session, 'b')]).toEqual([429, 429]);
    expect((await session.post({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'left' } })).status).toBe(202);
    expect(gateway.upstream.received().some((text) => text.includes('notifications/cancelled'))).toBe(true);
    expect(await status(session, 'c')).toBe(200);
  });

  it('gives it back when its session ends', async () => {
    const session = await leave();
    const other = await openSession(gateway, gateway.agent());
    expect(await status(other, 'a')).toBe(429);
    await session.end();
    expect(await status(other, 'b')).toBe(200);
  });

  it('gives it back when the upstream would have been given up', async () => {
    const session = await leave({ upstreamTimeoutMs: 300 });
    let last = await status(session, 'a0');
    expect(last).toBe(429);
    for (let count = 1; last === 429 && count < 200; count++) {
      await sleep(25);
      last = await status(session, `a${count}`);
    }
    expect(last).toBe(200);
  });
});
