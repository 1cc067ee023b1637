/**
 * tools/call in each era and with each kind of upstream, against the same MCP server reached directly
 * over the same mutual TLS. Eight clients at once for the rate, one at a time for the latency.
 */
import { createTestPki } from '../../test/support/pki.ts';
import type { Era } from '../../src/mcp/revisions.ts';
import { openHttpCaller } from './call-client.ts';
import { addedLatency, compareRates, measureLanes, openLane } from './call-lanes.ts';
import type { Lane, Reference } from './call-lanes.ts';
import type { CallServerJob } from './call-server.ts';
import { forkServer } from './child.ts';
import type { Contender } from './child.ts';
import { quantile } from './measure.ts';
import type { BenchRow } from './measure.ts';

const CLIENTS = 8;
const kinds = ['HTTP upstream', 'stdio upstream', 'in process'] as const;

export const run = async (calls = 1_000, passes = 5): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const agent = pki.issuing.leaf({ organizationalUnits: ['analytics'] });
  const secrets = { key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem };
  const identity = { key: agent.keyPem, cert: agent.chainPem, ca: pki.root.certPem };
  const started: Contender[] = [];
  const lanes: Lane[] = [];
  const serve = async (job: Omit<CallServerJob, keyof typeof secrets>): Promise<Contender> => {
    const contender = await forkServer('./call-server.ts', { ...job, ...secrets } satisfies CallServerJob);
    started.push(contender);
    return contender;
  };
  const lane = async (name: string, era: Era, { port }: Contender): Promise<void> => {
    lanes.push(await openLane(`${era} ${name}`, undefined, { clients: CLIENTS, open: () => openHttpCaller(`https://127.0.0.1:${port}/mcp`, { identity, era }) }));
  };
  try {
    for (const era of ['legacy', 'modern'] as const) {
      await lane('direct', era, await serve({ kind: 'sdkOverMutualTls', era }));
      const upstream = await serve({ kind: 'sdkOverHttp', era });
      await lane('HTTP upstream', era, await serve({ kind: 'gateway', era, upstream: { url: `http://127.0.0.1:${upstream.port}/mcp` } }));
      await lane('stdio upstream', era, await serve({ kind: 'gateway', era, upstream: 'stdio' }));
      await lane('in process', era, await serve({ kind: 'gateway', era, upstream: 'handler' }));
    }
    await measureLanes(lanes, { passes, calls, callsAlone: Math.ceil(calls / 4) });
  } finally {
    await Promise.all(lanes.flatMap(({ callers }) => callers.map((caller) => caller.close())));
    await Promise.all(started.map((contender) => contender.stop()));
  }
  return (['legacy', 'modern'] as const).flatMap((era) => rowsOf(era, new Map(lanes.map((each) => [each.name, each]))));
};

const rowsOf = (era: Era, lanes: ReadonlyMap<string, Lane>): readonly BenchRow[] => {
  const direct = lanes.get(`${era} direct`);
  if (direct === undefined) return [];
  const reference: Reference = { lane: direct, name: `the SDK ${era === 'legacy' ? 'v1' : 'v2'} server over the same mutual TLS` };
  return [
    { name: `${era}, the MCP server itself: p50 of one call at a time`, value: quantile(direct.alone, 0.5), unit: 'ms' },
    { name: `${era}, the MCP server itself: p99 of one call at a time`, value: quantile(direct.alone, 0.99), unit: 'ms' },
    ...kinds.flatMap((kind) => {
      const lane = lanes.get(`${era} ${kind}`);
      return lane === undefined ? [] : [compareRates(`${era}, ${kind}`, lane, reference), ...addedLatency(`${era}, ${kind}`, lane, reference)];
    }),
  ];
};
