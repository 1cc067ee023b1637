/** What a peer may send on purpose: the work stays bounded, whatever it is. */
import { describe, expect, test } from 'vitest';
import { defaultLimits } from '../../../../ca/x509/path/budget.ts';
import { ANY_POLICY } from '../../../../ca/x509/path/policy-extension.ts';
import { verifyPath } from '../../../../ca/x509/path/verify-path.ts';
import { makeKey } from '../authority-fixture.ts';
import { AT, authority, constraints, issuing, keyNumber, leaf, policies, policyMappings, root } from './path-fixture.ts';
import type { CertificateParts, Issued } from './path-fixture.ts';
import type { PathOptions } from '../../../../ca/x509/path/verify-path.ts';

/** Generous on a busy machine; unbounded, each of these would take minutes or for ever. */
const BOUND_MS = 3_000;
const BOUND_OCTETS = 128 * 1024 * 1024;

const timed = (of: Issued, options: Partial<PathOptions>) => {
  const started = performance.now();
  const held = process.memoryUsage().heapUsed;
  const verdict = verifyPath(of.certificate, { anchors: [root.certificate], at: AT, purpose: 'any', onUnknownStatus: 'allow', ...options });
  expect(performance.now() - started).toBeLessThan(BOUND_MS);
  expect(process.memoryUsage().heapUsed - held).toBeLessThan(BOUND_OCTETS);
  return verdict.ok ? 'ok' : verdict.code;
};

/** Every one of `count` CAs signed by every one. */
const mesh = (count: number, parts: CertificateParts = {}): readonly Issued[] => {
  const selves = Array.from({ length: count }, (_, index) => authority(`Mesh ${index}`, { key: keyNumber(index), ...parts }));
  return selves.flatMap((issuer, by) => selves.flatMap((_, of) => (of === by ? [] : [authority(`Mesh ${of}`, { key: keyNumber(of), issuer, ...parts })])));
};

const certificates = (all: readonly Issued[]) => all.map(({ certificate }) => certificate);

describe('a mesh of cross-signed CAs', () => {
  test.each([['with key identifiers', {}], ['without', { keyIdentifiers: 'absent' }]] as const)('that leads nowhere, %s', (_what, parts) => {
    const all = mesh(8, parts);
    const [first] = all;
    if (first === undefined) throw new Error('no mesh');
    expect(timed(leaf(first, parts), { intermediates: certificates(all) })).toBe('ERR_PATH_LIMIT');
  });
  test('with an anchor in it leads there', () => {
    const all = mesh(7);
    const [first] = all;
    if (first === undefined) throw new Error('no mesh');
    const door = authority('Mesh 3', { key: keyNumber(3), issuer: root });
    expect(timed(leaf(first), { intermediates: [...certificates(all), door.certificate] })).toBe('ok');
  });
  test('whose every path to the anchor fails', () => {
    const all = mesh(7);
    const [first] = all;
    if (first === undefined) throw new Error('no mesh');
    const door = authority('Mesh 3', { key: keyNumber(3), issuer: root, extensions: [constraints({ permitted: [{ kind: 'uri', base: 'elsewhere.test' }] })] });
    expect(timed(leaf(first), { intermediates: [...certificates(all), door.certificate] })).toBe('ERR_PATH_LIMIT');
  });
});

describe('many issuers of one name', () => {
  const many = (count: number, parts: CertificateParts = {}) => Array.from({ length: count }, (_, index) => authority('Issuing', { issuer: root, key: keyNumber(index + 2), keyIdentifiers: 'absent', notBefore: new Date(Date.UTC(2026, 0, 1, 0, 0, index)), ...parts }).certificate);
  test('are tried up to the limit of signatures', () => {
    const nameless = leaf(issuing, { keyIdentifiers: 'absent', signedWith: makeKey('p256') });
    const distinct = Array.from({ length: 12 }, () => authority('Issuing', { issuer: root, key: makeKey('p256'), keyIdentifiers: 'absent' }).certificate);
    expect(timed(nameless, { intermediates: distinct, limits: { signatures: 12 } })).toBe('ERR_PATH_SIGNATURE');
    expect(timed(nameless, { intermediates: distinct, limits: { signatures: 11 } })).toBe('ERR_PATH_LIMIT');
  });
  test('a signature is checked once per key, however many certificates hold it', () => {
    const forged = leaf(issuing, { keyIdentifiers: 'absent', signedWith: keyNumber(6) });
    expect(timed(forged, { intermediates: many(63, { key: keyNumber(2) }), limits: { signatures: 1 } })).toBe('ERR_PATH_SIGNATURE');
    expect(timed(forged, { intermediates: many(63, { key: keyNumber(2) }), limits: { candidates: 63 } })).toBe('ERR_PATH_SIGNATURE');
    expect(timed(forged, { intermediates: many(63, { key: keyNumber(2) }), limits: { candidates: 62 } })).toBe('ERR_PATH_LIMIT');
  });
  test('complete paths that fail are counted', () => {
    const confined = many(5, { key: keyNumber(1), extensions: [constraints({ permitted: [{ kind: 'uri', base: 'elsewhere.test' }] })] });
    expect(timed(leaf(issuing), { intermediates: confined, limits: { paths: 5 } })).toBe('ERR_PATH_NAME');
    expect(timed(leaf(issuing), { intermediates: confined, limits: { paths: 4 } })).toBe('ERR_PATH_LIMIT');
  });
  test('more than the limit are not looked at', () => {
    expect(timed(leaf(issuing), { intermediates: many(65) })).toBe('ERR_PATH_LIMIT');
    expect(timed(leaf(issuing), { intermediates: [...many(63), issuing.certificate] })).toBe('ok');
  });
  test('the one whose key identifier fits is found among them', () => {
    expect(timed(leaf(issuing), { intermediates: [...many(63, { signedWith: keyNumber(6) }), issuing.certificate], limits: { signatures: 10 } })).toBe('ok');
  });
});

describe('depth', () => {
  const chain = (length: number): readonly Issued[] => {
    const made: Issued[] = [root];
    for (let index = 1; index <= length; index++) made.push(authority(`Level ${index}`, { issuer: made.at(-1), key: keyNumber(index) }));
    return made.slice(1);
  };
  test.each([
    [defaultLimits.certificates - 2, 'ok'],
    [defaultLimits.certificates - 1, 'ERR_PATH_LIMIT'],
  ])('%i CAs between the anchor and the leaf', (length, expected) => {
    const all = chain(length);
    expect(timed(leaf(all.at(-1)), { intermediates: certificates(all) })).toBe(expected);
  });
});

test('thousands of names against thousands of constraints are too many', () => {
  const excluded = Array.from({ length: 1000 }, (_, index) => ({ kind: 'dns', base: `x${index}.test` }) as const);
  const ca = authority('Confined', { issuer: root, key: keyNumber(2), extensions: [constraints({ excluded })] });
  const target = leaf(ca, { names: { dnsNames: Array.from({ length: 250 }, (_, index) => `host${index}.acme.test`) } });
  expect(timed(target, { intermediates: [ca.certificate] })).toBe('ERR_PATH_LIMIT');
  expect(timed(target, { intermediates: [ca.certificate], limits: { comparisons: 300_000 } })).toBe('ok');
});

test('long bases and names are compared in bounded time', () => {
  const excluded = Array.from({ length: 150 }, (_, index) => ({ kind: 'dns', base: `${'a'.repeat(300)}${index}` }) as const);
  const ca = authority('Confined', { issuer: root, key: keyNumber(2), extensions: [constraints({ excluded })] });
  expect(timed(leaf(ca, { names: { dnsNames: Array.from({ length: 30 }, (_, index) => `${'a-'.repeat(1000)}${index}`) } }), { intermediates: [ca.certificate] })).toBe('ERR_PATH_NAME');
});

test('policies that would double at each level do not', () => {
  const names = Array.from({ length: 8 }, (_, index) => `1.2.3.${index}`);
  const everything = names.flatMap((from) => names.slice(0, 4).map((to) => [from, to] as const));
  const made: Issued[] = [root];
  for (let index = 1; index <= 6; index++) made.push(authority(`Level ${index}`, { issuer: made.at(-1), key: keyNumber(index), extensions: [policies([...names, ANY_POLICY]), policyMappings(everything)] }));
  const intermediates = certificates(made.slice(1));
  expect(timed(leaf(made.at(-1), { extensions: [policies(names)] }), { intermediates, policy: { explicitPolicy: 'required' } })).toBe('ok');
});
