/** Names and the subtrees that confine them (RFC 5280 §4.2.1.10). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { element, sequence } from '../../../../ca/x509/der.ts';
import { EXTENSION, encodeExtension } from '../../../../ca/x509/extension.ts';
import { authority, constraints, generalName, judge, keyNumber, leaf, named, root } from './path-fixture.ts';
import type { Base } from './path-fixture.ts';
import type { GeneralNamesInput } from '../../../../ca/x509/extension.ts';
import type { DistinguishedName } from '../../../../ca/x509/name.ts';

interface Confined {
  readonly permitted?: readonly Base[];
  readonly excluded?: readonly Base[];
  readonly names?: GeneralNamesInput;
  readonly subject?: DistinguishedName;
  /** subjectAltName in DER names, in place of `names`. */
  readonly raw?: readonly Uint8Array[];
}

function verdict({ permitted, excluded, names, subject, raw }: Confined): string {
  const ca = authority('Confined', { issuer: root, key: keyNumber(2), extensions: [constraints({ ...(permitted === undefined ? {} : { permitted }), ...(excluded === undefined ? {} : { excluded }) })] });
  const target = leaf(ca, {
    ...(raw === undefined ? { names: names ?? null } : { names: null, extensions: [encodeExtension(EXTENSION.subjectAltName, 'nonCritical', sequence(...raw))] }),
    ...(subject === undefined ? {} : { subject }),
  });
  const found = judge(target.certificate, { intermediates: [ca.certificate], purpose: 'any' });
  return found === 'ok' ? 'ok' : found === 'ERR_PATH_NAME' ? 'no' : found;
}

const dns = (base: string): Base => ({ kind: 'dns', base });
const uri = (base: string): Base => ({ kind: 'uri', base });
const email = (base: string): Base => ({ kind: 'email', base });
const ip = (...base: readonly number[]): Base => ({ kind: 'ip', base });
const zeros = (count: number): readonly number[] => Array.from({ length: count }, () => 0);
/** 2001:db8::/32. */
const documentation = ip(0x20, 1, 0xd, 0xb8, ...zeros(12), 255, 255, 255, 255, ...zeros(12));

/** For a name and a base: what a permitted and what an excluded subtree of that base do. */
type Row = readonly [name: string, base: string, permitted: 'ok' | 'no', excluded: 'ok' | 'no'];

const judgeRow = (kind: 'dnsNames' | 'uris' | 'emails', make: (base: string) => Base) => ([name, base, permitted, excluded]: Row) => {
  expect([verdict({ permitted: [make(base)], names: { [kind]: [name] } }), verdict({ excluded: [make(base)], names: { [kind]: [name] } })]).toEqual([permitted, excluded]);
};

describe('dNSName', () => {
  test.each<Row>([
    ['example.com', 'example.com', 'ok', 'no'],
    ['www.example.com', 'example.com', 'ok', 'no'],
    ['a.b.example.com', 'example.com', 'ok', 'no'],
    ['EXAMPLE.com', 'example.COM', 'ok', 'no'],
    ['badexample.com', 'example.com', 'no', 'ok'],
    ['example.com.evil.test', 'example.com', 'no', 'ok'],
    ['com', 'example.com', 'no', 'ok'],
    ['www.example.com', '.example.com', 'ok', 'no'],
    ['example.com', '.example.com', 'no', 'no'],
    ['anything.test', '', 'ok', 'no'],
    ['*.example.com', 'example.com', 'ok', 'no'],
    ['*.example.com', 'www.example.com', 'no', 'no'],
    ['*.example.com', 'a.www.example.com', 'no', 'no'],
    ['*.com', 'example.com', 'no', 'no'],
    ['*.example.com', 'example.net', 'no', 'ok'],
    ['w*.example.com', 'example.com', 'no', 'no'],
    ['example.com.', 'example.com', 'no', 'no'],
    ['my_host.example.com', 'example.com', 'ok', 'no'],
    ['www.example.com', '*.example.com', 'no', 'no'],
  ])('%s under %s: permitted %s, excluded %s', (...row) => {
    judgeRow('dnsNames', dns)(row);
  });
});

describe('URI', () => {
  test.each<Row>([
    ['spiffe://acme.test/agent/a', 'acme.test', 'ok', 'no'],
    ['https://ACME.test:8443/x?y#z', 'acme.TEST', 'ok', 'no'],
    ['spiffe://sub.acme.test/agent/a', 'acme.test', 'no', 'ok'],
    ['spiffe://sub.acme.test/agent/a', '.acme.test', 'ok', 'no'],
    ['spiffe://acme.test/agent/a', '.acme.test', 'no', 'ok'],
    ['spiffe://notacme.test/agent/a', '.acme.test', 'no', 'ok'],
    ['urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6', 'acme.test', 'no', 'no'],
    ['https://10.0.0.1/', 'acme.test', 'no', 'no'],
    ['https://[2001:db8::1]/', 'acme.test', 'no', 'no'],
    ['https://acme.test@evil.test/', 'acme.test', 'no', 'no'],
    ['https:///acme.test', 'acme.test', 'no', 'no'],
    ['https://acme%2etest/', 'acme.test', 'no', 'no'],
    ['https://evil.test/acme.test', 'acme.test', 'no', 'ok'],
    ['https://evil.test\\.acme.test/', '.acme.test', 'no', 'no'],
  ])('%s under %s: permitted %s, excluded %s', (...row) => {
    judgeRow('uris', uri)(row);
  });
});

describe('rfc822Name', () => {
  test.each<Row>([
    ['a@acme.test', 'acme.test', 'ok', 'no'],
    ['a@ACME.test', 'acme.test', 'ok', 'no'],
    ['a@mail.acme.test', 'acme.test', 'no', 'ok'],
    ['a@mail.acme.test', '.acme.test', 'ok', 'no'],
    ['a@acme.test', '.acme.test', 'no', 'ok'],
    ['a@acme.test', 'a@acme.test', 'ok', 'no'],
    ['b@acme.test', 'a@acme.test', 'no', 'ok'],
    // The case of the part before the @ counts where it permits, and not where it excludes.
    ['A@acme.test', 'a@acme.test', 'no', 'no'],
    ['"a@b"@acme.test', 'acme.test', 'no', 'no'],
    ['acme.test', 'acme.test', 'no', 'no'],
    ['a@b@acme.test', 'acme.test', 'no', 'no'],
    ['a@anywhere.test', '', 'ok', 'no'],
  ])('%s under %s: permitted %s, excluded %s', (...row) => {
    judgeRow('emails', email)(row);
  });
  test('an emailAddress in the subject is confined, with an alternative name beside it too', () => {
    const subject: DistinguishedName = [...named('agent-7'), [{ type: 'emailAddress', value: 'a@evil.test' }]];
    expect(verdict({ permitted: [email('acme.test')], subject })).toBe('no');
    expect(verdict({ permitted: [email('acme.test')], subject, names: { emails: ['a@acme.test'] } })).toBe('no');
    expect(verdict({ permitted: [email('evil.test')], subject })).toBe('ok');
  });
  test('an internationalized address is refused where addresses are confined', () => {
    const smtpUtf8 = element(0xa0, Uint8Array.from([6, 8, 0x2b, 6, 1, 5, 5, 7, 8, 9]), element(0xa0, element(12, Buffer.from('ü@acme.test'))));
    expect(verdict({ permitted: [email('acme.test')], raw: [smtpUtf8] })).toBe('no');
    expect(verdict({ permitted: [dns('acme.test')], raw: [smtpUtf8] })).toBe('ok');
  });
});

describe('iPAddress', () => {
  test.each([
    ['10.1.2.3', ip(10, 0, 0, 0, 255, 0, 0, 0), 'ok', 'no'],
    ['11.1.2.3', ip(10, 0, 0, 0, 255, 0, 0, 0), 'no', 'ok'],
    ['10.0.0.127', ip(10, 0, 0, 0, 255, 255, 255, 128), 'ok', 'no'],
    ['10.0.0.128', ip(10, 0, 0, 0, 255, 255, 255, 128), 'no', 'ok'],
    // Host bits in the base are ignored.
    ['10.9.9.9', ip(10, 1, 2, 3, 255, 0, 0, 0), 'ok', 'no'],
    ['192.0.2.1', ip(0, 0, 0, 0, 0, 0, 0, 0), 'ok', 'no'],
    ['2001:db8::1', ip(10, 0, 0, 0, 255, 0, 0, 0), 'no', 'ok'],
    ['2001:db8::1', documentation, 'ok', 'no'],
    ['2001:db9::1', documentation, 'no', 'ok'],
  ] as const)('%s: permitted and excluded', (address, range, permitted, excluded) => {
    const names = { ipAddresses: [address] };
    expect([verdict({ permitted: [range], names }), verdict({ excluded: [range], names })]).toEqual([permitted, excluded]);
  });
});

describe('directoryName', () => {
  const base = (...rdns: DistinguishedName): Base => ({ kind: 'directory', base: rdns });
  const subject: DistinguishedName = [[{ type: 'O', value: 'Acme' }], [{ type: 'OU', value: 'analytics' }], [{ type: 'CN', value: 'agent-7' }]];
  test.each([
    ['its first RDN', [base([{ type: 'O', value: 'acme ' }])], 'ok', 'no'],
    ['its first two', [base([{ type: 'O', value: 'Acme' }], [{ type: 'OU', value: 'analytics' }])], 'ok', 'no'],
    ['the whole', [base(...subject)], 'ok', 'no'],
    ['more than the whole', [base(...subject, [{ type: 'CN', value: 'x' }])], 'no', 'ok'],
    ['one from the middle', [base([{ type: 'OU', value: 'analytics' }])], 'no', 'ok'],
    ['another', [base([{ type: 'O', value: 'Acme Inc' }])], 'no', 'ok'],
    ['nothing, which is everything', [base()], 'ok', 'no'],
  ])('%s', (_what, bases, permitted, excluded) => {
    expect([verdict({ permitted: bases, subject }), verdict({ excluded: bases, subject })]).toEqual([permitted, excluded]);
  });
  test('one in subjectAltName is confined as the subject is', () => {
    const raw = [generalName(base([{ type: 'O', value: 'Evil' }]))];
    expect(verdict({ permitted: [base([{ type: 'O', value: 'Acme' }])], subject, raw })).toBe('no');
    expect(verdict({ excluded: [base([{ type: 'O', value: 'Evil' }])], subject, raw })).toBe('no');
  });
});

describe('several', () => {
  test('a kind that is not mentioned is free', () => {
    expect(verdict({ permitted: [dns('acme.test')], names: { uris: ['spiffe://anywhere.test/a'] } })).toBe('ok');
  });
  test('each name must be permitted, by any subtree of its kind', () => {
    expect(verdict({ permitted: [dns('a.test'), dns('b.test')], names: { dnsNames: ['x.a.test', 'x.b.test'] } })).toBe('ok');
    expect(verdict({ permitted: [dns('a.test'), dns('b.test')], names: { dnsNames: ['x.a.test', 'x.c.test'] } })).toBe('no');
  });
  test('a subtree that makes no sense refuses, beside one that permits too', () => {
    expect(verdict({ permitted: [dns('a.test'), dns('*.b.test')], names: { dnsNames: ['a.test'] } })).toBe('no');
  });
  test('excluded wins', () => {
    expect(verdict({ permitted: [dns('a.test')], excluded: [dns('secret.a.test')], names: { dnsNames: ['secret.a.test'] } })).toBe('no');
  });
  test('a kind that is not supported is refused only where it occurs', () => {
    const other: Base = { kind: 'other' };
    expect(verdict({ permitted: [other], names: { dnsNames: ['a.test'] } })).toBe('ok');
    expect(verdict({ permitted: [other], raw: [generalName(other)] })).toBe('no');
    expect(verdict({ excluded: [other], raw: [generalName(other)] })).toBe('no');
    expect(verdict({ permitted: [dns('a.test')], raw: [generalName(other)] })).toBe('ok');
  });
  test('constraints that are not critical count as well', () => {
    const ca = authority('Confined', { issuer: root, key: keyNumber(2), extensions: [constraints({ permitted: [uri('elsewhere.test')] }, 'nonCritical')] });
    expect(judge(leaf(ca).certificate, { intermediates: [ca.certificate] })).toBe('ERR_PATH_NAME');
  });
  test('every authority above confines, the anchor included, and a CA below by its own name', () => {
    const confinedRoot = authority('Confined Root', { key: keyNumber(3), extensions: [constraints({ permitted: [uri('acme.test'), { kind: 'directory', base: [[{ type: 'O', value: 'Acme' }]] }] })] });
    const middle = authority('Middle', { issuer: confinedRoot, key: keyNumber(4), extensions: [constraints({ permitted: [uri('other.test'), uri('acme.test')] })] });
    const outsider = authority([[{ type: 'O', value: 'Evil' }]], { issuer: confinedRoot, key: keyNumber(5) });
    const options = { anchors: [confinedRoot.certificate], intermediates: [middle.certificate, outsider.certificate] };
    expect(judge(leaf(middle).certificate, options)).toBe('ok');
    expect(judge(leaf(middle, { names: { uris: ['spiffe://other.test/a'] } }).certificate, options)).toBe('ERR_PATH_NAME');
    expect(judge(leaf(outsider).certificate, options)).toBe('ERR_PATH_NAME');
  });
});

describe('for any names', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);
  const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));

  test('no name is both within what is permitted and free of the same exclusion', () => {
    fc.assert(
      fc.property(host, host, fc.constantFrom('', '.', '*.'), fc.constantFrom('', '.'), (name, base, wild, dot) => {
        const text = (wild === '*.' ? wild : '') + name;
        if (verdict({ permitted: [dns(dot + base)], names: { dnsNames: [text] } }) === 'ok') expect(verdict({ excluded: [dns(dot + base)], names: { dnsNames: [text] } })).toBe('no');
      }),
      { numRuns: 60 },
    );
  });

  test('what lies below a permitted name is permitted, and below an excluded one excluded', () => {
    fc.assert(
      fc.property(host, host, (above, below) => {
        const names = { dnsNames: [`${below}.${above}`] };
        expect([verdict({ permitted: [dns(above)], names }), verdict({ excluded: [dns(above)], names })]).toEqual(['ok', 'no']);
        expect(verdict({ permitted: [uri(`.${above}`)], names: { uris: [`spiffe://${below}.${above}/x`] } })).toBe('ok');
      }),
      { numRuns: 40 },
    );
  });
});
