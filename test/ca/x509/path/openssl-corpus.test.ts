/** Hundreds of random hierarchies, most with one thing wrong, judged by us and by `openssl verify`. Where OpenSSL lets more pass, the table says so. */
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { nullValue } from '../../../../ca/x509/der.ts';
import { encodeExtension } from '../../../../ca/x509/extension.ts';
import { formatName } from '../../../../ca/x509/name.ts';
import { statusFromCrls } from '../../../../ca/x509/path/crl-status.ts';
import { verifyPath } from '../../../../ca/x509/path/verify-path.ts';
import { encodePem } from '../../../../ca/x509/pem.ts';
import { makeKey } from '../authority-fixture.ts';
import { scratch } from '../openssl.ts';
import { AT, authority, constraints, crlOf, keyNumber, leaf, named, policies, policyConstraints } from './path-fixture.ts';
import type { KeyObject } from 'node:crypto';
import type { Base, CertificateParts, Issued } from './path-fixture.ts';
import type { Crl, CrlEntry, TbsCrlFields } from '../../../../ca/x509/crl.ts';

type CrlParts = Partial<TbsCrlFields> & { readonly signedWith?: KeyObject };

interface Defect {
  readonly leaf?: CertificateParts;
  /** Of one authority below the root, picked at random. */
  readonly ca?: CertificateParts;
  readonly revoked?: 'leaf' | 'ca';
  readonly crl?: CrlParts | 'missing';
  readonly intermediates?: 'missing';
  /** What we say. */
  readonly code: string;
  /** What OpenSSL says: `accepts` is where it is laxer. */
  readonly openssl: 'accepts' | 'refuses';
}

const DAY = 86_400_000;
const past = new Date(AT.getTime() - DAY);
const future = new Date(AT.getTime() + DAY);
const critical = [encodeExtension('1.3.6.1.4.1.99999.1', 'critical', nullValue())];
const permitted = (...bases: readonly Base[]): CertificateParts => ({ extensions: [constraints({ permitted: bases })] });
const excluded = (...bases: readonly Base[]): CertificateParts => ({ extensions: [constraints({ excluded: bases })] });
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey;

const DEFECTS: Readonly<Record<string, Defect>> = {
  none: { code: 'ok', openssl: 'accepts' },
  'none: permitted names': { leaf: { names: { dnsNames: ['a.acme.test'], uris: ['spiffe://acme.test/a'], ipAddresses: ['10.1.2.3'], emails: ['a@acme.test'] } }, ca: permitted({ kind: 'dns', base: 'acme.test' }, { kind: 'uri', base: 'acme.test' }, { kind: 'ip', base: [10, 0, 0, 0, 255, 0, 0, 0] }, { kind: 'email', base: 'acme.test' }, { kind: 'directory', base: named('x').slice(0, 1) }), code: 'ok', openssl: 'accepts' },
  'the leaf has expired': { leaf: { notAfter: past }, code: 'ERR_PATH_EXPIRED', openssl: 'refuses' },
  'the leaf is not yet valid': { leaf: { notBefore: future }, code: 'ERR_PATH_NOT_YET_VALID', openssl: 'refuses' },
  'a CA has expired': { ca: { notAfter: past }, code: 'ERR_PATH_EXPIRED', openssl: 'refuses' },
  'a CA is not yet valid': { ca: { notBefore: future }, code: 'ERR_PATH_NOT_YET_VALID', openssl: 'refuses' },
  'the leaf is signed with another key': { leaf: { signedWith: makeKey('p256') }, code: 'ERR_PATH_SIGNATURE', openssl: 'refuses' },
  'a CA is signed with another key': { ca: { signedWith: makeKey('p256') }, code: 'ERR_PATH_SIGNATURE', openssl: 'refuses' },
  'the intermediates are missing': { intermediates: 'missing', code: 'ERR_PATH_INCOMPLETE', openssl: 'refuses' },
  'the key identifier names another key': { leaf: { authorityKeyIdentifier: Uint8Array.of(1, 2, 3) }, code: 'ERR_PATH_INCOMPLETE', openssl: 'refuses' },
  'a CA says cA FALSE': { ca: { basicConstraints: { ca: false } }, code: 'ERR_PATH_AUTHORITY', openssl: 'refuses' },
  'a CA says nothing': { ca: { basicConstraints: null }, code: 'ERR_PATH_AUTHORITY', openssl: 'refuses' },
  'a CA without keyCertSign': { ca: { keyUsage: ['digitalSignature', 'cRLSign'] }, code: 'ERR_PATH_AUTHORITY', openssl: 'refuses' },
  'a CA without keyUsage': { ca: { keyUsage: null }, code: 'ERR_PATH_AUTHORITY', openssl: 'refuses' },
  'a critical extension nobody knows in the leaf': { leaf: { extensions: critical }, code: 'ERR_PATH_EXTENSION', openssl: 'refuses' },
  'a critical extension nobody knows in a CA': { ca: { extensions: critical }, code: 'ERR_PATH_EXTENSION', openssl: 'refuses' },
  'a leaf for servers': { leaf: { extendedKeyUsage: ['serverAuth'] }, code: 'ERR_PATH_PURPOSE', openssl: 'refuses' },
  'a CA for servers': { ca: { extendedKeyUsage: ['serverAuth'] }, code: 'ERR_PATH_PURPOSE', openssl: 'refuses' },
  'a leaf for anything': { leaf: { extendedKeyUsage: ['anyExtendedKeyUsage'] }, code: 'ERR_PATH_PURPOSE', openssl: 'refuses' },
  'a leaf whose key may only encrypt': { leaf: { keyUsage: ['keyEncipherment'] }, code: 'ERR_PATH_PURPOSE', openssl: 'refuses' },
  'keyCertSign without cA': { leaf: { keyUsage: ['digitalSignature', 'keyCertSign'] }, code: 'ERR_PATH_EXTENSION', openssl: 'refuses' },
  'a DNS name outside': { leaf: { names: { dnsNames: ['evil.test'] } }, ca: permitted({ kind: 'dns', base: 'acme.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'a DNS name excluded': { leaf: { names: { dnsNames: ['x.secret.test'] } }, ca: excluded({ kind: 'dns', base: 'secret.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'a URI outside': { leaf: { names: { uris: ['spiffe://evil.test/a'] } }, ca: permitted({ kind: 'uri', base: 'acme.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'a URI excluded': { leaf: { names: { uris: ['spiffe://x.acme.test/a'] } }, ca: excluded({ kind: 'uri', base: '.acme.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'an address outside': { leaf: { names: { emails: ['a@evil.test'] } }, ca: permitted({ kind: 'email', base: 'acme.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'an address in the subject outside': { leaf: { subject: [...named('x'), [{ type: 'emailAddress', value: 'a@evil.test' }]] }, ca: permitted({ kind: 'email', base: 'acme.test' }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'an IP address outside': { leaf: { names: { ipAddresses: ['11.1.2.3'] } }, ca: permitted({ kind: 'ip', base: [10, 0, 0, 0, 255, 0, 0, 0] }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'a directory name outside': { ca: permitted({ kind: 'directory', base: [[{ type: 'O', value: 'Other' }]] }), code: 'ERR_PATH_NAME', openssl: 'refuses' },
  'a kind of name nobody compares': { ca: permitted({ kind: 'other' }), code: 'ok', openssl: 'accepts' },
  'no policy where one is required': { leaf: { extensions: [policies(['1.2.4'])] }, ca: { extensions: [policies(['1.2.3']), policyConstraints({ require: 0 })] }, code: 'ERR_PATH_POLICY', openssl: 'refuses' },
  'the leaf is revoked': { revoked: 'leaf', code: 'ERR_PATH_REVOKED', openssl: 'refuses' },
  'a CA is revoked': { revoked: 'ca', code: 'ERR_PATH_REVOKED', openssl: 'refuses' },
  'no CRL': { crl: 'missing', code: 'ERR_PATH_STATUS_UNKNOWN', openssl: 'refuses' },
  'an old CRL': { crl: { thisUpdate: new Date(AT.getTime() - 2 * DAY), nextUpdate: past }, code: 'ERR_PATH_STATUS_UNKNOWN', openssl: 'refuses' },
  'a CRL from the future': { crl: { thisUpdate: new Date(AT.getTime() + DAY / 2) }, code: 'ERR_PATH_STATUS_UNKNOWN', openssl: 'refuses' },
  'a forged CRL': { crl: { signedWith: makeKey('p256') }, code: 'ERR_PATH_STATUS_UNKNOWN', openssl: 'refuses' },
  'no key identifiers in the leaf': { leaf: { keyIdentifiers: 'absent' }, code: 'ERR_PATH_PURPOSE', openssl: 'refuses' },
  // Where OpenSSL lets more pass.
  'a leaf without extendedKeyUsage': { leaf: { extendedKeyUsage: null }, code: 'ERR_PATH_PURPOSE', openssl: 'accepts' },
  'a leaf without keyUsage': { leaf: { keyUsage: null }, code: 'ERR_PATH_PURPOSE', openssl: 'accepts' },
  'a leaf without subjectAltName': { leaf: { names: null }, code: 'ERR_PATH_PURPOSE', openssl: 'accepts' },
  'a CA as a leaf': { leaf: { basicConstraints: { ca: true }, keyUsage: ['digitalSignature', 'keyCertSign'] }, code: 'ERR_PATH_PURPOSE', openssl: 'accepts' },
  'a wildcard over an excluded name': { leaf: { names: { dnsNames: ['*.acme.test'] } }, ca: excluded({ kind: 'dns', base: 'secret.acme.test' }), code: 'ERR_PATH_NAME', openssl: 'accepts' },
  'an RSA key of 1024 bits': { leaf: { key: weak }, code: 'ERR_PATH_ALGORITHM', openssl: 'accepts' },
  'a key on P-521': { leaf: { key: p521 }, code: 'ERR_PATH_ALGORITHM', openssl: 'accepts' },
};

/** Reproducible: the same corpus each time. */
function* randomNumbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

const COUNT = 320;
const file = scratch();

interface Chain {
  readonly defect: string;
  readonly target: Issued;
  readonly intermediates: readonly Issued[];
  readonly crls: readonly Crl[];
  /** What the root's CRL has to list. */
  readonly revokedByRoot: readonly CrlEntry[];
}

const kinds = ['p256', 'p256', 'p384', 'ed25519', 'rsa2048'] as const;
const pool = kinds.map(makeKey);

/** `pick(n)` is a number from 0 to n - 1. */
function makeChain(number: number, root: Issued, pick: (below: number) => number): Chain {
  const names = Object.keys(DEFECTS);
  const defect = names[number % names.length] ?? 'none';
  const { leaf: leafParts = {}, ca: caParts = {}, revoked, crl = {}, intermediates: given } = DEFECTS[defect] ?? { code: '', openssl: 'refuses' };
  const depth = 1 + pick(3);
  const bad = pick(depth);
  const cas: Issued[] = [];
  for (let level = 0; level < depth; level++) {
    cas.push(
      authority(`chain ${number} level ${level}`, {
        issuer: cas.at(-1) ?? root,
        key: pool[pick(pool.length)] ?? keyNumber(level),
        basicConstraints: { ca: true, ...(pick(2) === 0 ? { pathLen: depth - 1 - level + pick(2) } : {}) },
        ...(pick(3) === 0 ? { extendedKeyUsage: ['clientAuth', 'serverAuth'] } : {}),
        ...(level === bad ? caParts : {}),
      }),
    );
  }
  const last = cas.at(-1) ?? root;
  const target = leaf(last, { key: keyNumber(pick(8)), subject: `chain ${number}`, ...leafParts });
  const dead = revoked === 'leaf' ? target : cas[bad];
  const listed = (issuer: Issued): readonly CrlEntry[] =>
    revoked !== undefined && dead !== undefined && formatName(dead.certificate.issuer) === formatName(issuer.certificate.subject) ? [{ serial: dead.certificate.serial, revokedAt: past, reason: 'keyCompromise' }] : [];
  const crls = cas.flatMap((ca) => (ca === last && crl === 'missing' ? [] : [crlOf(ca, { entries: listed(ca), ...(ca === last && crl !== 'missing' ? crl : {}) })]));
  return { defect, target, intermediates: given === 'missing' ? [] : cas, crls, revokedByRoot: listed(root) };
}

test(`of ${COUNT} random hierarchies we accept what OpenSSL accepts, except where it is laxer`, () => {
  const numbers = randomNumbers(5280);
  const pick = (below: number): number => Math.floor(numbers.next().value * below);
  const root = authority('Corpus Root', { key: keyNumber(0) });
  const chains = Array.from({ length: COUNT }, (_, number) => makeChain(number, root, pick));
  const rootCrl = crlOf(root, { entries: chains.flatMap(({ revokedByRoot }) => revokedByRoot) });

  const leaves = chains.map(({ target }, number) => file(`${number}.pem`, encodePem('CERTIFICATE', target.certificate.der)));
  const pem = (all: readonly Issued[]) => all.map(({ certificate }) => encodePem('CERTIFICATE', certificate.der)).join('');
  const { stdout, stderr } = spawnSync(
    'openssl',
    [
      'verify', '-x509_strict', '-purpose', 'sslclient', '-policy_check', '-crl_check_all', '-attime', String(AT.getTime() / 1000),
      '-CAfile', file('root.pem', pem([root])),
      '-untrusted', file('untrusted.pem', pem(chains.flatMap(({ intermediates }) => intermediates))),
      '-CRLfile', file('crls.pem', [rootCrl, ...chains.flatMap(({ crls }) => crls)].map(({ der }) => encodePem('X509 CRL', der)).join('')),
      ...leaves,
    ],
    { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  );
  expect(stderr).not.toContain('Unable to load');
  const accepted = new Set([...stdout.matchAll(/(\d+)\.pem: OK/g)].map(([, number]) => Number(number)));

  const differences = chains.flatMap(({ defect, target, intermediates, crls }, number) => {
    const verdict = verifyPath(target.certificate, { anchors: [root.certificate], intermediates: intermediates.map(({ certificate }) => certificate), at: AT, purpose: 'client', status: statusFromCrls([rootCrl, ...crls], { at: AT }) });
    const found = { defect, ours: verdict.ok ? 'ok' : verdict.code, openssl: accepted.has(number) ? 'accepts' : 'refuses' };
    const wanted = DEFECTS[defect];
    return found.ours === wanted?.code && found.openssl === wanted.openssl ? [] : [{ ...found, reason: verdict.ok ? '' : verdict.reason, said: stderr.split('\n').filter((line) => line.includes(`/${number}.pem`)) }];
  });
  expect(differences).toEqual([]);
  expect(accepted.size).toBeGreaterThan(50);
});
