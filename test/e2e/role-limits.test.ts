import { afterEach, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, openSession } from '../support/gateway-requests.ts';

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
