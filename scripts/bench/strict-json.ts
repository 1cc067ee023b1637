/** What the strict read of a body costs against `JSON.parse` of the same octets. */
import { readMessages } from '../../src/mcp/read-messages.ts';
import { parseStrictJson } from '../../src/mcp/strict-json.ts';
import { nanosecondsPer } from './measure.ts';
import type { BenchRow } from './measure.ts';

const call = (args: unknown): Buffer => Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 17, method: 'tools/call', params: { name: 'search_documents', arguments: args, _meta: { progressToken: 17 } } }));

const bodies: readonly { readonly name: string; readonly bytes: Buffer }[] = [
  { name: 'a small tools/call', bytes: call({ query: 'quarterly revenue by region and product line', limit: 25, filters: { region: ['emea', 'apac'], since: '2026-01-01' }, verbose: false }) },
  { name: 'a tools/call with one long text', bytes: call({ path: '/srv/notes.md', content: 'lorem ipsum "dolor" sit\namet '.repeat(4_000) }) },
  { name: 'a tools/call with 2,000 rows', bytes: call({ rows: Array.from({ length: 2_000 }, (_, index) => ({ id: index, name: `row ${index}`, ok: index % 2 === 0, score: index / 7 })) }) },
];

export const run = async (): Promise<readonly BenchRow[]> =>
  bodies.flatMap(({ name, bytes }) => {
    const rate = (work: () => unknown): number => (bytes.length / nanosecondsPer(work)) * 1_000;
    const reference = { name: 'JSON.parse', value: rate(() => JSON.parse(bytes.toString('utf8')) as unknown) };
    const size = `${name}, ${bytes.length} octets`;
    return [
      { name: `strict JSON: ${size}`, value: rate(() => parseStrictJson(bytes)), unit: 'MB/s', reference },
      { name: `strict JSON-RPC: ${size}`, value: rate(() => readMessages(bytes)), unit: 'MB/s', reference },
    ];
  });
