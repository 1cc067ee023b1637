import { describe, expect, it } from 'vitest';
import { unknownUpstreams } from '../../src/policy/findings.ts';
import { parsePolicy } from '../../src/policy/load.ts';

const kinds = (text: string) => parsePolicy(text).findings.map(({ kind, severity, path }) => `${severity} ${kind} ${path}`);
const withGrants = (grants: string, deny = '[]') => `roles:\n  r:\n    grants: ${grants}\n    deny: ${deny}\nbindings: [{ role: r, when: { commonName: x } }]`;

describe('loading reports', () => {
  it.each([
    ['a role no binding leads to', 'roles: { r: { grants: [{ upstream: a, tools: [x] }] } }', ['warning grantsNothing ', 'warning unreachableRole roles.r']],
    ['a role that grants nothing', withGrants('[]'), ['warning emptyRole roles.r', 'warning grantsNothing ']],
    ['every tool of every upstream', withGrants('[{ upstream: "*", tools: ["*"] }]'), ['note everything roles.r.grants[0]']],
    ['a rule that a wider one makes superfluous', withGrants('[{ upstream: a, tools: [search_people, search_*] }]'), ['note shadowed roles.r.grants[0].tools[0]']],
    ['a rule that stands twice', withGrants('[{ upstream: a, tools: [x] }, { upstream: a, tools: [x] }]'), ['note shadowed roles.r.grants[1].tools[0]']],
    ['an argument rule that a wider rule undoes', withGrants('[{ upstream: a, tools: [q*, { name: query, arguments: { required: [sql] } }] }]'), ['warning shadowed roles.r.grants[0].tools[1]']],
    ['a grant that a deny undoes', withGrants('[{ upstream: a, tools: [drop_table, x] }]', '[{ upstream: "*", tools: [drop_*] }]'), ['warning shadowed roles.r.grants[0].tools[0]']],
    ['nothing for the same name on another upstream', withGrants('[{ upstream: a, tools: [x] }, { upstream: b, tools: [x] }]'), []],
    ['a schema nothing satisfies', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { type: array } }] }]'), ['warning impossibleSchema roles.r.grants[0].tools[0]']],
    ['the schema false', withGrants('[{ upstream: a, tools: [{ name: x, arguments: false }] }]'), ['warning impossibleSchema roles.r.grants[0].tools[0]']],
    ['bounds that exclude each other', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { properties: { n: { type: integer, minimum: 5, maximum: 4 } }, required: [n] } }] }]'), ['warning impossibleSchema roles.r.grants[0].tools[0]']],
    ['a required argument that is not let in', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { properties: {}, required: [n], additionalProperties: false } }] }]'), ['warning impossibleSchema roles.r.grants[0].tools[0]']],
    ['a restricted argument that may be left out', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { properties: { sql: { type: string, pattern: "^SELECT " } } } }] }]'), ['note optionalArgument roles.r.grants[0].tools[0]']],
    ['a pattern that may take exponential time', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { properties: { s: { type: string, pattern: "^(a+)+$" } }, required: [s] } }] }]'), ['warning slowPattern roles.r.grants[0].tools[0]']],
    ['no slow pattern where none is', withGrants('[{ upstream: a, tools: [{ name: x, arguments: { properties: { s: { type: string, pattern: "^(ab|[c+]+\\\\+)?x{2}$" } }, required: [s] } }] }]'), []],
    ['a resource pattern no canonical URI matches', withGrants('[{ upstream: a, resources: ["FILE:///x/**", "file:///a/../b/*", "file:///ok/**", "**", "http://x:*/y"] }]').replace('"**", ', ''), ['warning unusableResource roles.r.grants[0].resources[0]', 'warning unusableResource roles.r.grants[0].resources[1]']],
    ['a binding for every certificate', 'roles: { r: { grants: [{ upstream: a, tools: [x] }] } }\nbindings: [{ role: r, when: { dangerouslyAnyCertificate: true } }]', ['note anyCertificate bindings[0]']],
    ['a binding by a star', 'roles: { r: { grants: [{ upstream: a, tools: [x] }] } }\nbindings: [{ role: r, when: { commonName: "*" } }]', ['note anyCertificate bindings[0]']],
    ['a serial without issuer', 'roles: { r: { grants: [{ upstream: a, tools: [x] }] } }\nbindings: [{ role: r, when: { serial: "01" } }]', ['note serialWithoutIssuer bindings[0]']],
    ['the same binding twice', 'roles: { r: { grants: [{ upstream: a, tools: [x] }] } }\nbindings: [{ role: r, when: { commonName: x } }, { roles: [r], when: { commonName: [x] } }]', ['warning duplicateBinding bindings[1]']],
  ])('%s', (_what, text, expected) => {
    expect(kinds(text).toSorted()).toEqual([...expected].toSorted());
  });

  it('with a sentence that names the next step', () => {
    expect(parsePolicy('roles: { r: {} }').findings.map(({ message }) => message)).toEqual([
      'no binding leads to the role r: add one under bindings, or remove the role',
      'the policy grants nothing, so everything is denied: add a role with grants and a binding to it',
    ]);
  });
});

it('tells grants for upstreams that are not configured', () => {
  const policy = parsePolicy(withGrants('[{ upstream: [warehouse, "lake-*", other], tools: [x] }]'));
  expect(unknownUpstreams(policy, ['warehouse', 'lake-1']).map(({ message }) => message)).toEqual(['no upstream is named other: configured are warehouse, lake-1']);
});
