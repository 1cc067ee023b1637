/** What somebody who does nothing costs: a session, a connection, a stream of either era. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTestPki } from '../../test/support/pki.ts';
import { modernHeaders, modernMeta, openHttpConnection, openSession } from './call-client.ts';
import type { HttpConnection } from './call-client.ts';
import { forkServer } from './child.ts';
import type { Held } from './child.ts';
import type { LightServerJob } from './light-server.ts';
import type { BenchRow } from './measure.ts';

const AT_ONCE = 16;
const WARM_UP_CONNECTIONS = 500;
const WARM_UP_CALLS = 10_000;
const KILOBYTE = 1024;

const policy = `roles:
  caller: { grants: [{ upstream: bench, tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

export const run = async (amount = 2_000): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const agent = pki.issuing.leaf({ organizationalUnits: ['analytics'] });
  const identity = { key: agent.keyPem, cert: agent.chainPem, ca: pki.root.certPem };
  const gateway = await forkServer('./light-server.ts', {
    key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem, policy, evidence: 'none',
  } satisfies LightServerJob);
  const url = `https://127.0.0.1:${gateway.port}/mcp`;
  const open: HttpConnection[] = [];
  const connect = (): HttpConnection => {
    const connection = openHttpConnection(url, identity);
    open.push(connection);
    return connection;
  };
  const shared = connect();
  const kinds: readonly { readonly name: string; readonly amount: number; readonly make: () => Promise<unknown> }[] = [
    // Light, so there must be many to be seen.
    { name: 'session without a connection', amount: 5 * amount, make: () => openSession(shared) },
    { name: 'connection, nothing open on it', amount, make: () => askOnce(connect()) },
    { name: 'GET stream of a legacy session, with its connection', amount, make: () => openLegacyStream(connect()) },
    { name: 'subscriptions/listen stream, with its connection', amount, make: () => openListenStream(connect()) },
  ];
  try {
    await warmUp(() => openHttpConnection(url, identity));
    const rows: BenchRow[] = [];
    for (const { name, amount: many, make } of kinds) {
      const before = await gateway.held();
      await times(many, make);
      rows.push(...rowsOf(name, { before, after: await gateway.held(), amount: many }));
    }
    return rows;
  } finally {
    for (const connection of open) connection.close();
    await gateway.stop();
  }
};

/** What work leaves to a process for good, such as a heap that has grown, is not the cost of the next idler. */
const warmUp = async (connect: () => HttpConnection): Promise<void> => {
  const shared = Array.from({ length: AT_ONCE }, connect);
  let calls = 0;
  await times(WARM_UP_CALLS, () => askOnce(shared[(calls += 1) % AT_ONCE] ?? connect()));
  for (const connection of shared) connection.close();
  await times(WARM_UP_CONNECTIONS, async () => {
    const connection = connect();
    await openLegacyStream(connection);
    connection.close();
  });
  // Until the last of them is noticed to be gone.
  await sleep(1_000);
};

const rowsOf = (name: string, { before, after, amount }: { readonly before: Held; readonly after: Held; readonly amount: number }): readonly BenchRow[] => [
  { name: `${name}: resident memory`, value: (after.rss - before.rss) / amount / KILOBYTE, unit: 'KB' },
  { name: `${name}: of that on the heap of JavaScript`, value: (after.heap - before.heap) / amount / KILOBYTE, unit: 'KB' },
];

const askOnce = async (connection: HttpConnection): Promise<void> => {
  const { status, body } = await connection.post({ jsonrpc: '2.0', id: 1, method: 'server/discover', params: { _meta: modernMeta } }, modernHeaders('server/discover'));
  if (status !== 200) throw new Error(`server/discover was answered ${status}: ${body}`);
};

const openLegacyStream = async (connection: HttpConnection): Promise<void> => {
  const own = await openSession(connection);
  keepOpen(await connection.send('GET', undefined, own));
};

const openListenStream = async (connection: HttpConnection): Promise<void> => {
  const listen = { jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true }, _meta: modernMeta } };
  keepOpen(await connection.send('POST', listen, modernHeaders('subscriptions/listen')));
};

const keepOpen = (response: IncomingMessage): void => {
  if (response.statusCode !== 200 || response.headers['content-type'] !== 'text/event-stream') throw new Error(`a stream was answered ${response.statusCode}`);
  response.on('error', () => undefined).resume();
};

const times = async (amount: number, make: () => Promise<unknown>): Promise<void> => {
  let left = amount;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while ((left -= 1) >= 0) await make();
  }));
};
