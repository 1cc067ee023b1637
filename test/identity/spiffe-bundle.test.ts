import { createPublicKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../../src/errors.ts';
import { parseSpiffeBundle } from '../../src/identity/spiffe-bundle.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';

const pki = createTestPki('Mesh');
const x5c = ({ certificate }: TestIdentity): string => Buffer.from(certificate.der).toString('base64');
const keyOf = (identity: TestIdentity, changes: object = {}): object => ({ ...createPublicKey(identity.key).export({ format: 'jwk' }), use: 'x509-svid', x5c: [x5c(identity)], ...changes });
const parse = (bundle: unknown) => parseSpiffeBundle(Buffer.from(typeof bundle === 'string' ? bundle : JSON.stringify(bundle)), { trustDomain: 'mesh.example' });
const outcome = (bundle: unknown): string => {
  try {
    return `${parse(bundle).roots.length} roots`;
  } catch (error) {
    return `${codeOf(error)}: ${(error as Error).message.replace('the SPIFFE trust bundle cannot be used: ', '')}`;
  }
};

describe('a SPIFFE trust bundle', () => {
  it('gives the roots for X.509-SVIDs, its number and when to look again', () => {
    const { roots, ...rest } = parse({ spiffe_sequence: 12, spiffe_refresh_hint: 300, keys: [keyOf(pki.root), { kty: 'EC', use: 'jwt-svid', kid: 'x' }, { kty: 'oct' }] });
    expect(roots.map(({ thumbprint }) => thumbprint)).toEqual([pki.root.certificate.thumbprint]);
    expect(rest).toEqual({ sequence: 12n, refreshHintMs: 300_000 });
    expect(parse({ keys: [] })).toEqual({ roots: [], sequence: undefined, refreshHintMs: undefined });
    expect(parse({ keys: [], spiffe_refresh_hint: 1e12 }).refreshHintMs).toBe(31_536_000_000);
  });

  it.each<[string, unknown, string]>([
    ['is not JSON', '{', 'it is not JSON in UTF-8'],
    ['is a list', [], 'the bundle is not an object'],
    ['has no keys', {}, 'it has no list of keys'],
    ['has a key that is none', { keys: [1] }, 'a key is not an object'],
    ['has too many', { keys: Array.from({ length: 65 }, () => ({})) }, 'it has more than 64 keys'],
    ['has no kty', { keys: [{ use: 'x509-svid' }] }, 'a key has no kty'],
    ['has no certificate', { keys: [keyOf(pki.root, { x5c: [] })] }, 'a key for x509-svid has no x5c with exactly one certificate'],
    ['has two in one key', { keys: [keyOf(pki.root, { x5c: [x5c(pki.root), x5c(pki.issuing)] })] }, 'a key for x509-svid has no x5c with exactly one certificate'],
    ['has PEM', { keys: [keyOf(pki.root, { x5c: [pki.root.certPem] })] }, 'an x5c is not base64'],
    ['has octets', { keys: [keyOf(pki.root, { x5c: ['AAAA'] })] }, 'an x5c is not a certificate'],
    ['has a leaf', { keys: [keyOf(pki.issuing.leaf())] }, 'an x5c is not the certificate of a CA'],
    ['has another key', { keys: [{ ...keyOf(pki.root), x5c: [x5c(pki.issuing)] }] }, 'a key is another than that of its certificate'],
    ['counts in halves', { keys: [], spiffe_sequence: 1.5 }, 'its spiffe_sequence is not a whole number'],
    ['counts in texts', { keys: [], spiffe_sequence: '1' }, 'its spiffe_sequence is not a whole number'],
    ['hints backwards', { keys: [], spiffe_refresh_hint: -1 }, 'its spiffe_refresh_hint is not a number of seconds'],
    ['is too long', ' '.repeat(1024 * 1024 + 1), 'it has more than 1048576 octets'],
  ])('is refused whole when it %s', (_what, bundle, reason) => {
    expect(outcome(bundle)).toBe(`ERR_TRUST_BUNDLE: ${reason}`);
  });

  it('is read or refused, whatever it holds', () => {
    const good = JSON.stringify({ keys: [keyOf(pki.root)] });
    const member = fc.constantFrom('kty', 'use', 'x5c', 'crv', 'x', 'y');
    const hostile = fc.oneof(fc.json(), fc.tuple(fc.nat(good.length), fc.string({ maxLength: 4 })).map(([at, junk]) => good.slice(0, at) + junk + good.slice(at + 1)), fc.tuple(member, fc.jsonValue()).map(([name, value]) => JSON.stringify({ keys: [keyOf(pki.root, { [name]: value })] })));
    fc.assert(fc.property(hostile, (bundle) => { expect(outcome(bundle)).toMatch(/^(\d+ roots|ERR_TRUST_BUNDLE: .+)$/); }), { numRuns: 100 });
  });
});
