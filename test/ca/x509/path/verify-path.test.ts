/** Each rule of a path on both sides of its boundary. */
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../../../ca/errors.ts';
import { parseCertificate } from '../../../../ca/x509/certificate.ts';
import { DerReader, contextTag, element, integer, nullValue, oid, sequence } from '../../../../ca/x509/der.ts';
import { EXTENSION, encodeExtension, encodeExtendedKeyUsage, encodeSubjectAltName, readExtension } from '../../../../ca/x509/extension.ts';
import { verifyPath } from '../../../../ca/x509/path/verify-path.ts';
import { profileProblem } from '../../../../src/tls/peer-profile.ts';
import { makeKey } from '../authority-fixture.ts';
import { AT, UNTIL, authority, constraints, inhibitAnyPolicy, issuing, judge, keyNumber, leaf, named, policies, policyConstraints, policyMappings, root } from './path-fixture.ts';
import type { Issued } from './path-fixture.ts';
import type { PathRefusal } from '../../../../ca/x509/path/verdict.ts';
import type { PathOptions } from '../../../../ca/x509/path/verify-path.ts';

const unknownCritical = encodeExtension('1.3.6.1.4.1.99999.1', 'critical', nullValue());
const unknownNonCritical = encodeExtension('1.3.6.1.4.1.99999.1', 'nonCritical', nullValue());

const refusal = (of: Issued, options: Partial<PathOptions> = {}): PathRefusal => {
  const verdict = verifyPath(of.certificate, { anchors: [root.certificate], intermediates: [issuing.certificate], at: AT, purpose: 'client', onUnknownStatus: 'allow', ...options });
  if (verdict.ok) throw new Error('accepted');
  return verdict;
};

test('a path is the certificate, its issuers, and the anchor beside them', () => {
  const target = leaf(issuing);
  const verdict = verifyPath(target.certificate, { anchors: [root.certificate], intermediates: [issuing.certificate], at: AT, purpose: 'client', onUnknownStatus: 'allow' });
  if (!verdict.ok) throw new Error(verdict.reason);
  expect(verdict.path).toEqual([target.certificate, issuing.certificate]);
  expect(verdict.anchor).toBe(root.certificate);
  expect(verdict.expiresAt).toEqual(new Date(UNTIL.getTime() + 1000));
  expect(verdict.warnings.map(({ at, text }) => [at, text])).toEqual([
    [issuing.certificate, 'nobody says whether it was revoked: nothing was given that says so'],
    [target.certificate, 'nobody says whether it was revoked: nothing was given that says so'],
  ]);
});

test('without a word about status a path is refused, unless that is asked for', () => {
  const target = leaf(issuing);
  expect(judge(target.certificate, { onUnknownStatus: 'deny' })).toBe('ERR_PATH_STATUS_UNKNOWN');
  expect(judge(target.certificate, { onUnknownStatus: 'allow' })).toBe('ok');
});

describe('time, to the second', () => {
  const target = leaf(issuing, { notBefore: new Date('2026-06-01T00:00:00Z'), notAfter: new Date('2026-07-01T00:00:00Z') }).certificate;
  test.each([
    ['a millisecond before notBefore', '2026-05-31T23:59:59.999Z', 'ERR_PATH_NOT_YET_VALID'],
    ['notBefore', '2026-06-01T00:00:00Z', 'ok'],
    ['the last millisecond of the second of notAfter', '2026-07-01T00:00:00.999Z', 'ok'],
    ['a second after notAfter', '2026-07-01T00:00:01Z', 'ERR_PATH_EXPIRED'],
  ])('%s', (_what, at, expected) => {
    expect(judge(target, { at: new Date(at) })).toBe(expected);
  });

  test('an expired issuing CA is named', () => {
    const old = authority('Old', { issuer: root, key: keyNumber(2), notAfter: new Date('2026-11-21T11:59:58Z') });
    const found = refusal(leaf(old), { intermediates: [old.certificate] });
    expect(found).toMatchObject({ code: 'ERR_PATH_EXPIRED', reason: 'it was valid until 2026-11-21T11:59:58Z', clause: 'RFC 5280 §6.1.3 (a)(2)', at: old.certificate });
  });

  test('an anchor that is not valid yet is refused too', () => {
    const young = authority('Young', { key: keyNumber(2), notBefore: new Date('2026-11-21T12:00:01Z') });
    expect(judge(leaf(young).certificate, { anchors: [young.certificate] })).toBe('ERR_PATH_NOT_YET_VALID');
    expect(judge(leaf(young).certificate, { anchors: [young.certificate], at: new Date('2026-11-21T12:00:01Z') })).toBe('ok');
  });

  test('a date that is none is an error of the caller', () => {
    expect(() => judge(target, { at: new Date(NaN) })).toThrow(TypeError);
  });
});

describe('names and signatures', () => {
  test('names chain by RFC 5280 §7.1: case and blanks do not matter', () => {
    expect(judge(leaf(issuing, { issuerName: [[{ type: 'O', value: 'ACME' }], [{ type: 'CN', value: ' issuing ' }]] }).certificate)).toBe('ok');
  });
  test('the order of RDNs does', () => {
    expect(judge(leaf(issuing, { issuerName: named('Issuing').toReversed() }).certificate)).toBe('ERR_PATH_INCOMPLETE');
  });
  test('the right name with another key is a bad signature, which blames the certificate', () => {
    const forged = leaf(issuing, { signedWith: keyNumber(5) });
    expect(refusal(forged)).toMatchObject({ code: 'ERR_PATH_SIGNATURE', reason: 'it was not signed with the key of CN=Issuing,O=Acme that is known here', at: forged.certificate });
  });
  test('a forged issuing CA is blamed in place of the leaf', () => {
    const forged = authority('Issuing', { issuer: root, key: keyNumber(1), signedWith: keyNumber(5) });
    expect(refusal(leaf(forged), { intermediates: [forged.certificate] })).toMatchObject({ code: 'ERR_PATH_SIGNATURE', at: forged.certificate });
  });
  test('the key identifier picks one of two keys of one name', () => {
    const other = authority('Issuing', { issuer: root, key: keyNumber(2) });
    expect(judge(leaf(issuing).certificate, { intermediates: [other.certificate, issuing.certificate] })).toBe('ok');
    expect(refusal(leaf(issuing), { intermediates: [other.certificate] })).toMatchObject({ code: 'ERR_PATH_INCOMPLETE', reason: 'of its issuer CN=Issuing,O=Acme only other keys are known than the one it names' });
  });
  test('without key identifiers each key of the name is tried', () => {
    const bare = authority('Issuing', { issuer: root, key: keyNumber(1), keyIdentifiers: 'absent' });
    const other = authority('Issuing', { issuer: root, key: keyNumber(2), keyIdentifiers: 'absent' });
    expect(judge(leaf(bare, { keyIdentifiers: 'absent' }).certificate, { intermediates: [other.certificate, bare.certificate], purpose: 'any' })).toBe('ok');
  });
  test('a missing intermediate is said by name', () => {
    expect(refusal(leaf(issuing), { intermediates: [] })).toMatchObject({ code: 'ERR_PATH_INCOMPLETE', reason: 'its issuer CN=Issuing,O=Acme is neither a trust anchor nor among the certificates that came along' });
  });
  test('a self-signed certificate is not its own proof', () => {
    expect(refusal(leaf(undefined), { intermediates: [] })).toMatchObject({ code: 'ERR_PATH_INCOMPLETE', reason: 'it is self-issued and not among the trust anchors' });
    const lone = leaf(undefined);
    expect(judge(lone.certificate, { anchors: [lone.certificate] })).toBe('ERR_PATH_AUTHORITY');
  });
  test('an untrusted root among the intermediates does not become an anchor', () => {
    expect(judge(leaf(issuing).certificate, { anchors: [authority('Else', { key: keyNumber(3) }).certificate], intermediates: [issuing.certificate, root.certificate] })).toBe('ERR_PATH_INCOMPLETE');
  });
  test('an issuing CA can be the anchor itself', () => {
    expect(judge(leaf(issuing).certificate, { anchors: [issuing.certificate], intermediates: [] })).toBe('ok');
  });
  test('a cross-signed CA is followed to the anchor that is trusted', () => {
    const oldRoot = authority('Old Root', { key: keyNumber(3) });
    const cross = authority('Root', { issuer: oldRoot, key: keyNumber(0) });
    const target = leaf(issuing).certificate;
    expect(judge(target, { anchors: [oldRoot.certificate], intermediates: [root.certificate, issuing.certificate, cross.certificate] })).toBe('ok');
    expect(judge(target, { anchors: [oldRoot.certificate, root.certificate], intermediates: [issuing.certificate, cross.certificate] })).toBe('ok');
  });
  test('when one path fails another is tried', () => {
    const confined = authority('Issuing', { issuer: root, key: keyNumber(1), extensions: [constraints({ permitted: [{ kind: 'uri', base: 'elsewhere.test' }] })] });
    expect(judge(leaf(issuing).certificate, { intermediates: [confined.certificate] })).toBe('ERR_PATH_NAME');
    expect(judge(leaf(issuing).certificate, { intermediates: [confined.certificate, issuing.certificate] })).toBe('ok');
  });
});

describe('algorithms', () => {
  test.each(['p384', 'ed25519', 'rsa2048', 'ml-dsa-65'] as const)('%s keys sign and are signed', (algorithm) => {
    const top = authority('Top', { key: makeKey(algorithm) });
    const middle = authority('Middle', { issuer: top, key: keyNumber(1) });
    expect(judge(leaf(middle, { key: makeKey(algorithm) }).certificate, { anchors: [top.certificate], intermediates: [middle.certificate] })).toBe('ok');
  });
  test.each([
    ['RSA with 1024 bits', () => generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey],
    ['P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['secp256k1', () => generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey],
    ['RSA with exponent 3', () => generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).privateKey],
  ])('%s is refused as the key of the certificate', (_what, make) => {
    expect(refusal(leaf(issuing, { key: make() }))).toMatchObject({ code: 'ERR_PATH_ALGORITHM', clause: 'RFC 5280 §4.1.2.7' });
  });
  test('no signature is checked with a key that is not on the list', () => {
    const weak = authority('Weak', { issuer: root, key: generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey });
    expect(refusal(leaf(weak, { signedWith: keyNumber(5) }), { intermediates: [weak.certificate] })).toMatchObject({ code: 'ERR_PATH_ALGORITHM', at: weak.certificate });
  });
  test('a signature scheme that is not on the list is said by name of the certificate', () => {
    // ecdsa-with-SHA1, written over ecdsa-with-SHA256 inside and outside.
    const der = Buffer.from(leaf(issuing).certificate.der);
    const scheme = Buffer.from('300a06082a8648ce3d040302', 'hex');
    for (let at = der.indexOf(scheme); at !== -1; at = der.indexOf(scheme, at + 1)) der.set(Buffer.from('300a06082a8648ce3d040305', 'hex'), at);
    const weak = parseCertificate(Uint8Array.from(der));
    expect(refusal({ certificate: weak, key: keyNumber(0) })).toMatchObject({ code: 'ERR_PATH_ALGORITHM', at: weak, clause: 'RFC 5280 §6.1.3 (a)(1)' });
  });
});

describe('authorities', () => {
  const under = (parts: Parameters<typeof authority>[1]) => {
    const ca = authority('Other', { issuer: root, key: keyNumber(2), ...parts });
    return judge(leaf(ca).certificate, { intermediates: [ca.certificate] });
  };
  test.each([
    ['cA', {}, 'ok'],
    ['no basicConstraints', { basicConstraints: null }, 'ERR_PATH_AUTHORITY'],
    ['cA FALSE', { basicConstraints: { ca: false } }, 'ERR_PATH_AUTHORITY'],
    ['no keyUsage', { keyUsage: null }, 'ERR_PATH_AUTHORITY'],
    ['keyUsage without keyCertSign', { keyUsage: ['cRLSign', 'digitalSignature'] }, 'ERR_PATH_AUTHORITY'],
    ['keyUsage with keyCertSign alone', { keyUsage: ['keyCertSign'] }, 'ok'],
    ['an unknown critical extension', { extensions: [unknownCritical] }, 'ERR_PATH_EXTENSION'],
    ['an unknown extension that is not critical', { extensions: [unknownNonCritical] }, 'ok'],
    ['extendedKeyUsage for servers', { extendedKeyUsage: ['serverAuth'] }, 'ERR_PATH_PURPOSE'],
    ['extendedKeyUsage for clients and servers', { extendedKeyUsage: ['serverAuth', 'clientAuth'] }, 'ok'],
    ['anyExtendedKeyUsage', { extendedKeyUsage: ['anyExtendedKeyUsage'] }, 'ok'],
  ] as const)('%s', (_what, parts, expected) => {
    expect(under(parts)).toBe(expected);
  });
  test('an end entity issues nothing', () => {
    const agent = leaf(issuing, { key: keyNumber(4) });
    expect(judge(leaf(agent).certificate, { intermediates: [issuing.certificate, agent.certificate] })).toBe('ERR_PATH_AUTHORITY');
  });
  test('an anchor with an unknown critical extension issues nothing', () => {
    const odd = authority('Odd', { key: keyNumber(2), extensions: [unknownCritical] });
    expect(judge(leaf(odd).certificate, { anchors: [odd.certificate] })).toBe('ERR_PATH_EXTENSION');
  });
});

describe('pathLen', () => {
  /** A chain of CAs below the root, with the pathLen of each; the last one issues the leaf. */
  const chain = (...lengths: readonly (number | undefined | 'selfIssued')[]) => {
    const made: Issued[] = [];
    for (const [index, pathLen] of lengths.entries()) {
      const above = made.at(-1) ?? root;
      made.push(authority(pathLen === 'selfIssued' ? above.certificate.subject : `CA ${index}`, { issuer: above, key: keyNumber(index + 1), basicConstraints: { ca: true, ...(typeof pathLen === 'number' ? { pathLen } : {}) } }));
    }
    return judge(leaf(made.at(-1)).certificate, { intermediates: made.map(({ certificate }) => certificate) });
  };
  test.each([
    ['0 above a leaf', [0], 'ok'],
    ['0 above a CA', [0, undefined], 'ERR_PATH_LENGTH'],
    ['0 above a CA with 0', [0, 0], 'ERR_PATH_LENGTH'],
    ['1 above a CA', [1, undefined], 'ok'],
    ['1 above two CAs', [1, undefined, undefined], 'ERR_PATH_LENGTH'],
    ['one below may only tighten', [1, 5, 5], 'ERR_PATH_LENGTH'],
    ['self-issued certificates do not count', [0, 'selfIssued'], 'ok'],
    ['but what comes after them does', [0, 'selfIssued', undefined], 'ERR_PATH_LENGTH'],
  ] as const)('%s', (_what, lengths, expected) => {
    expect(chain(...lengths)).toBe(expected);
  });
  test('the pathLen of the anchor counts', () => {
    const flat = authority('Flat', { key: keyNumber(2), basicConstraints: { ca: true, pathLen: 0 } });
    const below = authority('Below', { issuer: flat, key: keyNumber(3) });
    expect(judge(leaf(flat).certificate, { anchors: [flat.certificate] })).toBe('ok');
    expect(judge(leaf(below).certificate, { anchors: [flat.certificate], intermediates: [below.certificate] })).toBe('ERR_PATH_LENGTH');
  });
});

describe('purpose', () => {
  test.each([
    ['client', {}, 'client', 'ok'],
    ['a client is no server', {}, 'server', 'ERR_PATH_PURPOSE'],
    ['server', { extendedKeyUsage: ['serverAuth'], names: { dnsNames: ['mcp.acme.test'] } }, 'server', 'ok'],
    ['both', { extendedKeyUsage: ['serverAuth', 'clientAuth'] }, 'server', 'ok'],
    ['no extendedKeyUsage', { extendedKeyUsage: null }, 'client', 'ERR_PATH_PURPOSE'],
    ['anyExtendedKeyUsage', { extendedKeyUsage: ['anyExtendedKeyUsage'] }, 'client', 'ERR_PATH_PURPOSE'],
    ['no keyUsage', { keyUsage: null }, 'client', 'ERR_PATH_PURPOSE'],
    ['keyEncipherment alone', { keyUsage: ['keyEncipherment'] }, 'server', 'ERR_PATH_PURPOSE'],
    ['keyUsage that signs CRLs', { keyUsage: ['digitalSignature', 'cRLSign'] }, 'client', 'ERR_PATH_PURPOSE'],
    ['keyCertSign without cA, for any too', { keyUsage: ['digitalSignature', 'keyCertSign'] }, 'any', 'ERR_PATH_EXTENSION'],
    ['no authorityKeyIdentifier', { keyIdentifiers: 'absent' }, 'client', 'ERR_PATH_PURPOSE'],
    ['any asks for no authorityKeyIdentifier', { keyIdentifiers: 'absent' }, 'any', 'ok'],
    ['no subjectAltName', { names: null }, 'client', 'ERR_PATH_PURPOSE'],
    ['any asks for none of it', { names: null, keyUsage: null, extendedKeyUsage: null, basicConstraints: null }, 'any', 'ok'],
    ['an unknown critical extension, for any too', { extensions: [unknownCritical] }, 'any', 'ERR_PATH_EXTENSION'],
  ] as const)('%s', (_what, parts, purpose, expected) => {
    expect(judge(leaf(issuing, parts).certificate, { purpose })).toBe(expected);
  });
  test('client asks for what the gateway asks of its peers', () => {
    fc.assert(
      fc.property(
        fc.record({
          keyUsage: fc.constantFrom(null, ['digitalSignature'], ['keyEncipherment'], ['digitalSignature', 'cRLSign'], ['digitalSignature', 'nonRepudiation']),
          extendedKeyUsage: fc.constantFrom(null, ['clientAuth'], ['serverAuth'], ['anyExtendedKeyUsage'], ['serverAuth', 'clientAuth']),
          names: fc.constantFrom(null, { uris: ['spiffe://acme.test/a'] }, { emails: ['a@acme.test'] }),
          basicConstraints: fc.constantFrom(null, { ca: false }, { ca: true }),
          keyIdentifiers: fc.constantFrom('present', 'absent'),
          extensions: fc.constantFrom([], [unknownCritical]),
        }),
        (parts) => {
          const { certificate } = leaf(issuing, parts as Parameters<typeof leaf>[1]);
          expect(judge(certificate) === 'ok').toBe(profileProblem(certificate) === undefined);
        },
      ),
      { numRuns: 120 },
    );
  });
  test('a CA certificate is verified for any purpose, and is no client', () => {
    expect(judge(issuing.certificate, { purpose: 'any' })).toBe('ok');
    expect(judge(issuing.certificate, { purpose: 'client' })).toBe('ERR_PATH_PURPOSE');
    expect(judge(root.certificate, { purpose: 'any' })).toBe('ok');
  });
});

describe('extensions that must make sense', () => {
  const raw = (dotted: string, value: Uint8Array) => encodeExtension(dotted, 'critical', value);
  test.each([
    ['certificatePolicies that repeat a policy', policies(['1.2.3', '1.2.3'])],
    ['certificatePolicies without a policy', raw(EXTENSION.certificatePolicies, sequence())],
    ['a critical qualifier that is not known', raw(EXTENSION.certificatePolicies, sequence(sequence(oid('1.2.3'), sequence(sequence(oid('1.2.4'), nullValue())))))],
    ['empty policyConstraints', policyConstraints({})],
    ['inhibitAnyPolicy below zero', raw(EXTENSION.inhibitAnyPolicy, Uint8Array.of(2, 1, 0xff))],
    ['policyMappings without a mapping', raw(EXTENSION.policyMappings, sequence())],
    ['empty nameConstraints', raw(EXTENSION.nameConstraints, sequence())],
    ['a subtree with a minimum', raw(EXTENSION.nameConstraints, sequence(element(contextTag(0), sequence(element(contextTag(2, 'primitive'), Buffer.from('a.test')), element(contextTag(0, 'primitive'), Uint8Array.of(1))))))],
    ['an IP range with a hole', constraints({ permitted: [{ kind: 'ip', base: [10, 0, 0, 0, 255, 0, 255, 0] }] })],
    ['an IP range of five octets', constraints({ permitted: [{ kind: 'ip', base: [10, 0, 0, 0, 255] }] })],
  ])('%s', (_what, extension) => {
    const ca = authority('Odd', { issuer: root, key: keyNumber(2), extensions: [extension] });
    expect(refusal(leaf(ca), { intermediates: [ca.certificate] })).toMatchObject({ code: 'ERR_CERTIFICATE_INVALID', at: ca.certificate });
  });
  test('known qualifiers in a critical extension are fine, and unknown ones elsewhere', () => {
    const cps = raw(EXTENSION.certificatePolicies, sequence(sequence(oid('1.2.3'), sequence(sequence(oid('1.3.6.1.5.5.7.2.1'), integer(1))))));
    expect(judge(leaf(issuing, { extensions: [cps] }).certificate)).toBe('ok');
    const unknown = encodeExtension(EXTENSION.certificatePolicies, 'nonCritical', sequence(sequence(oid('1.2.3'), sequence(sequence(oid('1.2.4'), nullValue())))));
    expect(judge(leaf(issuing, { extensions: [unknown] }).certificate)).toBe('ok');
  });
  test('nameConstraints in an end entity are refused', () => {
    expect(judge(leaf(issuing, { extensions: [constraints({ permitted: [{ kind: 'uri', base: 'acme.test' }] })] }).certificate)).toBe('ERR_PATH_EXTENSION');
  });
  test('a critical extendedKeyUsage and subjectAltName are understood', () => {
    const critical = encodeSubjectAltName({ uris: ['spiffe://acme.test/agent/a'] }, 'critical');
    expect(judge(leaf(issuing, { names: null, extensions: [critical] }).certificate)).toBe('ok');
    expect(judge(leaf(issuing, { extendedKeyUsage: null, extensions: [encodeExtendedKeyUsage(['clientAuth'])] }).certificate)).toBe('ok');
  });
});

test('whatever octets change, a certificate is refused or still says the same', () => {
  const target = leaf(issuing).certificate;
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(target.der.length - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 3 }), (changes) => {
      const der = Uint8Array.from(target.der);
      for (const [at, difference] of changes) der[at] = (der[at] ?? 0) ^ difference;
      let changed;
      try {
        changed = parseCertificate(der);
      } catch (error) {
        expect(error).toBeInstanceOf(CaError);
        return;
      }
      if (Buffer.compare(changed.der, target.der) !== 0) expect(judge(changed)).not.toBe('ok');
    }),
    { numRuns: 200 },
  );
});

test('whatever octets stand in the extensions of a CA, there is a verdict', () => {
  const good = [constraints({ permitted: [{ kind: 'uri', base: 'acme.test' }], excluded: [{ kind: 'ip', base: [10, 0, 0, 0, 255, 0, 0, 0] }, { kind: 'directory', base: named('x') }] }), policies(['1.2.3']), policyMappings([['1.2.3', '1.2.4']]), policyConstraints({ require: 1, inhibit: 0 }), inhibitAnyPolicy(0)];
  const known = good.map((extension) => readExtension(new DerReader(extension)));
  fc.assert(
    fc.property(fc.nat(known.length - 1), fc.oneof(fc.uint8Array({ maxLength: 12 }), fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { minLength: 1, maxLength: 3 })), (which, octets) => {
      const extension = known[which];
      if (extension === undefined) throw new Error('no such extension');
      const value = octets instanceof Uint8Array ? octets : Uint8Array.from(extension.value);
      if (!(octets instanceof Uint8Array)) for (const [at, octet] of octets) value[at % value.length] = octet;
      const ca = authority('Odd', { issuer: root, key: keyNumber(2), extensions: [encodeExtension(extension.oid, 'critical', value)] });
      expect(judge(leaf(ca).certificate, { intermediates: [ca.certificate] })).toMatch(/^(ok|ERR_CERTIFICATE_INVALID|ERR_PATH_NAME|ERR_PATH_POLICY)$/);
    }),
    { numRuns: 200 },
  );
});

test('a random valid hierarchy is accepted, and refused when any one signature in it is another key', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ pathLen: fc.option(fc.integer({ min: 6, max: 9 })), ids: fc.boolean() }), { minLength: 0, maxLength: 6 }), fc.nat(), (shape, pick) => {
      const build = (forgedAt: number) => {
        const made: Issued[] = [];
        for (const [index, { pathLen, ids }] of shape.entries()) {
          made.push(
            authority(`Level ${index}`, {
              issuer: made.at(-1) ?? root,
              key: keyNumber(index + 1),
              keyIdentifiers: ids ? 'present' : 'absent',
              ...(forgedAt === index ? { signedWith: keyNumber(7) } : {}),
              basicConstraints: { ca: true, ...(pathLen === null ? {} : { pathLen }) },
            }),
          );
        }
        const target = leaf(made.at(-1) ?? root, forgedAt === shape.length ? { signedWith: keyNumber(7) } : {});
        return judge(target.certificate, { intermediates: made.map(({ certificate }) => certificate).toReversed() });
      };
      expect(build(-1)).toBe('ok');
      expect(build(pick % (shape.length + 1))).toBe('ERR_PATH_SIGNATURE');
    }),
    { numRuns: 40 },
  );
});

test('two authorities that vouch for each other lead nowhere', () => {
  const b = authority('B', { key: keyNumber(2) });
  const a = authority('A', { issuer: b, key: keyNumber(1) });
  const again = authority('B', { issuer: a, key: keyNumber(2) });
  expect(refusal(leaf(a), { intermediates: [a.certificate, again.certificate] })).toMatchObject({ code: 'ERR_PATH_INCOMPLETE', reason: 'its issuer CN=A,O=Acme stands in the path already: the certificates lead in a circle' });
});
