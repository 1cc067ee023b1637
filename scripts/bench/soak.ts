/** Ten minutes of everything: does the gateway end as it began? `npm run bench -- soak [seconds]`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestPki } from '../../test/support/pki.ts';
import { forkServer } from './child.ts';
import type { Held } from './child.ts';
import type { LightServerJob } from './light-server.ts';
import { atMost, ratioAtMost } from './measure.ts';
import type { BenchRow } from './measure.ts';
import { soakWorks } from './soak-works.ts';
import type { SoakWorld } from './soak-works.ts';

const MEGABYTE = 1024 * 1024;
const AGENTS = 100;
/** Of the time, until the first look: by then heap and caches have the size that the work needs. */
const SETTLED = 0.2;
const SESSION_IDLE_MS = 4_000;
/** Until sessions whose clients vanished have ended for idleness, and children are gone. */
const REST_MS = 8_000;

const policy = `roles:
  caller: { grants: [{ upstream: "*", tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

export const run = async (seconds = 600): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const gateway = await forkServer('./light-server.ts', {
    key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem, policy, evidence: 'sqlite', child: 'echo', sessionIdleMs: SESSION_IDLE_MS,
  } satisfies LightServerJob);
  const world = worldOf(pki, gateway.port);
  const done = new Map<string, number>();
  const workUntil = async (end: number): Promise<void> => {
    await Promise.all(Object.entries(soakWorks).map(async ([name, work]) => {
      while (performance.now() < end) {
        await work(world);
        done.set(name, (done.get(name) ?? 0) + 1);
      }
    }));
    await sleep(REST_MS);
  };
  try {
    const startedAt = performance.now();
    const before = await gateway.held();
    await workUntil(startedAt + seconds * 1_000 * SETTLED);
    const settled = await gateway.held();
    await workUntil(startedAt + seconds * 1_000);
    const after = await gateway.held();
    return [...rowsOf({ before, settled, after }), ...[...done].map(([name, value]) => ({ name, value, unit: 'times' }))];
  } finally {
    await gateway.stop();
  }
};

const worldOf = (pki: TestPki, port: number): SoakWorld => {
  const agentsOf = (organizationalUnit: string) =>
    Array.from({ length: AGENTS }, (_, index) => {
      const { keyPem, chainPem } = pki.issuing.leaf({ commonName: `agent-${index}`, organizationalUnits: [organizationalUnit] });
      return { key: keyPem, cert: chainPem, ca: pki.root.certPem };
    });
  const agents = agentsOf('analytics');
  const visitors = agentsOf('visitors');
  const { keyPem, chainPem } = createTestPki('Elsewhere').issuing.leaf();
  const stranger = { key: keyPem, cert: chainPem, ca: pki.root.certPem };
  let turn = 0;
  const next = () => (turn = (turn + 1) % AGENTS);
  return { url: `https://127.0.0.1:${port}`, agent: () => agents[next()] ?? stranger, visitor: () => visitors[next()] ?? stranger, stranger: () => stranger };
};

const rowsOf = ({ before, settled, after }: { readonly before: Held; readonly settled: Held; readonly after: Held }): readonly BenchRow[] => {
  const memory = (name: string, of: (held: Held) => number): readonly BenchRow[] => [
    { name: `${name} before`, value: of(before) / MEGABYTE, unit: 'MB' },
    { name: `${name} after`, value: of(after) / MEGABYTE, unit: 'MB', reference: { name: `after ${SETTLED * 100} % of the time`, value: of(settled) / MEGABYTE }, goal: ratioAtMost(1.1) },
  ];
  return [
    ...memory('resident memory', ({ rss }) => rss),
    ...memory('heap of JavaScript', ({ heap }) => heap),
    ...(before.descriptors === undefined || after.descriptors === undefined ? [] : [
      { name: 'open descriptors before', value: before.descriptors, unit: 'descriptors' },
      { name: 'open descriptors after', value: after.descriptors, unit: 'descriptors', goal: atMost(before.descriptors + 1) },
    ]),
  ];
};
