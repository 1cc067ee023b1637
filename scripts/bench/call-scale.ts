/** What a call costs the gateway when there is much of something else: tools, rules, sessions, principals. Flat is the goal. */
import type { Era } from '../../src/mcp/revisions.ts';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestIdentity } from '../../test/support/pki.ts';
import { modernHeaders, modernMeta, openHttpCaller, openHttpConnection, openSession } from './call-client.ts';
import type { ClientIdentity } from './call-client.ts';
import { compareCpu, measureLanes, openLane } from './call-lanes.ts';
import type { Lane } from './call-lanes.ts';
import { forkServer } from './child.ts';
import type { Contender } from './child.ts';
import type { LightServerJob } from './light-server.ts';
import { ratioAtMost } from './measure.ts';
import type { BenchRow } from './measure.ts';

const CLIENTS = 4;
/** Of the same work in two processes; what differs more is not noise. */
const flat = ratioAtMost(1.2);

interface Axis {
  readonly name: string;
  readonly few: number;
  readonly many: number;
  /** The gateway's job with this many. */
  readonly job: (amount: number) => Pick<LightServerJob, 'policy' | 'tools'> & Partial<Pick<LightServerJob, 'evidence'>>;
  /** The tool of the call of this number. */
  readonly tool: (call: number, amount: number) => string;
  /** Brings this many about once the gateway runs. */
  readonly prepare: (amount: number, door: Door) => Promise<void>;
}

interface Door {
  readonly url: string;
  readonly identity: ClientIdentity;
  /** Another agent, as the gateway has not seen it. */
  newcomer(): ClientIdentity;
}

const policyOf = (furtherTools: readonly string[] = [], further = 0): string => `roles:
  caller: { grants: [{ upstream: bench, tools: ${JSON.stringify(['echo', ...furtherTools])} }] }
${Array.from({ length: further }, (_, index) => `  role-${index}: { grants: [{ upstream: bench, tools: [thing_${index}, "other_${index}_*"] }] }`).join('\n')}
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
${Array.from({ length: further }, (_, index) => `  - { role: role-${index}, when: { organizationalUnit: unit-${index} } }`).join('\n')}
`;

const echo = (): string => 'echo';
const nothing = async (): Promise<void> => {};

const axes: readonly Axis[] = [
  {
    name: 'tools of the MCP server', few: 10, many: 1_000, job: (tools) => ({ tools, policy: `onToolChange: deny\n${policyOf(['tool_*'])}`, evidence: 'sqlite' }),
    // All of them, one after the other.
    tool: (call, tools) => `tool_${call % tools}`, prepare: (_, door) => listTools(door),
  },
  { name: 'roles and bindings of others', few: 10, many: 1_000, job: (roles) => ({ policy: policyOf([], roles) }), tool: echo, prepare: nothing },
  {
    name: 'rules of the caller\'s own role', few: 10, many: 1_000,
    job: (rules) => ({ policy: policyOf(Array.from({ length: rules }, (_, index) => (index % 2 === 0 ? `thing_${index}` : `other_${index}_*`))) }),
    // A name never seen before, so that the rules are asked and not what is remembered of them.
    tool: (call, rules) => `other_${((call * 2) % rules) + 1}_${call}`, prepare: nothing,
  },
  { name: 'open sessions of the caller', few: 1, many: 5_000, job: () => ({ policy: policyOf() }), tool: echo, prepare: (sessions, door) => openSessions(sessions - 1, door) },
  { name: 'principals with a session', few: 1, many: 10_000, job: () => ({ policy: policyOf() }), tool: echo, prepare: (principals, door) => letIn(principals - 1, door) },
];

export const run = async (calls = 1_000, passes = 5, part = 1): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const rows: BenchRow[] = [];
  for (const axis of axes) rows.push(...(await measureAxis(axis, { pki, calls, passes, part })));
  return rows;
};

const measureAxis = async (axis: Axis, { pki, calls, passes, part }: { readonly pki: ReturnType<typeof createTestPki>; readonly calls: number; readonly passes: number; readonly part: number }): Promise<readonly BenchRow[]> => {
  const server = pki.issuing.server();
  const secrets = { key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem };
  const identityOf = ({ keyPem, chainPem }: TestIdentity): ClientIdentity => ({ key: keyPem, cert: chainPem, ca: pki.root.certPem });
  const started: Contender[] = [];
  const lanes = new Map<string, Lane>();
  let agents = 0;
  try {
    for (const [which, amount] of [['few', axis.few], ['many', Math.max(axis.few, Math.round(axis.many * part))]] as const) {
      const gateway = await forkServer('./light-server.ts', { ...secrets, evidence: 'none', ...axis.job(amount) } satisfies LightServerJob);
      started.push(gateway);
      const door: Door = {
        url: `https://127.0.0.1:${gateway.port}/mcp`, identity: identityOf(pki.issuing.leaf({ organizationalUnits: ['analytics'] })),
        newcomer: () => identityOf(pki.issuing.leaf({ commonName: `agent-${(agents += 1)}`, organizationalUnits: ['analytics'] })),
      };
      await axis.prepare(amount, door);
      for (const era of ['legacy', 'modern'] as const) lanes.set(`${era} ${which}`, await openLane(`${era} ${which}`, gateway, {
        clients: CLIENTS, open: () => openHttpCaller(door.url, { identity: door.identity, era, tool: (call) => axis.tool(call, amount) }),
      }));
    }
    await measureLanes([...lanes.values()], { passes, calls });
  } finally {
    await Promise.all([...lanes.values()].flatMap(({ callers }) => callers.map((caller) => caller.close())));
    await Promise.all(started.map((gateway) => gateway.stop()));
  }
  return (['legacy', 'modern'] as const).flatMap((era) => rowOf(axis, era, lanes));
};

const rowOf = ({ name, few, many }: Axis, era: Era, lanes: ReadonlyMap<string, Lane>): readonly BenchRow[] => {
  const [ours, theirs] = [lanes.get(`${era} many`), lanes.get(`${era} few`)];
  return ours === undefined || theirs === undefined ? [] : [compareCpu(`${era} call, ${many.toLocaleString('en')} ${name}`, ours, { lane: theirs, name: few === 1 ? 'one' : `${few} of them` }, flat)];
};

/** So that the gateway has seen all of them. */
const listTools = async ({ url, identity }: Door): Promise<void> => {
  const connection = openHttpConnection(url, identity);
  const own = await openSession(connection);
  await connection.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' }, own);
  await connection.post({ jsonrpc: '2.0', id: 2, method: 'tools/list', params: { _meta: modernMeta } }, modernHeaders('tools/list'));
  connection.close();
};

const openSessions = (sessions: number, { url, identity }: Door): Promise<void> =>
  atOnce(8, sessions, () => openHttpConnection(url, identity), { each: async (connection) => void (await openSession(connection)), end: (connection) => connection.close() });

/** Each makes a handshake of its own, opens a session and goes, leaving the session open. */
const letIn = (principals: number, { url, newcomer }: Door): Promise<void> =>
  atOnce(8, principals, () => undefined, {
    each: async () => {
      const connection = openHttpConnection(url, newcomer());
      await openSession(connection);
      const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hello' }, _meta: modernMeta } };
      const { status, body } = await connection.post(call, modernHeaders('tools/call', 'echo'));
      if (status !== 200) throw new Error(`a newcomer was answered ${status}: ${body}`);
      connection.close();
    },
    end: () => {},
  });

const atOnce = async <Tool>(workers: number, times: number, open: () => Tool, { each, end }: { readonly each: (tool: Tool) => Promise<void>; readonly end: (tool: Tool) => void }): Promise<void> => {
  let left = times;
  await Promise.all(Array.from({ length: Math.min(workers, times) }, async () => {
    const tool = open();
    while ((left -= 1) >= 0) await each(tool);
    end(tool);
  }));
};
