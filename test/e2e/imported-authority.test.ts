/** An enterprise root with a policy CA below it and an issuing CA below that, exported as AD CS does, brought into a new data directory. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodePem } from '../../ca/x509/pem.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { Workplace } from '../cli/run.ts';
import { foreignAuthority } from '../support/foreign-authority.ts';

const root = foreignAuthority('Enterprise Root', undefined);
const policy = foreignAuthority('Enterprise Policy CA', root);
const agents = foreignAuthority('Enterprise Agents CA', policy, { pathLen: 0 });

let place: Workplace;
let gateway: RunningGateway | undefined;
beforeAll(async () => {
  place = await Workplace.make();
  await writeFile(place.path('root.cer'), root.certificate.der);
  await writeFile(place.path('chain.pem'), agents.pem + policy.pem);
  await writeFile(place.path('agents.key'), agents.keyPem);
  await writeFile(place.path('password'), 'open sesame\n');
  await promisify(execFile)('openssl', ['pkcs12', '-export', '-legacy', '-inkey', 'agents.key', '-in', 'chain.pem', '-passout', 'file:password', '-out', 'agents.p12'], { cwd: place.directory });
});
afterAll(async () => {
  await gateway?.close();
  await place.remove();
});

const call = async (identity: string): Promise<{ readonly status: number; readonly body: string }> => {
  const [key, cert] = await Promise.all([readFile(place.path(identity, 'key.pem')), readFile(place.path(identity, 'cert.pem'))]);
  return new Promise((resolve, reject) => {
    const asked = request(`${gateway?.url ?? ''}/nothing`, { key, cert, ca: root.pem, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asked.on('error', reject);
    asked.end();
  });
};

describe('an issuing CA from elsewhere', { timeout: 30_000 }, () => {
  it('is refused with the wrong passphrase, without the CAs above it, and beside options that contradict it', async () => {
    const init = async (...options: string[]) => (await place.run('init', '--dir', 'port', ...options)).stderr;
    expect(await init('--root', 'root.cer', '--issuing', 'agents.p12')).toMatch(/^error ERR_KEY_PASSPHRASE: agents\.p12 cannot be used: it is encrypted/);
    await writeFile(place.path('wrong'), 'open barley\n');
    expect(await init('--root', 'root.cer', '--issuing', 'agents.p12', '--import-passphrase-file', 'wrong')).toMatch(/^error ERR_KEY_PASSPHRASE: /);
    await writeFile(place.path('alone.pem'), agents.pem + agents.keyPem);
    expect(await init('--root', 'root.cer', '--issuing', 'alone.pem')).toMatch(/^error ERR_CA_IMPORT: .*--chain/);
    expect(await init('--root', 'root.cer', '--issuing', 'chain.pem', '--issuing-key', 'agents.key', '--permit-dns', 'a.example')).toMatch(/^error ERR_USAGE: --permit-dns/);
    expect(await init('--issuing', 'agents.p12')).toMatch(/^error ERR_USAGE: .*go with --root/);
  });

  it('comes from a legacy PKCS#12 file, and is told where it differs', async () => {
    const made = await place.json('init', '--dir', 'port', '--root', 'root.cer', '--issuing', 'agents.p12', '--import-passphrase-file', 'password', '--trust-domain', 'corp.example');
    expect(made).toMatchObject({ imported: true, root: { thumbprint: root.certificate.thumbprint }, issuing: { thumbprint: agents.certificate.thumbprint } });
    expect(made['remarks']).toContain('CN=Enterprise Root,DC=example: pathLen is absent (RFC 5280 §4.2.1.9)');
    await place.json('issue', 'agent-7', '--dir', 'port', '--out', 'agent-7');
    const { stdout } = await promisify(execFile)('openssl', ['verify', '-CAfile', 'port/certs/root.cert.pem', '-untrusted', 'chain.pem', 'agent-7/cert.pem'], { cwd: place.directory });
    expect(stdout).toBe('agent-7/cert.pem: OK\n');
    // Nothing but that the CRLs of the two CAs elsewhere are yet to be imported.
    expect(JSON.parse((await place.run('ca', 'audit', '--dir', 'port', '--json')).stdout)).toMatchObject({ counts: { crlMissing: 2 } });
  });

  it('lets agents in whose path goes over all of them, and nobody once a CRL from above revokes it', async () => {
    gateway = await createGateway({ directory: place.path('port'), upstreams: { default: { command: ['true'] } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: false, logger: createLogger({ level: 'silent' }) });
    await gateway.listen();
    expect(await call('agent-7')).toMatchObject({ status: 404 });

    await writeFile(place.path('policy.crl'), policy.crl(7, [{ serial: agents.certificate.serial, revokedAt: new Date(Date.now() - 60_000), reason: 'cACompromise' }]));
    const imported = await place.json('ca', 'import-crl', 'policy.crl', '--dir', 'port');
    expect(imported).toMatchObject({ imported: [{ issuer: 'CN=Enterprise Policy CA,DC=example', ca: null, crlNumber: '7', revoked: [{ serial: agents.certificate.serial, reason: 'cACompromise' }] }] });
    await writeFile(place.path('root.crl'), root.crl(3));
    await place.json('ca', 'import-crl', 'root.crl', '--dir', 'port');
    const handedOn = await fetch(`${gateway.publicUrl ?? ''}/crl/root.crl`);
    expect([handedOn.status, encodePem('X509 CRL', new Uint8Array(await handedOn.arrayBuffer()))]).toEqual([200, await readFile(place.path('root.crl'), 'utf8')]);
    await expect.poll(async () => (await call('agent-7')).body, { timeout: 10_000 }).toContain('ERR_PEER_REVOKED');
  });

  it('takes no CRL that is altered, out of date, of a stranger or older than the last', async () => {
    const refused = async (crl: string): Promise<string> => {
      await writeFile(place.path('some.crl'), crl);
      return (await place.run('ca', 'import-crl', 'some.crl', '--dir', 'port')).stderr.split(':')[0] ?? '';
    };
    expect(await refused(policy.crl(6))).toBe('error ERR_CRL_STALE');
    expect(await refused(policy.crl(8, [], { nextUpdate: new Date('2026-01-01T00:00:00Z'), thisUpdate: new Date('2025-12-01T00:00:00Z') }))).toBe('error ERR_CRL_STALE');
    expect(await refused(foreignAuthority('Stranger', undefined).crl(1))).toBe('error ERR_CRL_ISSUER');
    // The same name, another key.
    expect(await refused(foreignAuthority('Enterprise Policy CA', undefined).crl(9))).toBe('error ERR_CRL_ISSUER');
    expect(await refused('-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n')).toBe('error ERR_CRL_INVALID');
  });

  it('may be confined by the CAs above it, and is refused when that leaves no agent of the trust domain', async () => {
    const bounded = foreignAuthority('Bounded CA', root, { nameConstraints: { permittedUriHosts: ['corp.example'], permittedDnsNames: ['corp.example', 'localhost'] } });
    await writeFile(place.path('bounded.pem'), bounded.pem + bounded.keyPem);
    const init = (domain: string) => place.run('init', '--dir', 'bounded', '--root', 'root.cer', '--issuing', 'bounded.pem', '--trust-domain', domain, '--passphrase-file', 'password');
    expect((await init('other.example')).stderr).toMatch(/^error ERR_CA_NAME: spiffe:\/\/other\.example\/agent\/agent is outside what is permitted to CN=Bounded CA/);
    expect((await init('corp.example')).code).toBe(0);
    // What came in the clear is kept under the passphrase.
    expect(await readFile(place.path('bounded', 'keys', 'issuing.key.pem'), 'utf8')).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  });
});
