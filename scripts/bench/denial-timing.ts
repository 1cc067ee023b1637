/** Whether the time of an answer tells a thing that is denied from one that does not exist (mcp.md row 16). */
import { createTestPki } from '../../test/support/pki.ts';
import { modernHeaders, modernMeta, openHttpConnection, openSession } from './call-client.ts';
import type { HttpConnection } from './call-client.ts';
import { forkServer } from './child.ts';
import type { LightServerJob } from './light-server.ts';
import { atMost, median, quantile } from './measure.ts';
import type { BenchRow } from './measure.ts';

const policy = `roles:
  caller:
    grants: [{ upstream: bench, tools: [echo, begin, "allowed_*"], resources: ["file:///open/**"], prompts: [greet] }]
    deny: [{ upstream: bench, tools: ["denied_*"] }]
bindings: [{ role: caller, when: { organizationalUnit: analytics } }]
`;

/** One of each kind of thing, numbered so that no single one is remembered alone. */
interface Question {
  readonly name: string;
  readonly method: string;
  /** Of something that is there, or that a rule or another principal knows of. */
  readonly denied: (number: number) => Params;
  readonly unknown: (number: number) => Params;
}

type Params = Readonly<Record<string, string>>;

const tools = 100;
/** Percentage points away from one half. With 5,000 of each, chance alone stays within 1.2 in 95 of 100 runs. */
const goal = atMost(2);

const questions = (foreignTasks: readonly string[], nobodysTasks: readonly string[]): readonly Question[] => [
  { name: 'tools/call, a tool that is there', method: 'tools/call', denied: (number) => ({ name: `tool_${number % tools}` }), unknown: (number) => ({ name: `toll_${number % tools}` }) },
  { name: 'tools/call, a tool that a rule denies', method: 'tools/call', denied: (number) => ({ name: `denied_${number % tools}` }), unknown: (number) => ({ name: `nobody_${number % tools}` }) },
  { name: 'resources/read, a URI beside those that are granted', method: 'resources/read', denied: (number) => ({ uri: `file:///opem/${number % tools}` }), unknown: (number) => ({ uri: `data:///shut/${number % tools}` }) },
  { name: 'tasks/get, a task of another principal', method: 'tasks/get', denied: (number) => ({ taskId: foreignTasks[number % foreignTasks.length] ?? '' }), unknown: (number) => ({ taskId: nobodysTasks[number % nobodysTasks.length] ?? '' }) },
];

export const run = async (answers = 5_000): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const gateway = await forkServer('./light-server.ts', { key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem, evidence: 'none', policy, tools } satisfies LightServerJob);
  const connect = (commonName: string): HttpConnection => {
    const { keyPem, chainPem } = pki.issuing.leaf({ commonName, organizationalUnits: ['analytics'] });
    return openHttpConnection(`https://127.0.0.1:${gateway.port}/mcp`, { key: keyPem, cert: chainPem, ca: pki.root.certPem });
  };
  const [other, own] = [connect('other'), connect('own')];
  try {
    // Copied alike, so that the client's own strings make no difference.
    const tasksOfOther = await makeTasks(other);
    const asked = questions(tasksOfOther.map((taskId) => [...taskId].join('')), tasksOfOther.map((taskId) => [...taskId].toReversed().join('')));
    const session = await openSession(own);
    const rows: BenchRow[] = [];
    for (const era of ['legacy', 'modern'] as const) {
      for (const question of asked) rows.push(...rowsOf(`${era} ${question.name}`, await measure(own, question, { answers, session: era === 'legacy' ? session : undefined })));
    }
    return rows;
  } finally {
    other.close();
    own.close();
    await gateway.stop();
  }
};

const tasksMeta = { ...modernMeta, 'io.modelcontextprotocol/clientCapabilities': { extensions: { 'io.modelcontextprotocol/tasks': {} } } };

const makeTasks = (connection: HttpConnection): Promise<readonly string[]> =>
  Promise.all(Array.from({ length: tools }, async (_, id) => {
    const { body } = await connection.post({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'begin', arguments: {}, _meta: tasksMeta } }, modernHeaders('tools/call', 'begin'));
    return (JSON.parse(body) as { result: { taskId: string } }).result.taskId;
  }));

interface Samples {
  readonly denied: readonly number[];
  readonly unknown: readonly number[];
}

const measure = async (connection: HttpConnection, { method, denied, unknown }: Question, { answers, session }: { readonly answers: number; readonly session: Readonly<Record<string, string>> | undefined }): Promise<Samples> => {
  const samples = { denied: [] as number[], unknown: [] as number[] };
  const texts = new Set<string>();
  const warmUp = Math.min(500, answers);
  for (let number = -warmUp; number < answers; number += 1) {
    const kinds = Math.random() < 0.5 ? (['denied', 'unknown'] as const) : (['unknown', 'denied'] as const);
    for (const kind of kinds) {
      const params = (kind === 'denied' ? denied : unknown)(number + warmUp);
      const message = { jsonrpc: '2.0', id: 1, method, params: session === undefined ? { ...params, _meta: tasksMeta } : params };
      const headers = session ?? modernHeaders(method, params.name ?? params.uri ?? params.taskId);
      const startedAt = process.hrtime.bigint();
      const { status, body } = await connection.post(message, headers);
      const spent = Number(process.hrtime.bigint() - startedAt) / 1_000;
      texts.add(`${status} ${body}`);
      if (number >= 0) samples[kind].push(spent);
    }
  }
  if (texts.size !== 1) throw new Error(`${method} was answered in ${texts.size} ways: ${[...texts].slice(0, 3).join(' · ')}`);
  return samples;
};

const rowsOf = (name: string, { denied, unknown }: Samples): readonly BenchRow[] => [
  ...([['median', 0.5], ['p90', 0.9], ['p99', 0.99]] as const).map(([label, part]) => ({ name: `${name}: ${label}`, value: part === 0.5 ? median(denied) : quantile(denied, part), unit: 'µs', reference: { name: 'unknown', value: quantile(unknown, part) } })),
  { name: `${name}: share of pairs in which the denied one took longer, from 50 %`, value: Math.abs(shareOfLonger(denied, unknown) - 0.5) * 100, unit: 'points', goal },
];

/** Mann–Whitney's U over the number of pairs: how likely one of the first is longer than one of the second; ties count half. */
const shareOfLonger = (first: readonly number[], second: readonly number[]): number => {
  const all = [...first.map((value) => ({ value, own: true })), ...second.map((value) => ({ value, own: false }))].toSorted((a, b) => a.value - b.value);
  let rankSum = 0;
  for (let start = 0; start < all.length; ) {
    let end = start + 1;
    while (end < all.length && all[end]?.value === all[start]?.value) end += 1;
    // Ranks begin with one, and equal values share theirs.
    const rank = (start + 1 + end) / 2;
    for (let index = start; index < end; index += 1) if (all[index]?.own === true) rankSum += rank;
    start = end;
  }
  return (rankSum - (first.length * (first.length + 1)) / 2) / (first.length * second.length);
};
