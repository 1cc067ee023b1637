import { describe, expect, it } from 'vitest';
import { authorize, grantsOf } from '../../src/policy/authorize.ts';
import type { Action } from '../../src/policy/decision.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { principal } from './support.ts';

const policy = parsePolicy(`
roles:
  analyst:
    grants:
      - upstream: warehouse
        tools:
          - search_*
          - a*b
          - name: query
            arguments: { properties: { sql: { type: string, pattern: "^SELECT " } }, required: [sql] }
          - name: count
            arguments: { properties: { n: { type: integer, maximum: 10 } } }
        resources: ["file:///reports/**", "memo://MyNote", "demo://items/{id}"]
        prompts: [summarise]
  writer:
    grants:
      - upstream: [warehouse, "lake-*"]
        tools: [{ name: query, arguments: { properties: { sql: { type: string, pattern: "^INSERT " } }, required: [sql] } }, drop_table]
        logging: true
    deny:
      - upstream: "*"
        tools: [drop_*, { name: search_people, arguments: { properties: { all: { const: true } }, required: [all] } }]
        resources: ["file:///reports/secret/**"]
        prompts: ["*_secret"]
  operator:
    grants: [{ upstream: "*", tools: ["*"], resources: ["**"], prompts: ["*"], logging: true }]
  empty:
    grants: [{ upstream: warehouse, tools: [] }]
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
  - { role: writer, when: { organizationalUnit: [writers, scribes] } }
  - { role: operator, when: { organizationalUnit: platform, commonName: "ops-*" } }
  - { role: empty, when: { organizationalUnit: nobody } }
`);

const decide = (organizationalUnits: readonly string[], action: Action, commonName = 'agent-7') => authorize(grantsOf(policy, principal({ organizationalUnits, commonName })), action);
const tool = (name: string, args?: unknown, upstream = 'warehouse'): Action => ({ kind: 'tool', upstream, name, ...(args === undefined ? {} : { arguments: args }) });
const resource = (uri: string): Action => ({ kind: 'resource', upstream: 'warehouse', uri });
const template = (uriTemplate: string): Action => ({ kind: 'resourceTemplate', upstream: 'warehouse', uriTemplate });

describe('authorize', () => {
  it('allows what a grant names, and says which', () => {
    expect(decide(['analytics'], tool('search_people', {}))).toEqual({ effect: 'allow', reason: 'granted', rule: 'roles.analyst.grants[0].tools[0]', roles: ['analyst'] });
  });

  it('treats a*b as a pattern, not as a name', () => {
    expect(decide(['analytics'], tool('axxb')).effect).toBe('allow');
    expect(decide(['analytics'], tool('axxc')).effect).toBe('deny');
  });

  it.each(['delete', 'Search_people', 'search', 'ѕearch_people', ' query', 'query\u0000', ''])('denies %j for want of a grant', (name) => {
    expect(decide(['analytics'], tool(name, {}))).toEqual({ effect: 'deny', reason: 'noGrant', rule: undefined, roles: ['analyst'] });
  });

  it('denies the tool of another upstream', () => {
    expect(decide(['analytics'], tool('search_x', {}, 'lake-1'))).toEqual({ effect: 'deny', reason: 'noGrant', rule: undefined, roles: ['analyst'] });
  });

  it('denies a certificate without a role, and one whose role grants nothing', () => {
    expect(decide([], tool('search_x'))).toEqual({ effect: 'deny', reason: 'noRole', rule: undefined, roles: [] });
    expect(decide(['nobody'], { kind: 'connect', upstream: 'warehouse' })).toMatchObject({ effect: 'deny', reason: 'noGrant' });
  });

  it('reads every organizational unit, in any order', () => {
    for (const units of [['x', 'analytics'], ['analytics', 'x']]) expect(decide(units, tool('search_x')).effect).toBe('allow');
    expect(decide(['scribes', 'analytics'], tool('search_x')).roles).toEqual(['analyst', 'writer']);
  });

  it('wants every attribute of a binding', () => {
    expect(decide(['platform'], tool('anything')).reason).toBe('noRole');
    expect(decide(['platform'], tool('anything'), 'ops-1').effect).toBe('allow');
    expect(decide([], tool('anything'), 'ops-1').reason).toBe('noRole');
  });

  it('allows connecting to an upstream on which anything is granted', () => {
    expect(decide(['analytics'], { kind: 'connect', upstream: 'warehouse' })).toMatchObject({ effect: 'allow', rule: 'roles.analyst.grants[0]' });
    expect(decide(['analytics'], { kind: 'connect', upstream: 'lake-1' })).toMatchObject({ effect: 'deny', reason: 'noGrant' });
  });

  it('allows the log level only with a grant for it', () => {
    expect(decide(['analytics'], { kind: 'logging', upstream: 'warehouse' })).toMatchObject({ effect: 'deny', reason: 'noGrant' });
    expect(decide(['writers'], { kind: 'logging', upstream: 'warehouse' })).toMatchObject({ effect: 'allow', rule: 'roles.writer.grants[0].logging' });
  });

  it('lets an explicit deny win over every grant of every role', () => {
    expect(decide(['writers'], tool('drop_table', {}))).toMatchObject({ effect: 'deny', reason: 'explicitDeny', rule: 'roles.writer.deny[0].tools[0]' });
    expect(decide(['writers', 'platform'], tool('drop_table', {}), 'ops-1').reason).toBe('explicitDeny');
    expect(decide(['writers', 'platform'], { kind: 'prompt', upstream: 'x', name: 'my_secret' }, 'ops-1').reason).toBe('explicitDeny');
    expect(decide(['writers', 'platform'], resource('file:///reports/secret/x'), 'ops-1').reason).toBe('explicitDeny');
  });
});

describe('argument rules', () => {
  it('allow what satisfies them and refuse the rest with a detail', () => {
    expect(decide(['analytics'], tool('query', { sql: 'SELECT 1' })).effect).toBe('allow');
    expect(decide(['analytics'], tool('query', { sql: 'DROP x' }))).toEqual({
      effect: 'deny',
      reason: 'argumentsRefused',
      rule: 'roles.analyst.grants[0].tools[2]',
      roles: ['analyst'],
      detail: 'arguments/sql must match pattern "^SELECT "',
    });
  });

  it.each([[{}], [null], ['SELECT 1'], [[]], [{ sql: 1 }], [{ sql: ['SELECT '] }], [Object.create({ sql: 'SELECT 1' })]])('refuse %j', (args) => {
    expect(decide(['analytics'], tool('query', args)).reason).toBe('argumentsRefused');
  });

  it('say for a list that some call would be allowed', () => {
    expect(decide(['analytics'], tool('query')).effect).toBe('allow');
  });

  it('of several roles add up', () => {
    expect(decide(['analytics', 'writers'], tool('query', { sql: 'INSERT 1' }))).toMatchObject({ effect: 'allow', rule: 'roles.writer.grants[0].tools[0]' });
    expect(decide(['analytics', 'writers'], tool('query', { sql: 'DROP 1' })).reason).toBe('argumentsRefused');
  });

  it('in a deny forbid the calls that satisfy them, not the tool', () => {
    expect(decide(['analytics', 'writers'], tool('search_people')).effect).toBe('allow');
    expect(decide(['analytics', 'writers'], tool('search_people', { all: false })).effect).toBe('allow');
    expect(decide(['analytics', 'writers'], tool('search_people', { all: true })).reason).toBe('explicitDeny');
  });

  it('refuse keys that reach into prototypes, and a deny does not let them pass', () => {
    const hostile: unknown = JSON.parse('{"sql":"SELECT 1","x":{"__proto__":{"admin":true}}}');
    expect(decide(['analytics'], tool('query', hostile))).toMatchObject({ reason: 'argumentsRefused', detail: 'the key __proto__ is not allowed in arguments' });
    expect(decide(['analytics', 'writers'], tool('search_people', hostile)).reason).toBe('explicitDeny');
  });

  it('refuse arguments too deep to check', () => {
    let deep: unknown = {};
    for (let depth = 0; depth < 100_000; depth++) deep = { deep };
    expect(decide(['analytics'], tool('query', { sql: 'SELECT 1', deep }))).toMatchObject({ reason: 'argumentsRefused', detail: 'the arguments cannot be checked' });
  });

  it('see numbers kept exact for the upstream as numbers', () => {
    const raw = (text: string): unknown => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text);
    expect(decide(['analytics'], tool('count', { n: raw('7'), rest: [raw('1')] })).effect).toBe('allow');
    expect(decide(['analytics'], tool('count', { n: raw('12345678901234567890') })).reason).toBe('argumentsRefused');
  });
});

describe('resources', () => {
  it('are matched in canonical form only, where a pattern decides', () => {
    expect(decide(['analytics'], resource('file:///reports/2026/q1.csv')).effect).toBe('allow');
    expect(decide(['analytics'], resource('file:///reports/../etc/passwd'))).toMatchObject({ effect: 'deny', reason: 'uriNotCanonical', rule: 'roles.analyst.grants[0].resources[0]', detail: 'the URI holds a dot segment' });
    for (const uri of ['file:///reports/%2e%2e/etc', 'file:///reports/%2E%2E/etc', 'file:///reports/a%2Fb', 'file:///reports//etc/passwd']) expect(decide(['analytics'], resource(uri)).reason).toBe('uriNotCanonical');
    expect(decide(['platform'], resource('https://user@host/'), 'ops-1').reason).toBe('uriNotCanonical');
  });

  it('are matched as they stand, where an exact rule decides', () => {
    expect(decide(['analytics'], resource('memo://MyNote')).effect).toBe('allow');
    expect(decide(['analytics'], resource('memo://mynote')).reason).toBe('noGrant');
  });

  it('of a template are granted when some expansion is, or the template itself', () => {
    expect(decide(['analytics'], template('file:///reports/{year}/{name}')).effect).toBe('allow');
    expect(decide(['analytics'], template('file:///{+path}')).effect).toBe('allow');
    expect(decide(['analytics'], template('file:///{dir}/x')).effect).toBe('allow');
    expect(decide(['analytics'], template('demo://items/{id}')).effect).toBe('allow');
    expect(decide(['analytics'], template('memo://{name}')).effect).toBe('allow');
    expect(decide(['analytics'], template('file:///etc/{name}'))).toMatchObject({ effect: 'deny', reason: 'noGrant' });
    expect(decide(['analytics'], template('demo://others/{id}')).reason).toBe('noGrant');
    expect(decide(['analytics'], template('file:///{name}')).reason).toBe('noGrant');
    expect(decide(['analytics'], template('file:///reports/{broken')).reason).toBe('noGrant');
  });

  it('of a template are denied when every expansion is', () => {
    expect(decide(['analytics', 'writers'], template('file:///reports/secret/{name}')).reason).toBe('explicitDeny');
    expect(decide(['analytics', 'writers'], template('file:///reports/{dir}/{name}')).effect).toBe('allow');
  });
});

it('decides about what untyped code hands it', () => {
  const grants = grantsOf(policy, principal({ organizationalUnits: ['platform'], commonName: 'ops-1' }));
  for (const name of [undefined, null, 7, {}, ['search_x'], { toString: () => 'search_x' }]) {
    expect(authorize(grants, { kind: 'tool', upstream: 'warehouse', name } as unknown as Action)).toMatchObject({ effect: 'deny', reason: 'noGrant' });
  }
  expect(authorize(grants, { kind: 'other', upstream: 'warehouse' } as unknown as Action).effect).toBe('deny');
});

it('tells which classes are granted', () => {
  const grants = grantsOf(policy, principal());
  expect((['tools', 'resources', 'prompts', 'logging'] as const).map((each) => grants.has('warehouse', each))).toEqual([true, true, true, false]);
  expect(grants.has('lake-1', 'tools')).toBe(false);
});

it('tells whether everything of a class is granted', () => {
  const hasAll = (tools: string, resources: string, deny = '[]') => {
    const grants = grantsOf(parsePolicy(`roles: { r: { grants: [{ upstream: w, tools: ["${tools}"], resources: ["${resources}"] }], deny: ${deny} } }\nbindings: [{ role: r, when: { dangerouslyAnyCertificate: true } }]\n`), principal());
    return (['tools', 'resources', 'prompts'] as const).map((each) => grants.hasAll('w', each));
  };
  expect(hasAll('*', '**')).toEqual([true, true, false]);
  expect(hasAll('**', '*')).toEqual([true, false, false]);
  expect(hasAll('a*', 'file:///**')).toEqual([false, false, false]);
  expect(hasAll('*', '**', '[{ upstream: w, tools: [drop] }]')).toEqual([false, true, false]);
});

it('remembers a bounded number of answers, however many names are tried', () => {
  const grants = grantsOf(policy, principal());
  for (let index = 0; index < 5_000; index++) {
    authorize(grants, tool(`search_${index}`));
    authorize(grants, resource(`file:///reports/${index}`));
  }
  const view = grants.upstream('warehouse');
  expect(view.toolRules.size).toBeLessThanOrEqual(1_024);
  expect(view.decisions.size).toBeLessThanOrEqual(1_024);
  for (let index = 0; index < 1_000; index++) grants.upstream(`u${index}`);
});

it('gives the answer of a plain search through every rule, for many rules', () => {
  const patterns = Array.from({ length: 300 }, (_, index) => (index % 3 === 0 ? `tool_${index}` : index % 3 === 1 ? `t${index}_*` : `*_${index}`));
  const many = parsePolicy(JSON.stringify({ roles: { r: { grants: [{ upstream: 'u', tools: patterns }] } }, bindings: [{ role: 'r', when: { commonName: '*' } }] }));
  const grants = grantsOf(many, principal());
  const rules = many.roles.get('r')?.grants[0]?.tools ?? [];
  for (let index = 0; index < 400; index++) {
    for (const name of [`tool_${index}`, `t${index}_x`, `x_${index}`, `t${index}`]) {
      expect(authorize(grants, tool(name, {}, 'u')).rule).toBe(rules.find((rule) => rule.glob.matches(name))?.path);
    }
  }
});
