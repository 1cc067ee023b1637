/** The root on a machine of its own: requests, certificates and CRLs go to and fro as files. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { decodePem, encodePem } from '../../ca/x509/pem.ts';
import { newKey } from '../support/authority.ts';
import { foreignAuthority } from '../support/foreign-authority.ts';
import { Workplace } from './run.ts';

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
});
afterAll(() => place.remove());

const openssl = async (...args: readonly string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)('openssl', [...args], { cwd: place.directory });
  return stdout;
};
const first = async (file: string) => parseCertificate(decodePem(await readFile(place.path(file), 'utf8'))[0]?.der ?? new Uint8Array());

describe('a root on a machine of its own', { timeout: 30_000 }, () => {
  it('certifies an issuing CA by way of files, and what that issues holds for openssl, CRLs and all', async () => {
    await place.json('init', '--root-only', '--dir', 'vault', '--name', 'Acme');
    const begun = await place.json('init', '--dir', 'port', '--name', 'Acme', '--root', 'vault/certs/root.cert.pem', '--trust-domain', 'acme.internal');
    expect(begun).toMatchObject({ waits: true, request: 'port/requests/issuing.csr.pem', imported: true, remarks: [] });
    expect((await place.run('issue', 'agent-7', '--dir', 'port')).stderr).toMatch(/^error ERR_CA_PENDING: .*waits for its certificate; have .*issuing\.csr\.pem signed/);
    expect((await place.run('issue', 'agent-7', '--dir', 'vault')).stderr).toMatch(/^error ERR_CA_MISSING: this data directory holds a root alone/);
    expect((await place.run('serve', '--dir', 'vault', '--', 'true')).stderr).toMatch(/^error ERR_CA_MISSING: this data directory holds a root alone; serve where its issuing CA is/m);

    const shown = await place.run('ca', 'sign', 'port/requests/issuing.csr.pem', '--dir', 'vault', '--permit-uri', 'acme.internal', '--permit-dns', 'localhost', '--json');
    expect([shown.code, JSON.parse(shown.stdout)]).toMatchObject([3, { dryRun: true, subject: 'CN=Acme Issuing CA,O=Acme', pathLen: 0, nameConstraints: { permittedUriHosts: ['acme.internal'], permittedDnsNames: ['localhost'] }, issuer: 'root' }]);
    expect(JSON.parse(shown.stdout)).toMatchObject({ command: 'sallyport ca sign ./port/requests/issuing.csr.pem --permit-dns localhost --permit-uri acme.internal --dir ./vault --yes' });
    await place.json('ca', 'sign', 'port/requests/issuing.csr.pem', '--dir', 'vault', '--permit-uri', 'acme.internal', '--permit-dns', 'localhost', '--out', 'issuing.pem', '--yes');

    // Of the right root, for another key.
    await writeFile(place.path('other.csr'), encodePem('CERTIFICATE REQUEST', createCsr(newKey(), { commonName: 'Other CA' })));
    await place.json('ca', 'sign', 'other.csr', '--dir', 'vault', '--out', 'other.pem', '--yes');
    expect((await place.run('ca', 'accept', 'other.pem', '--dir', 'port')).stderr).toMatch(/^error ERR_CA_IMPORT: none of the certificates is for the key of/);

    expect(await place.json('ca', 'accept', 'issuing.pem', '--dir', 'port')).toMatchObject({ ca: 'issuing', root: 'CN=Acme Root CA,O=Acme', server: { subject: 'CN=localhost' } });
    // Given again, as after an answer that was lost.
    expect(await place.json('ca', 'accept', 'issuing.pem', '--dir', 'port')).toMatchObject({ ca: 'issuing', status: 'active' });
    expect((await place.run('ca', 'accept', 'other.pem', '--dir', 'port')).stderr).toMatch(/^error ERR_CA_MISSING: no request waits/);
    await place.json('issue', 'agent-7', '--dir', 'port', '--out', 'agent-7');
    expect((await place.run('issue', '--profile', 'server', 'mcp.elsewhere.example', '--host', 'mcp.elsewhere.example', '--dir', 'port')).stderr).toMatch(/^error ERR_CA_NAME: mcp\.elsewhere\.example is outside what is permitted to CN=Acme Issuing CA.*nameConstraints/);

    await place.json('crl', '--ca', 'root', '--dir', 'vault', '--out', 'root.crl');
    expect(await place.json('ca', 'import-crl', 'root.crl', '--dir', 'port')).toMatchObject({ imported: [{ ca: 'root', entries: 0, revoked: [] }] });
    expect(await place.json('crl', '--ca', 'root', '--dir', 'port')).toMatchObject({ ca: 'root', crlNumber: '1' });
    const { crl } = await place.json('crl', '--dir', 'port');
    await writeFile(place.path('crls.pem'), String(crl) + (await readFile(place.path('root.crl'), 'utf8')));
    expect(await openssl('verify', '-x509_strict', '-crl_check_all', '-CAfile', 'vault/certs/root.cert.pem', '-untrusted', 'port/certs/issuing.cert.pem', '-CRLfile', 'crls.pem', 'agent-7/cert.pem')).toBe('agent-7/cert.pem: OK\n');
    for (const directory of ['vault', 'port']) expect(await place.run('ca', 'audit', '--dir', directory)).toMatchObject({ code: 0 });
  });

  it('certifies the next issuing CA the same way, and revokes one whose revocation then holds on the other machine', async () => {
    const asked = await place.json('ca', 'rotate', 'prepare', 'issuing', '--dir', 'port');
    expect(asked).toMatchObject({ waits: true, ca: 'issuing-2' });
    expect((await place.run('ca', 'rotate', 'prepare', 'issuing', '--dir', 'port')).stderr).toMatch(/^error ERR_CA_STATUS: issuing-2 waits for its certificate already/);
    await place.json('ca', 'sign', String(asked['request']), '--dir', 'vault', '--out', 'issuing-2.pem', '--yes');
    expect(await place.json('ca', 'accept', 'issuing-2.pem', '--dir', 'port')).toMatchObject({ ca: 'issuing-2', status: 'prepared' });
    await place.json('ca', 'rotate', 'activate', 'issuing-2', '--dir', 'port');
    await place.json('issue', 'agent-8', '--dir', 'port', '--out', 'agent-8');
    expect(await openssl('verify', '-x509_strict', '-CAfile', 'vault/certs/root.cert.pem', '-untrusted', 'issuing-2.pem', 'agent-8/cert.pem')).toBe('agent-8/cert.pem: OK\n');

    const { serial } = await first('issuing.pem');
    await place.json('revoke', '--serial', serial, '--reason', 'cACompromise', '--dir', 'vault');
    await place.json('crl', '--ca', 'root', '--dir', 'vault', '--out', 'root-2.crl');
    expect(await place.json('ca', 'import-crl', 'root-2.crl', '--dir', 'port')).toMatchObject({ imported: [{ entries: 1, revoked: [{ serial, reason: 'cACompromise' }] }] });
    expect((await place.run('ca', 'import-crl', 'root.crl', '--dir', 'port')).stderr).toMatch(/^error ERR_CRL_STALE: root.crl: this CRL, or a newer one of the same CA, is here already; fetch the newest from where the key is/);
  });

  it('signs nothing that is no CA of another name and key, and no deeper than its pathLen', async () => {
    const sign = async (file: string, ...options: string[]) => (await place.run('ca', 'sign', file, '--dir', 'vault', '--yes', ...options)).stderr;
    expect(await sign('other.csr', '--path-len', '1')).toMatch(/^error ERR_CA_IMPORT: the pathLen of root is 1, which leaves no room/);
    expect(await sign('other.csr', '--path-len', '9')).toMatch(/^error ERR_USAGE: --path-len 9 is not a depth/);
    await writeFile(place.path('server.csr'), encodePem('CERTIFICATE REQUEST', createCsr(newKey(), { commonName: 'mcp', dnsNames: ['mcp.acme.internal'] })));
    expect(await sign('server.csr')).toMatch(/^error ERR_CA_CSR_CONTENT: /);
    await writeFile(place.path('nameless.csr'), encodePem('CERTIFICATE REQUEST', createCsr(newKey())));
    expect(await sign('nameless.csr')).toMatch(/^error ERR_CA_NAME: a CA needs a subject/);
    const { subject } = await first('vault/certs/root.cert.pem');
    await writeFile(place.path('same.csr'), encodePem('CERTIFICATE REQUEST', createCsr(newKey(), { subject })));
    expect(await sign('same.csr')).toMatch(/^error ERR_CA_NAME: the subject is that of root itself/);
    const changed = createCsr(newKey(), { commonName: 'Changed CA' });
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    await writeFile(place.path('changed.csr'), changed);
    expect(await sign('changed.csr')).toMatch(/^error ERR_CSR_SIGNATURE: /);
  });

  it('cross-signs the root of a partner under its own name, so that the certificates of the partner lead here', async () => {
    const partner = foreignAuthority('Partner Root', undefined);
    const theirs = foreignAuthority('Partner Agents CA', partner, { pathLen: 0 });
    await Promise.all([writeFile(place.path('partner.pem'), partner.pem), writeFile(place.path('theirs.pem'), theirs.pem)]);
    await place.json('init', '--root-only', '--dir', 'wide', '--name', 'Wide');
    expect((await place.run('ca', 'cross-sign', 'partner.pem', '--dir', 'wide', '--path-len', '1', '--yes')).stderr).toMatch(/no room/);
    await place.json('ca', 'cross-sign', 'partner.pem', '--dir', 'wide', '--permit-uri', 'partner.example', '--out', 'crossed.pem', '--yes');
    const crossed = await first('crossed.pem');
    expect(crossed).toMatchObject({ subject: partner.certificate.subject, spkiHash: partner.certificate.spkiHash, subjectKeyIdentifier: partner.certificate.subjectKeyIdentifier, basicConstraints: { ca: true, pathLen: 0 } });
    expect(await openssl('x509', '-in', 'crossed.pem', '-noout', '-ext', 'nameConstraints')).toMatch(/critical\s+Permitted:\s+URI:partner\.example/);
    expect(await openssl('verify', '-CAfile', 'wide/certs/root.cert.pem', 'crossed.pem')).toBe('crossed.pem: OK\n');
    expect((await place.run('ca', 'cross-sign', 'agent-7/cert.pem', '--dir', 'wide', '--yes')).stderr).toMatch(/does not hold exactly one certificate/);
  });
});

describe('init --offline-root', () => {
  it('leaves the key of the root in a directory of its own, of another algorithm, and confines what it signed', async () => {
    const made = await place.json('init', '--dir', 'both', '--offline-root', 'medium', '--root-key-algorithm', 'ml-dsa-87', '--permit-dns', 'localhost', '--trust-domain', 'acme.internal');
    expect(made).toMatchObject({ offlineRoot: place.path('medium'), root: { subject: 'CN=Sallyport Root CA,O=Sallyport' } });
    const { issuers } = (await place.json('ca', 'show', '--dir', 'both')) as { issuers: readonly object[] };
    expect(issuers).toMatchObject([{ name: 'root', key: 'elsewhere', keyAlgorithm: 'ml-dsa-87' }, { name: 'issuing', key: 'here', keyAlgorithm: 'p256' }]);
    await place.json('issue', 'agent-9', '--dir', 'both', '--out', 'agent-9');
    expect((await place.run('verify', 'agent-9/cert.pem', '--dir', 'both')).code).toBe(0);
    expect(await place.run('ca', 'audit', '--dir', 'both')).toMatchObject({ code: 0 });
  });
});
