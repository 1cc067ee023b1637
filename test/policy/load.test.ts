import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { authorize, grantsOf } from '../../src/policy/authorize.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { principal } from './support.ts';

const refusal = (text: string): SallyportError => {
  try {
    parsePolicy(text, { file: 'p.yaml' });
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('the policy was accepted');
};

const role = (body: string) => `roles:\n  r:\n${body.replace(/^/gm, '    ')}\nbindings:\n  - { role: r, when: { commonName: x } }\n`;

describe('an empty policy', () => {
  it.each(['', '# nothing\n', 'roles:\nbindings:\n', 'roles: {}\nbindings: []', '{}'])('%j loads, says so and denies everything', (text) => {
    const policy = parsePolicy(text);
    expect(policy.findings.map(({ kind }) => kind)).toEqual(['grantsNothing']);
    const grants = grantsOf(policy, principal());
    expect(authorize(grants, { kind: 'connect', upstream: 'a' })).toMatchObject({ effect: 'deny', reason: 'noRole' });
    expect(authorize(grants, { kind: 'tool', upstream: 'a', name: 'x' })).toMatchObject({ effect: 'deny', reason: 'noRole' });
  });
});

describe('tools that change', () => {
  it('are allowed unless the policy says otherwise', () => {
    expect(parsePolicy('')).toMatchObject({ onToolChange: 'allow', onNewTool: 'allow' });
    expect(parsePolicy('onToolChange: deny\nonNewTool: deny')).toMatchObject({ onToolChange: 'deny', onNewTool: 'deny' });
  });
});

describe('a policy is refused with its place', () => {
  it.each([
    ['an unknown key', role('grant: []'), 'p.yaml:3:5: roles.r.grant: unknown key: did you mean grants?'],
    ['an unknown key at the top', 'role: {}', 'p.yaml:1:1: role: unknown key: did you mean roles?'],
    ['an unknown key far from any', 'everything: true', 'p.yaml:1:1: everything: unknown key: known here are roles, bindings, onToolChange, onNewTool'],
    ['an unknown word for changed tools', 'onToolChange: block', 'p.yaml:1:1: onToolChange: must be allow or deny'],
    ['no word for new tools', 'onNewTool:', 'p.yaml:1:1: onNewTool: must be allow or deny'],
    ['an unknown key in a grant', role('grants:\n  - { upstream: a, tool: [x], tools: [y] }'), 'p.yaml:4:24: roles.r.grants[0].tool: unknown key: did you mean tools?'],
    ['an unknown key beside arguments', role('grants:\n  - { upstream: a, tools: [{ name: x, argument: {}, arguments: {} }] }'), 'p.yaml:4:43: roles.r.grants[0].tools[0].argument: unknown key: did you mean arguments?'],
    ['an unknown attribute', 'roles: { r: {} }\nbindings: [{ role: r, when: { ou: x } }]', 'p.yaml:2:31: bindings[0].when.ou: unknown key: known here are trust, organizationalUnit, organization, commonName, uri, dns, email, issuer, serial, thumbprint, dangerouslyAnyCertificate'],
    ['a grant without upstream', role('grants:\n  - { tools: [x] }'), 'p.yaml:4:9: roles.r.grants[0].upstream: must be a list'],
    ['a grant that says nothing', role('grants:\n  - { upstream: a }'), 'p.yaml:4:9: roles.r.grants[0]: says nothing: add tools, resources, prompts or logging'],
    ['an empty pattern', role('grants:\n  - { upstream: a, tools: [""] }'), 'p.yaml:4:32: roles.r.grants[0].tools[0]: an empty pattern matches nothing: remove it'],
    ['a pattern that is a number', role('grants:\n  - { upstream: a, prompts: [1] }'), 'p.yaml:4:34: roles.r.grants[0].prompts[0]: must be a text: quote it'],
    ['an unquoted star', role('grants:\n  - { upstream: a, tools: [*] }'), 'p.yaml:4:32: alias cannot be an empty string: quote a pattern that begins with * ("*")'],
    ['an alias', 'roles: &a {}\nbindings: *a', 'p.yaml:1:11: anchors are not supported: write the value out, and quote a text that begins with &'],
    ['the same key twice', 'roles: {}\nroles: {}', 'p.yaml:2:1: the key roles stands here twice: keep one'],
    ['a key into a prototype', 'roles: { __proto__: {} }', 'p.yaml:1:10: the key __proto__ is not allowed'],
    ['two documents', 'roles: {}\n---\nroles: {}', 'p.yaml:2:1: more than one YAML document: keep one and remove the --- line'],
    ['a text instead of a map', 'all', 'p.yaml:1:1: invalid input: expected object, received string'],
    ['a bad rate', role('limits: { calls: 100 per minute }'), 'p.yaml:3:15: roles.r.limits.calls: must be a rate such as 100/min (per s, min, h or d)'],
    ['a binding to an unknown role', 'roles: { r: {} }\nbindings: [{ role: s, when: { commonName: x } }]', 'p.yaml:2:14: bindings[0].role[0]: no role is named s: add it under roles, or bind to r'],
    ['a binding without role', 'roles: { r: {} }\nbindings: [{ when: { commonName: x } }]', 'p.yaml:2:12: bindings[0]: names no role: add role: NAME'],
    ['an empty when', 'roles: { r: {} }\nbindings: [{ role: r, when: {} }]', 'p.yaml:2:23: bindings[0].when: has no condition and would match every certificate: add one, such as organizationalUnit; if every certificate is meant, write dangerouslyAnyCertificate: true'],
    ['an empty list of values', 'roles: { r: {} }\nbindings: [{ role: r, when: { commonName: [] } }]', 'p.yaml:2:31: bindings[0].when.commonName: name at least one value'],
    ['everybody and somebody', 'roles: { r: {} }\nbindings: [{ role: r, when: { dangerouslyAnyCertificate: true, commonName: x } }]', 'p.yaml:2:23: bindings[0].when: dangerouslyAnyCertificate stands alone, or with trust: remove it or the other conditions'],
    ['a wildcard in a thumbprint', 'roles: { r: {} }\nbindings: [{ role: r, when: { thumbprint: "ab*" } }]', 'p.yaml:2:31: bindings[0].when.thumbprint: must be the SHA-256 of a certificate in hexadecimal, without wildcards'],
    ['an unknown keyword in a schema', role('grants:\n  - { upstream: a, tools: [{ name: x, arguments: { propertys: {} } }] }'), 'p.yaml:4:43: roles.r.grants[0].tools[0].arguments: not a usable JSON Schema (draft 2020-12): unknown keyword: "propertys"'],
    ['a wrong keyword value', role('grants:\n  - { upstream: a, tools: [{ name: x, arguments: { required: sql } }] }'), 'p.yaml:4:43: roles.r.grants[0].tools[0].arguments: not a usable JSON Schema (draft 2020-12): at /required must be array'],
    ['an unknown format', role('grants:\n  - { upstream: a, tools: [{ name: x, arguments: { properties: { m: { type: string, format: email } } } }] }'), 'p.yaml:4:43: roles.r.grants[0].tools[0].arguments: not a usable JSON Schema (draft 2020-12): unknown format "email" ignored: use pattern instead of format'],
    ['a keyword without type', role('grants:\n  - { upstream: a, tools: [{ name: x, arguments: { properties: { n: { maximum: 5 } } } }] }'), 'p.yaml:4:43: roles.r.grants[0].tools[0].arguments: not a usable JSON Schema (draft 2020-12): missing type "number" for keyword "maximum": say which type is meant, otherwise other types pass unchecked'],
    ['a reference that leads nowhere', role('grants:\n  - { upstream: a, tools: [{ name: x, arguments: { properties: { n: { $ref: "https://evil.example/schema" } } } }] }'), "p.yaml:4:43: roles.r.grants[0].tools[0].arguments: not a usable JSON Schema (draft 2020-12): can't resolve reference https://evil.example/schema from id #"],
  ])('%s', (_what, text, message) => {
    const error = refusal(text);
    expect(error.code).toBe('ERR_POLICY_INVALID');
    expect(error.message).toBe(message);
  });

  it('more than 1 MiB', () => {
    expect(refusal(`# ${'x'.repeat(1024 * 1024)}`).message).toBe('p.yaml:1:1: longer than 1024 KiB: split what it holds or remove what is not needed');
  });

  it('all of its problems, in the order of the file', () => {
    expect(refusal('bindings: [{ role: r, wen: {} }]\nroles: { r: { grant: [] } }').message.split('\n').map((line) => line.split(': ')[0])).toEqual(['p.yaml:1:12', 'p.yaml:1:23', 'p.yaml:2:15'].slice(0, 3));
  });

  it('with facts for machines', () => {
    expect(refusal('roles: { r: { x: 1 } }').facts).toMatchObject({ file: 'p.yaml', line: 1, column: 15, path: 'roles.r.x' });
  });
});

describe('hostile YAML', () => {
  it.each([
    ['brackets', '['.repeat(500_000)],
    ['less deep brackets', '[{a: '.repeat(400)],
    ['nested lists', `${'- '.repeat(20_000)}a`],
    ['nested keys', `${'? '.repeat(20_000)}a`],
    ['an alias bomb', 'a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n'],
    ['a tag', 'roles: !!js/function "x"'],
    ['a control character', 'roles: "\u0007"'],
  ])('%s is refused with a code', (_what, text) => {
    expect(refusal(text).code).toBe('ERR_POLICY_INVALID');
  });

  it('with very many keys is read in reasonable time', () => {
    const started = performance.now();
    expect(refusal(Array.from({ length: 40_000 }, (_, index) => `k${index}: 1`).join('\n')).code).toBe('ERR_POLICY_INVALID');
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it('whatever the text, the only failure is ERR_POLICY_INVALID', () => {
    const pieces = fc.array(fc.constantFrom('roles', 'bindings', ':', ' ', '\n', '  ', '- ', '{', '}', '[', ']', '*', '&a', '!!str', '"', "'", 'when', 'grants', 'upstream', 'tools', '#', '|', '>', '? ', ',', '\t', '---', '...', '1', 'null', '%', '@', '\u2028'), { maxLength: 40 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 200 }), fc.string({ unit: 'binary', maxLength: 100 }), pieces), (text) => {
        try {
          parsePolicy(text);
        } catch (error) {
          expect(error).toBeInstanceOf(SallyportError);
          expect((error as SallyportError).code).toBe('ERR_POLICY_INVALID');
        }
      }),
      { numRuns: 300 },
    );
  });

  it('whatever the structure, the only failure is ERR_POLICY_INVALID', () => {
    const value = fc.letrec((tie) => ({ node: fc.oneof(fc.constantFrom('*', 'a', 1, true, null, ''), fc.array(tie('node'), { maxLength: 3 }), fc.dictionary(fc.constantFrom('upstream', 'tools', 'name', 'arguments', 'grants', 'deny', 'limits', 'calls', 'role', 'when', 'commonName', 'type', 'properties', 'r'), tie('node'), { maxKeys: 4 })) })).node;
    fc.assert(
      fc.property(value, value, value, (grants, bindings, whole) => {
        for (const text of [JSON.stringify({ roles: { r: { grants } }, bindings }), JSON.stringify({ roles: { r: { grants: [{ upstream: 'a', tools: [{ name: 'x', arguments: grants }] }] } } }), JSON.stringify(whole)]) {
          try {
            parsePolicy(text);
          } catch (error) {
            expect((error as SallyportError).code).toBe('ERR_POLICY_INVALID');
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('a policy', () => {
  it('takes one value where a list may stand', () => {
    const policy = parsePolicy('roles: { r: { grants: { upstream: a, tools: x, prompts: p, resources: "**" } } }\nbindings: { role: r, when: { commonName: agent-7 } }');
    expect(authorize(grantsOf(policy, principal()), { kind: 'tool', upstream: 'a', name: 'x' }).effect).toBe('allow');
  });

  it('keeps limits for those who enforce them', () => {
    const policy = parsePolicy(role('limits: { calls: 100/min, concurrent: 4 }\ngrants: [{ upstream: a, tools: [x] }]'));
    expect(policy.roles.get('r')?.limits).toEqual({ calls: { count: 100, perMs: 60_000 }, concurrent: 4 });
  });

  it('is named by its text', () => {
    expect(parsePolicy('').revision).toMatch(/^[0-9a-f]{16}$/);
    expect(parsePolicy('').revision).not.toBe(parsePolicy('#').revision);
  });

  it('takes thumbprints and serials as OpenSSL prints them', () => {
    const policy = parsePolicy(`roles: { r: { grants: [{ upstream: a, tools: [x] }] } }\nbindings:\n  - { role: r, when: { thumbprint: "${'BB:'.repeat(31)}BB", serial: "00:01:AB" } }`);
    expect(grantsOf(policy, principal({ serial: '1ab' })).roles).toEqual([]);
    expect(grantsOf(policy, principal({ serial: '01ab' })).roles).toEqual(['r']);
  });
});
