/** What one decision costs, from the message to allow or deny, on a policy of realistic size. */
import { actionsOf } from '../../src/mcp/method-table.ts';
import type { JsonRpcMessage } from '../../src/mcp/message.ts';
import { filterResult } from '../../src/mcp/filters.ts';
import type { Principal } from '../../src/identity/principal.ts';
import { authorize, grantsOf } from '../../src/policy/authorize.ts';
import type { EffectiveGrants } from '../../src/policy/authorize.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { atMost, nanosecondsPer } from './measure.ts';
import type { BenchRow } from './measure.ts';

const roleCount = 200;

const policyText = (): string => {
  const roles = Array.from(
    { length: roleCount },
    (_, index) => `  role-${index}:\n    grants:\n      - upstream: files\n        tools: [tool_${index}, "search_${index}_*"]\n        resources: ["file:///team-${index}/**"]\n        prompts: [prompt_${index}]`,
  );
  const bindings = Array.from({ length: roleCount }, (_, index) => `  - { role: role-${index}, when: { organizationalUnit: unit-${index} } }`);
  const analyst = '  analyst:\n    grants:\n      - upstream: files\n        tools: ["read_*", { name: query, arguments: { type: object, required: [sql], properties: { sql: { type: string, pattern: "^SELECT " } } } }]\n        resources: ["file:///reports/**"]';
  return `roles:\n${roles.join('\n')}\n${analyst}\nbindings:\n${bindings.join('\n')}\n  - { role: analyst, when: { organizationalUnit: analytics } }\n`;
};

const principal: Principal = {
  id: 'spiffe://bench.example/agent/analytics/7',
  trust: 'own', subject: 'CN=agent-7,OU=analytics',
  commonName: 'agent-7',
  organizations: ['Bench'],
  organizationalUnits: ['analytics', 'unit-3', 'unit-150'],
  uris: ['spiffe://bench.example/agent/analytics/7'],
  dnsNames: [],
  emails: [],
  issuerId: 'bench' as Principal['issuerId'],
  serial: '01' as Principal['serial'],
  thumbprint: '00'.repeat(32),
  notBefore: new Date(0),
  notAfter: new Date(1e13),
};

const decide = (grants: EffectiveGrants, message: JsonRpcMessage): boolean => {
  const gate = actionsOf('files', message);
  return gate.kind === 'actions' && gate.actions.every((action) => authorize(grants, action).effect === 'allow');
};

export const run = async (): Promise<readonly BenchRow[]> => {
  const policy = parsePolicy(policyText());
  const grants = grantsOf(policy, principal);
  const request = (method: string, params: Record<string, unknown>): JsonRpcMessage => ({ kind: 'request', id: 1, method, params });
  let fresh = 0;
  const cases: readonly (readonly [string, () => unknown])[] = [
    ['an allowed call', () => decide(grants, request('tools/call', { name: 'read_file', arguments: { path: 'a' } }))],
    ['an allowed call whose arguments meet a schema', () => decide(grants, request('tools/call', { name: 'query', arguments: { sql: 'SELECT 1' } }))],
    ['a denied call', () => decide(grants, request('tools/call', { name: 'delete_file', arguments: {} }))],
    ['a denied call by a name never seen before', () => decide(grants, request('tools/call', { name: `delete_${(fresh += 1)}` }))],
    ['an allowed read', () => decide(grants, request('resources/read', { uri: 'file:///reports/2026/q1.csv' }))],
    ['an allowed read of a URI never seen before', () => decide(grants, request('resources/read', { uri: `file:///reports/${(fresh += 1)}.csv` }))],
  ];
  const tools = { tools: Array.from({ length: 100 }, (_, index) => ({ name: index % 2 === 0 ? `read_${index}` : `write_${index}`, inputSchema: { type: 'object' } })) };
  const elsewhere = parsePolicy(policyText().replaceAll('files', 'other'));
  return [
    ...cases.map(([name, work]) => ({ name: `decision, ${roleCount + 1} roles: ${name}`, value: nanosecondsPer(work) / 1_000, unit: 'µs', goal: atMost(5) })),
    { name: 'filter of a tools/list of 100', value: nanosecondsPer(() => filterResult(tools, { upstream: 'files', method: 'tools/list', params: undefined, allows: (action) => authorize(grants, action).effect === 'allow', hasClass: () => true, revisions: [] })) / 1_000, unit: 'µs' },
    { name: `grants compiled for one more certificate, ${roleCount + 1} roles`, value: nanosecondsPer(() => authorize(grantsOf(elsewhere, { ...principal }), { kind: 'connect', upstream: 'other' })) / 1_000, unit: 'µs' },
  ];
};
