import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { KeyAlgorithm } from '../../ca/ports.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const installed = (command: string): boolean => spawnSync(command, ['--version']).status === 0 || spawnSync(command, ['version']).status === 0;
const fixtures: AuthorityFixture[] = [];
afterAll(async () => {
  for (const fixture of fixtures) await fixture.close();
});

interface Prepared {
  readonly files: Readonly<Record<'root' | 'issuing' | 'crls' | 'good' | 'revoked' | 'server', string>>;
  chain(leaf: 'good' | 'revoked'): string;
}

/** One of each algorithm for all judges: keys of RSA take seconds. */
const prepared = new Map<KeyAlgorithm, Promise<Prepared>>();
const preparedWith = (algorithm: KeyAlgorithm): Promise<Prepared> => {
  const made = prepared.get(algorithm) ?? prepare(algorithm);
  prepared.set(algorithm, made);
  return made;
};

/** A hierarchy with one good agent, one revoked, one server, and CRLs of both CAs, in files. */
const prepare = async (keyAlgorithm: KeyAlgorithm, options: Parameters<typeof createAuthority>[0] = {}): Promise<Prepared> => {
  const fixture = await createAuthority({ keyAlgorithm, publicUrl: 'http://pki.acme.internal:8080', ...options });
  fixtures.push(fixture);
  const { authority, directory } = fixture;
  const good = await authority.issue({ agent: 'good', organizationalUnits: ['analytics', 'Überwachung'], csr: newCsr() });
  const revoked = await authority.issue({ agent: 'revoked', profile: 'agent-spiffe', csr: newCsr() });
  const server = await authority.issueServer({ hosts: ['localhost', '127.0.0.1'], csr: newCsr() });
  await authority.revoke({ agent: 'revoked' }, { reason: 'keyCompromise' });
  await authority.close();
  const file = (name: string, content: string): string => {
    const path = join(directory, name);
    writeFileSync(path, content);
    return path;
  };
  const crls = await Promise.all((['root', 'issuing'] as const).map(async (which) => encodePem('X509 CRL', (await authority.currentCrl(which)).der)));
  return {
    files: {
      root: file('root.pem', authority.root.pem),
      issuing: file('issuing.pem', authority.issuing.pem),
      crls: file('crls.pem', crls.join('')),
      good: file('good.pem', good.pem),
      revoked: file('revoked.pem', revoked.pem),
      server: file('server.pem', server.pem),
    },
    chain: (leaf: 'good' | 'revoked') => file(`${leaf}.chain.pem`, { good, revoked }[leaf].chain + authority.root.pem),
  };
};

describe.skipIf(!installed('openssl'))('OpenSSL', () => {
  it.each<KeyAlgorithm>(['p256', 'p384', 'ed25519', 'rsa3072'])('accepts a %s hierarchy strictly, with every CRL, and finds the revoked', async (algorithm) => {
    const { files } = await preparedWith(algorithm);
    const verify = (leaf: string, ...options: string[]) =>
      spawnSync('openssl', ['verify', '-x509_strict', '-crl_check_all', ...options, '-CAfile', files.root, '-untrusted', files.issuing, '-CRLfile', files.crls, leaf], { encoding: 'utf8' });
    expect(verify(files.good, '-purpose', 'sslclient').stdout).toBe(`${files.good}: OK\n`);
    expect(verify(files.server, '-purpose', 'sslserver', '-verify_hostname', 'localhost').stdout).toBe(`${files.server}: OK\n`);
    expect(verify(files.server, '-purpose', 'sslserver', '-verify_ip', '127.0.0.1').stdout).toBe(`${files.server}: OK\n`);
    expect(verify(files.revoked, '-purpose', 'sslclient').stderr).toContain('certificate revoked');
    expect(verify(files.good, '-purpose', 'sslserver').status).not.toBe(0);
    expect(verify(files.server, '-purpose', 'sslclient').status).not.toBe(0);
  });
  it('reads names, usages and addresses as we mean them', async () => {
    const { files } = await preparedWith('p256');
    const text = execFileSync('openssl', ['x509', '-in', files.good, '-noout', '-text', '-nameopt', 'RFC2253,-esc_msb'], { encoding: 'utf8' });
    for (const part of ['Subject: CN=good,OU=Überwachung,OU=analytics', 'CA:FALSE', 'Digital Signature\n', 'TLS Web Client Authentication\n', 'URI:spiffe://acme.internal/agent/good', 'URI:http://pki.acme.internal:8080/crl/issuing.crl', 'CA Issuers - URI:http://pki.acme.internal:8080/ca/issuing.cer']) {
      expect(text).toContain(part);
    }
  });
  it('holds an issuing CA with name constraints to them', async () => {
    const { files } = await prepare('p256', { permittedDnsNames: ['localhost'] });
    const verify = (leaf: string) => spawnSync('openssl', ['verify', '-x509_strict', '-CAfile', files.root, '-untrusted', files.issuing, leaf], { encoding: 'utf8' });
    for (const leaf of [files.good, files.server]) expect(verify(leaf).stdout).toBe(`${leaf}: OK\n`);
  });
});

describe.skipIf(!installed('certtool'))('GnuTLS', () => {
  it.each<KeyAlgorithm>(['p256', 'p384', 'ed25519', 'rsa3072'])('accepts a %s hierarchy with its CRLs and finds the revoked', async (algorithm) => {
    const { files, chain } = await preparedWith(algorithm);
    const verify = (path: string) => spawnSync('certtool', ['--verify', '--load-ca-certificate', files.root, '--load-crl', files.crls, '--infile', path], { encoding: 'utf8' });
    expect(verify(chain('good'))).toMatchObject({ status: 0, stdout: expect.stringContaining('The certificate is trusted') as string });
    const refused = verify(chain('revoked'));
    expect(refused.status).not.toBe(0);
    expect(refused.stdout + refused.stderr).toMatch(/revoked/i);
  });
});

const hasCryptography = spawnSync('python3', ['-c', 'from cryptography.x509.verification import VerifiedClient']).status === 0;
if (!hasCryptography) console.warn('skipped: Python has no cryptography 45 or later, so it judges no certificates');
describe.skipIf(!hasCryptography)('pyca/cryptography', () => {
  // Its policy knows neither Ed25519 nor ML-DSA.
  it.each<KeyAlgorithm>(['p256', 'p384', 'rsa3072'])('accepts the clients of a %s hierarchy by their URI, and neither a server nor a stranger', async (algorithm) => {
    const { files } = await preparedWith(algorithm);
    const other = await preparedWith('ed25519');
    const said = execFileSync('python3', [join(import.meta.dirname, 'verify_with_cryptography.py'), files.root, files.issuing, files.good, files.revoked, files.server, other.files.good], { encoding: 'utf8' }).trim().split('\n');
    expect(said).toEqual(['OK spiffe://acme.internal/agent/good', 'OK spiffe://acme.internal/agent/revoked', expect.stringMatching(/^refused: .*EKU/), expect.stringMatching(/^refused: /)]);
  });
});
