import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodePem } from '../../ca/x509/pem.ts';
import { createTestPki, revokedEntry } from '../support/pki.ts';
import { Workplace } from './run.ts';

const pki = createTestPki('Partner');
const agent = pki.issuing.leaf({ commonName: 'agent-9', names: { uris: ['spiffe://partner.test/agent/agent-9'], dnsNames: ['agent-9.partner.test'] } });
const dead = pki.issuing.leaf({ commonName: 'agent-10' });
const old = pki.issuing.leaf({ commonName: 'agent-11', notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2026-02-01T00:00:00Z') });
const crlPem = (der: Uint8Array): string => encodePem('X509 CRL', der);

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
  await writeFile(place.path('agent.pem'), agent.chainPem);
  await writeFile(place.path('leaf.pem'), agent.certPem);
  await writeFile(place.path('leaf.der'), agent.certificate.der);
  await writeFile(place.path('issuing.pem'), pki.issuing.certPem);
  await writeFile(place.path('dead.pem'), dead.chainPem);
  await writeFile(place.path('old.pem'), old.chainPem);
  await writeFile(place.path('root.pem'), pki.root.certPem);
  await writeFile(place.path('both.crl.pem'), crlPem(pki.root.crl({ entries: [] })) + crlPem(pki.issuing.crl({ entries: [revokedEntry(dead)] })));
  await writeFile(place.path('root.crl'), pki.root.crl({ entries: [] }));
  await writeFile(place.path('bad.pem'), agent.certPem.replace(/\n.{8}/, '\nAAAAAAAA'));
  await writeFile(place.path('chain-bad.pem'), agent.certPem + agent.certPem.replace(/\n.{8}/, '\nAAAAAAAA') + pki.issuing.certPem);
  await writeFile(place.path('notes.txt'), 'no certificate');
});
afterAll(() => place.remove());

const partner = ['--trust', 'root.pem', '--crl', 'both.crl.pem'];

describe('an accepted certificate', () => {
  it('is shown with its path, its names and what was checked', async () => {
    const { code, stdout, stderr } = await place.run('verify', 'agent.pem', ...partner, '--purpose', 'client');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^✔ agent\.pem is valid as a client, until \d{4}-\d\d-\d\d \d\d:\d\d UTC\n/);
    expect(stdout).toContain('  CN=Partner Root,O=Test\n    trust anchor · CA, pathLen 1 · ');
    expect(stdout).toContain('    └─ CN=Partner Issuing,O=Test\n         CA, pathLen 0 · ');
    expect(stdout).toContain('      └─ CN=agent-9,O=Test\n');
    expect(stdout).toContain('           URI:spiffe://partner.test/agent/agent-9, DNS:agent-9.partner.test\n           not revoked: CRL 1 of CN=Partner Issuing,O=Test\n');
    expect(stdout).toMatch(/\n {2}checked at .* UTC: 2 signatures, names, validity, CA rights and path length, critical extensions, name constraints, policies \(none\), purpose client, revocation\n$/);
  });

  it('is facts with --json', async () => {
    const { results } = await place.json('verify', 'agent.pem', ...partner);
    expect(results).toMatchObject([
      {
        file: 'agent.pem',
        ok: true,
        path: [
          { subject: 'CN=agent-9,O=Test', thumbprint: agent.certificate.thumbprint, status: { status: 'good' } },
          { subject: 'CN=Partner Issuing,O=Test', serial: pki.issuing.certificate.serial, status: { status: 'good' } },
        ],
        anchor: { subject: 'CN=Partner Root,O=Test' },
        policies: [],
        warnings: [],
      },
    ]);
  });

  it.each([
    ['DER with its issuer in another file', ['leaf.der', 'issuing.pem', ...partner]],
    ['its issuer as the anchor', ['leaf.pem', '--trust', 'issuing.pem', '--crl', 'both.crl.pem']],
    ['two anchors, one of them the right one', ['agent.pem', '--trust', 'issuing.pem', ...partner]],
    ['CRLs given one by one, in DER', ['issuing.pem', '--trust', 'root.pem', '--crl', 'root.crl']],
    ['the root itself', ['root.pem', ...partner]],
    ['a time that is given', ['agent.pem', ...partner, '--at', new Date().toISOString()]],
  ])('%s', async (_what, argv) => {
    expect((await place.run('verify', ...argv)).code).toBe(0);
  });

  it('with an unknown status passes only when that is asked for, with a warning', async () => {
    expect((await place.run('verify', 'agent.pem', '--trust', 'root.pem')).stdout).toContain('ERR_PATH_STATUS_UNKNOWN, RFC 5280 §6.3.3\n  → give a current CRL of each CA with --crl, or let it pass with --on-unknown-status allow');
    const { code, stdout } = await place.run('verify', 'agent.pem', '--trust', 'root.pem', '--on-unknown-status', 'allow');
    expect(code).toBe(0);
    expect(stdout).toContain('warning CN=agent-9,O=Test: nobody says whether it was revoked: no CRL of its issuer was given');
  });

  it('of which a further certificate is malformed passes without that one, with a warning', async () => {
    const { code, stdout } = await place.run('verify', 'chain-bad.pem', ...partner);
    expect(code).toBe(0);
    expect(stdout).toContain('warning certificate 2 of chain-bad.pem is left out: the certificate is malformed');
  });
});

describe('a refused certificate', () => {
  it('is told with the reason, the clause, the next step and where in the path', async () => {
    const { code, stdout } = await place.run('verify', 'dead.pem', ...partner);
    expect(code).toBe(3);
    const [first, second, third] = stdout.split('\n');
    expect(first).toMatch(/^✘ dead\.pem is refused: CN=agent-10,O=Test: it was revoked at .*Z for keyCompromise$/);
    expect(second).toBe('  ERR_PATH_REVOKED, RFC 5280 §6.1.3 (a)(3)');
    expect(third).toBe('  → do not use it: have another one issued with another key');
    expect(stdout).toContain('  CN=Partner Root,O=Test\n');
    expect(stdout).toMatch(/└─ CN=agent-10,O=Test\n {11}✘ it was revoked at/);
  });

  it.each([
    ['expired', ['old.pem', ...partner], 'ERR_PATH_EXPIRED'],
    ['for another purpose', ['agent.pem', ...partner, '--purpose', 'server'], 'ERR_PATH_PURPOSE'],
    ['without its issuer', ['leaf.pem', ...partner], 'ERR_PATH_INCOMPLETE'],
    ['not valid at that time', ['agent.pem', ...partner, '--at', '2036-01-01'], 'ERR_PATH_EXPIRED'],
    ['malformed', ['bad.pem', ...partner], 'ERR_CERTIFICATE_INVALID'],
    ['no certificate at all', ['notes.txt', ...partner], 'ERR_PEM_INVALID'],
  ])('%s', async (_what, argv, expected) => {
    const { code, stdout } = await place.run('verify', ...argv, '--json');
    expect([code, (JSON.parse(stdout) as { results: readonly unknown[] }).results]).toMatchObject([3, [{ ok: false, code: expected }]]);
    expect((await place.run('verify', ...argv)).stdout).toContain(`  ${expected}, RFC `);
  });

  it('among several makes the exit code 3, and each is told', async () => {
    const { code, stdout } = await place.run('verify', 'agent.pem', 'old.pem', ...partner);
    expect(code).toBe(3);
    expect(stdout).toMatch(/^✔ agent\.pem[\s\S]*\n\n✘ old\.pem/);
  });
});

it.each([
  ['a file that is not there', ['nowhere.pem', ...partner], 'nowhere.pem cannot be read (ENOENT)'],
  ['a trust file without a certificate', ['agent.pem', '--trust', 'notes.txt'], 'notes.txt of --trust cannot be used'],
  ['a CRL file with something else', ['agent.pem', '--trust', 'root.pem', '--crl', 'root.pem'], 'root.pem of --crl cannot be used: the PEM text holds no X509 CRL block'],
  ['a time that is none', ['agent.pem', ...partner, '--at', '2026-02-30'], '2026-02-30 is not a time'],
  ['a time without a zone', ['agent.pem', ...partner, '--at', '2026-02-01T10:00'], 'is not a time'],
  ['an unknown purpose', ['agent.pem', ...partner, '--purpose', 'email'], 'Allowed choices are client, server, any'],
  ['no data directory and no --trust', ['agent.pem'], 'sallyport.yaml'],
])('usage: %s', async (_what, argv, message) => {
  const { code, stdout, stderr } = await place.run('verify', ...argv);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain(message);
});

it('without --trust goes by the root and the CRLs of the data directory', async () => {
  const { code } = await place.run('init', '--dir', 'port');
  expect(code).toBe(0);
  await place.run('issue', 'agent-7', '--ou', 'analytics', '--out', 'id', '--dir', 'port');
  const accepted = await place.run('verify', 'id/cert.pem', '--purpose', 'client', '--dir', 'port');
  expect([accepted.code, accepted.stdout]).toEqual([0, expect.stringContaining('not revoked: CRL 1 of')]);
  expect((await place.run('verify', 'agent.pem', '--dir', 'port')).stdout).toContain('ERR_PATH_INCOMPLETE');
  await place.run('revoke', 'agent-7', '--reason', 'keyCompromise', '--dir', 'port');
  await place.run('crl', '--out', 'now.crl', '--dir', 'port');
  const revoked = await place.run('verify', 'id/cert.pem', '--dir', 'port');
  expect([revoked.code, revoked.stdout]).toEqual([3, expect.stringContaining('for keyCompromise')]);
  // CRLs that are given replace those of the directory, and the one of the root is missing.
  expect((await place.run('verify', 'port/certs/issuing.cert.pem', '--crl', 'now.crl', '--dir', 'port')).stdout).toContain('ERR_PATH_STATUS_UNKNOWN');
  expect(await readFile(place.path('now.crl'), 'utf8')).toContain('X509 CRL');
});
