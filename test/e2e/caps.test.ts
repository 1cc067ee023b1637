import { once } from 'node:events';
import { expect, it } from 'vitest';
import { dial, openSession, rawRequest } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import { askModern, modernRequest } from '../support/modern-requests.ts';

const readme = 'file:///readme.txt';
const weekly = 'file:///reports/weekly';

it('a principal holds so many listening streams and watches so many resources, whatever the connection', async () => {
  const gateway = await startTestGateway({ upstreams: ['v2'], limits: { subscriptionsPerPrincipal: 1, subscribedResourcesPerPrincipal: 1 } });
  const agent = gateway.agent();
  const listen = (resources: readonly string[]) => modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true, resourceSubscriptions: resources } });
  const tooMany = await rawRequest(gateway, agent, listen([readme, weekly]));
  expect([tooMany.status, tooMany.answer.error?.data, tooMany.headers['retry-after']]).toEqual([429, { code: 'ERR_LIMIT_SUBSCRIPTIONS' }, '1']);
  const first = await dial(gateway, agent, listen([readme]));
  await once(first, 'data');
  expect((await rawRequest(gateway, agent, listen([]))).status).toBe(429);
  // Another agent has its own.
  const other = await dial(gateway, gateway.agent('agent-8'), listen([readme]));
  expect(other.statusCode).toBe(200);
  other.destroy();
  first.destroy();
  await expect.poll(async () => {
    const again = await dial(gateway, agent, listen([readme]));
    again.destroy();
    return again.statusCode;
  }).toBe(200);
  await gateway.close();
});

it('a session counts what it subscribed to, until it unsubscribes', async () => {
  const gateway = await startTestGateway({ upstreams: ['v1'], limits: { subscribedResourcesPerPrincipal: 1 } });
  const session = await openSession(gateway, gateway.agent());
  const send = async (id: number, method: string, uri: string) => (await session.post({ jsonrpc: '2.0', id, method, params: { uri } })).status;
  expect(await send(1, 'resources/subscribe', readme)).toBe(200);
  expect(await send(2, 'resources/subscribe', readme)).toBe(200);
  expect(await send(3, 'resources/subscribe', weekly)).toBe(429);
  expect(await send(4, 'resources/unsubscribe', readme)).toBe(200);
  expect(await send(5, 'resources/subscribe', weekly)).toBe(200);
  await gateway.close();
});

it('a call that runs longer than any may is ended with 504, and the next one runs', async () => {
  const gateway = await startTestGateway({ upstreams: ['v2'], limits: { callTimeoutMs: 300 } });
  const agent = gateway.agent();
  const { status, answer } = await askModern(gateway, agent, 'tools/call', { name: 'slow', arguments: { steps: 1, milliseconds: 5_000 } });
  expect([status, answer.error?.data]).toEqual([504, { code: 'ERR_UPSTREAM_TIMEOUT' }]);
  expect((await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'x' } })).status).toBe(200);
  await gateway.close();
});

it('a gateway that drains ends a listening stream with its result', async () => {
  const gateway = await startTestGateway({ upstreams: ['v2'] });
  const response = await dial(gateway, gateway.agent(), modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true } }, { id: 'sub-1' }));
  let text = '';
  response.on('data', (chunk: Buffer) => (text += String(chunk)));
  await once(response, 'data');
  const ended = once(response, 'end');
  await gateway.close();
  await ended;
  expect(text).toContain('{"jsonrpc":"2.0","id":"sub-1","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"sub-1"}}}');
});
