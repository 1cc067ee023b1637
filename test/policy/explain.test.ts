import { expect, it } from 'vitest';
import { explain, formatExplanation } from '../../src/policy/explain.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { summarizeGrants } from '../../src/policy/summary.ts';
import { principal } from './support.ts';

const policy = parsePolicy(
  `roles:
  analyst:
    grants:
      - upstream: warehouse
        tools: [search_*, { name: query, arguments: { required: [sql] } }]
        resources: ["file:///reports/**"]
  operator:
    grants: [{ upstream: "*", tools: ["*"] }]
    deny: [{ upstream: "*", tools: [drop] }]
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
  - { role: operator, when: { organizationalUnit: platform, commonName: "ops-*" } }
`,
  { file: 'policy.yaml' },
);

it('explains a denial: what each binding wanted, what the roles grant, and which role would', () => {
  const explanation = explain(policy, principal(), { kind: 'tool', upstream: 'warehouse', name: 'delete', arguments: {} });
  expect(explanation.decision).toMatchObject({ effect: 'deny', reason: 'noGrant' });
  expect(explanation.wouldBeGrantedBy).toEqual(['operator']);
  expect(formatExplanation(explanation)).toBe(`denied: tool delete of warehouse
  reason  noGrant: no grant of the roles matches
  rule    none matched
  roles   analyst
  agent   spiffe://acme.internal/agent/agent-7
  subject CN=agent-7,OU=analytics,O=Acme

bindings
  + bindings[0] (line 11) → analyst
  - bindings[1] (line 12) → operator
      organizationalUnit: wants platform, has analytics
      commonName: wants ops-*, has agent-7

granted on warehouse
  search_*
  query (with an argument rule)

granted by operator, which this certificate does not hold`);
});

it('explains a grant with its line', () => {
  const explanation = explain(policy, principal(), { kind: 'tool', upstream: 'warehouse', name: 'search_x', arguments: {} });
  expect(formatExplanation(explanation)).toContain('rule    roles.analyst.grants[0].tools[0] (policy.yaml:5)');
  expect(explanation.line).toBe(5);
});

it('explains refused arguments', () => {
  const explanation = explain(policy, principal(), { kind: 'tool', upstream: 'warehouse', name: 'query', arguments: {} });
  expect(formatExplanation(explanation)).toContain("reason  argumentsRefused: arguments must have required property 'sql'");
});

it('summarizes what a certificate may do', () => {
  expect(summarizeGrants(policy, principal())).toEqual([
    { upstream: 'warehouse', tools: ['search_*', 'query'], resources: ['file:///reports/**'], prompts: [], logging: false, argumentRules: ['query'], denied: [], roles: ['analyst'] },
  ]);
  expect(summarizeGrants(policy, principal({ organizationalUnits: ['platform', 'analytics'], commonName: 'ops-1' }))).toMatchObject([
    { upstream: 'warehouse', tools: ['search_*', 'query', '*'], denied: ['drop'], roles: ['analyst', 'operator'] },
    { upstream: '*', tools: ['*'], denied: ['drop'], roles: ['operator'] },
  ]);
  expect(summarizeGrants(policy, principal({ organizationalUnits: [] }))).toEqual([]);
});
