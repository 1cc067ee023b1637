import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caKeyOf } from '../../ca/ca-key.ts';
import type { CaKey } from '../../ca/ca-key.ts';
import { createHierarchy } from '../../ca/hierarchy.ts';
import { generatePrivateKey } from '../../ca/key-store.ts';
import type { KeyAlgorithm } from '../../ca/ports.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createAuthority } from '../support/authority.ts';

const algorithms = ['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const;
let place: string;
/** RSA keys are slow to make: each algorithm has one key for all. */
const keys = new Map<KeyAlgorithm, CaKey>();
beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), 'sallyport-mixed-'));
  for (const algorithm of algorithms) keys.set(algorithm, caKeyOf(await generatePrivateKey(algorithm)));
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

const pairs = algorithms.map((root, index) => [root, algorithms[(index + 1) % algorithms.length] ?? root] as const);

describe.each(pairs)('a root of %s above an issuing CA of %s', (root, issuing) => {
  it('holds for OpenSSL and for our own verifier', async () => {
    const hierarchy = await createHierarchy({ name: 'Acme', trustDomain: 'acme.internal', rootKey: keys.get(root), issuingKey: keys.get(issuing), clock: systemClock, randomness: systemRandomness });
    const [above, below] = [hierarchy.root, hierarchy.issuing].map(({ pem }) => new X509Certificate(pem));
    expect(below?.verify(above?.publicKey ?? below.publicKey)).toBe(true);
    expect(verifyPath(hierarchy.issuing.certificate, { anchors: [hierarchy.root.certificate], at: new Date(), purpose: 'any', onUnknownStatus: 'allow' }).ok).toBe(true);
    // The openssl of many systems is older than ML-DSA.
    if (root.startsWith('ml-dsa') || issuing.startsWith('ml-dsa')) return;
    writeFileSync(join(place, 'root.pem'), hierarchy.root.pem);
    writeFileSync(join(place, 'issuing.pem'), hierarchy.issuing.pem);
    expect(execFileSync('openssl', ['verify', '-x509_strict', '-CAfile', 'root.pem', 'issuing.pem'], { cwd: place, encoding: 'utf8' })).toBe('issuing.pem: OK\n');
  });
});

it('certifies agents and servers with keys of every algorithm under one CA', async () => {
  const fixture = await createAuthority();
  try {
    const issuer = new X509Certificate(fixture.authority.issuing.pem);
    const made = await Promise.all([
      ...[...algorithms, 'rsa2048' as const].map((keyAlgorithm) => fixture.authority.issue({ agent: `agent-${keyAlgorithm}`, keyAlgorithm })),
      ...algorithms.filter((each) => each !== 'rsa3072').map((keyAlgorithm) => fixture.authority.issueServer({ hosts: [`${keyAlgorithm}.acme.internal`], keyAlgorithm })),
    ]);
    expect(made.map(({ pem }) => new X509Certificate(pem).verify(issuer.publicKey))).toEqual(made.map(() => true));
  } finally {
    await fixture.close();
  }
});
