/** What somebody who does nothing costs: a session, a connection, a stream of either era. */
import type { IncomingMessage } from 'node:http';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestPki } from '../../test/support/pki.ts';
import { modernHeaders, modernMeta, openHttpConnection, openSession } from './call-client.ts';
import type { HttpConnection } from './call-client.ts';
import { forkServer } from './child.ts';
import type { Held } from './child.ts';
import type { LightServerJob } from './light-server.ts';
import type { BenchRow } from './measure.ts';

const AT_ONCE = 16;
const WARM_UP_CALLS = 10_000;
const KILOBYTE = 1024;

const policy = `roles:
  caller: { grants: [{ upstream: bench, tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

interface Kind {
  readonly name: string;
  /** Of the amount asked for: what is light must be many to be seen. */
  readonly times: number;
  /** Leaves one behind. `shared` is a connection there already, `connect` makes one that stays. */
  readonly make: (shared: HttpConnection, connect: () => HttpConnection) => Promise<unknown>;
}

const kinds: readonly Kind[] = [
  { name: 'session without a connection', times: 5, make: (shared) => openSession(shared) },
  { name: 'connection, nothing open on it', times: 1, make: (_, connect) => askOnce(connect()) },
  { name: 'GET stream of a legacy session, with its connection', times: 1, make: (_, connect) => openLegacyStream(connect()) },
  { name: 'subscriptions/listen stream, with its connection', times: 1, make: (_, connect) => openListenStream(connect()) },
];

export const run = async (amount = 2_000): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const rows: BenchRow[] = [];
  for (const kind of kinds) rows.push(...(await measureKind(kind, { pki, amount: amount * kind.times })));
  return rows;
};

/** In a process of its own, since what another kind has left to be used again would make this one look cheap. */
const measureKind = async ({ name, make }: Kind, { pki, amount }: { readonly pki: TestPki; readonly amount: number }): Promise<readonly BenchRow[]> => {
  const server = pki.issuing.server();
  const agent = pki.issuing.leaf({ organizationalUnits: ['analytics'] });
  const gateway = await forkServer('./light-server.ts', {
    key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem, policy, evidence: 'none',
  } satisfies LightServerJob);
  const open: HttpConnection[] = [];
  const connect = (): HttpConnection => {
    const connection = openHttpConnection(`https://127.0.0.1:${gateway.port}/mcp`, { key: agent.keyPem, cert: agent.chainPem, ca: pki.root.certPem });
    open.push(connection);
    return connection;
  };
  try {
    const shared = connect();
    await warmUp(connect);
    const before = await gateway.held();
    await times(amount, () => make(shared, connect));
    return rowsOf(name, { before, after: await gateway.held(), amount });
  } finally {
    for (const connection of open) connection.close();
    await gateway.stop();
  }
};

/** What work leaves to a process for good, such as a heap that has grown, is not the cost of the next idler. */
const warmUp = async (connect: () => HttpConnection): Promise<void> => {
  const callers = Array.from({ length: AT_ONCE }, connect);
  let calls = 0;
  await times(WARM_UP_CALLS, () => askOnce(callers[(calls += 1) % AT_ONCE] ?? connect()));
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
