import { X509Certificate, generateKeyPairSync, hash } from 'node:crypto';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock } from '../../src/system.ts';
import { Workplace } from './run.ts';

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
  const { code, stderr } = await place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  place.env['SALLYPORT_DIR'] = 'port';
});
afterAll(() => place.remove());

describe('init', () => {
  it('makes a private directory with everything in it and nothing beside it', async () => {
    expect((await readdir(place.directory)).filter((name) => name.startsWith('.'))).toEqual([]);
    expect((await stat(place.path('port'))).mode & 0o777).toBe(0o700);
    for (const key of ['root', 'issuing', 'server', 'audit']) expect((await stat(place.path('port', 'keys', `${key}.key.pem`))).mode & 0o777).toBe(0o600);
    expect((await readdir(place.path('port', 'crl'))).toSorted()).toEqual(['issuing.crl', 'root.crl']);
  });

  it('touches nothing in a directory with content', async () => {
    const { code, stderr } = await place.run('init', '--dir', 'port');
    expect({ code, stderr }).toEqual({ code: 1, stderr: `error ERR_CONFIG_EXISTS: ${place.path('port')} is not empty, and nothing in it was touched: name another with --dir\n` });
  });

  it('leaves nothing behind when it fails', async () => {
    const { code, stderr } = await place.run('init', '--dir', 'bad', '--trust-domain', 'Not A Domain');
    expect(code).not.toBe(0);
    expect(stderr).toContain('is not a trust domain');
    expect((await readdir(place.directory)).filter((name) => name === 'bad' || name.startsWith('.'))).toEqual([]);
  });

  it('encrypts keys with a passphrase, and says what is wrong without it', async () => {
    await writeFile(place.path('secret'), 'open sesame\n');
    expect((await place.run('init', '--dir', 'locked', '--passphrase-file', 'secret')).code).toBe(0);
    expect(await readFile(place.path('locked', 'keys', 'root.key.pem'), 'utf8')).toContain('ENCRYPTED');
    const refused = await place.run('issue', 'a', '--dir', 'locked');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^error ERR_KEY_PASSPHRASE: /);
    expect(refused.stderr).not.toContain('open sesame');
    expect((await place.run('issue', 'a', '--dir', 'locked', '--passphrase-file', 'secret')).code).toBe(0);
    expect((await place.run('inventory', '--dir', 'locked')).code).toBe(0);
  });
});

describe('issue', () => {
  it('writes an identity and answers with what the policy gives it', async () => {
    const issued = await place.json('issue', 'agent-7', '--ou', 'analytics', '--out', 'agent-7');
    expect(issued).toMatchObject({
      subject: 'CN=agent-7,OU=analytics',
      organizationalUnits: ['analytics'],
      uri: 'spiffe://acme.internal/agent/agent-7',
      profile: 'agent',
      grants: [{ upstream: 'default', roles: ['analyst'] }],
    });
    expect(Object.keys(issued)).toEqual(expect.arrayContaining(['serial', 'thumbprint', 'notBefore', 'notAfter']));
    expect((await readdir(place.path('agent-7'))).toSorted()).toEqual(['ca.pem', 'cert.pem', 'identity.json', 'key.pem']);
    expect((await stat(place.path('agent-7', 'key.pem'))).mode & 0o777).toBe(0o600);
  });

  it('issues nothing into a directory with content', async () => {
    const before = await place.run('inventory', '--agent', 'other', '--json');
    const { code, stderr } = await place.run('issue', 'other', '--out', 'agent-7');
    expect(code).toBe(1);
    expect(stderr).toContain('is not empty, and nothing in it was touched');
    expect((await place.run('inventory', '--agent', 'other', '--json')).stdout).toBe(before.stdout);
  });

  it('certifies the key of a CSR and prints only the certificate', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeFile(place.path('a.csr'), encodePem('CERTIFICATE REQUEST', await createCsr(privateKey, { commonName: 'from-csr' })));
    const { code, stdout, stderr } = await place.run('issue', 'from-csr', '--csr', 'a.csr');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^-----BEGIN CERTIFICATE-----\n[^]*-----END CERTIFICATE-----\n$/);
    expect(stderr).toContain('grants     none');
  });

  it('still issues when the policy is broken, and says that it grants nothing', async () => {
    const policy = await readFile(place.path('port', 'policy.yaml'), 'utf8');
    await writeFile(place.path('port', 'policy.yaml'), 'roles: [');
    const { code, stderr, stdout } = await place.run('issue', 'unlucky', '--json');
    await writeFile(place.path('port', 'policy.yaml'), policy);
    expect(code).toBe(0);
    expect(stderr).toContain('what this certificate may do cannot be told');
    expect(JSON.parse(stdout)).toMatchObject({ grants: [] });
  });

  it('makes server certificates', async () => {
    expect(await place.json('issue', 'mcp.acme.internal', '--profile', 'server', '--host', '10.0.0.5', '--out', 'server')).toMatchObject({ profile: 'server', grants: [] });
  });
});

it('token create prints the token alone on standard output', async () => {
  const { code, stdout, stderr } = await place.run('token', 'create', 'agent-8', '--ou', 'analytics');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^sallyport1\.[\w-]{43}\.[\w-]{43}\n$/);
  expect(stderr).toContain('sallyport enroll https://localhost:8444 --token-file - --out ./agent-8');
  expect(stderr).not.toContain('sallyport1.');
});

it('token list shows tokens without their secrets, and token delete takes one back', async () => {
  const { token } = await place.json('token', 'create', 'agent-18');
  const listed = (await place.json('token', 'list')) as unknown as readonly { readonly id: string; readonly agent: string; readonly state: string; readonly createdBy: string }[];
  expect(JSON.stringify(listed)).not.toContain(String(token));
  const mine = listed.find(({ agent }) => agent === 'agent-18');
  expect(mine).toMatchObject({ state: 'unused', createdBy: 'cli:tester' });
  expect(await place.run('token', 'delete', mine?.id.slice(0, 12) ?? '')).toMatchObject({ code: 0, stdout: 'deleted the token of agent-18\n' });
  expect((await place.run('token', 'list')).stdout).not.toContain('agent-18');
  expect(await place.run('token', 'delete', mine?.id ?? '')).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_TOKEN_UNKNOWN') as string });
});

describe('revoke', () => {
  it('revokes every live certificate of an agent, and the CRL lists them', async () => {
    const { serial } = await place.json('issue', 'leaver', '--ou', "r'd");
    const { code, stdout } = await place.run('revoke', 'leaver', '--reason', 'keyCompromise');
    expect({ code, stdout }).toEqual({ code: 0, stdout: `revoked leaver, serial ${String(serial)} (keyCompromise)\n  no gateway is running: a gateway refuses them from its start\n` });
    const crl = await place.run('crl', '--format', 'pem');
    expect(parseCrl(crl.stdout)).toMatchObject({ entryCount: 1 });
    expect(await place.run('revoke', 'leaver')).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error ERR_CA_ALREADY_REVOKED: /) as string });
  });

  it('waits until a running gateway has acted, and says what it did', async () => {
    await place.json('issue', 'watched');
    const store = await openStore(`sqlite:${place.path('port', 'sallyport.db')}`, { clock: systemClock });
    try {
      await store.changes.heartbeat('gateway-1');
      const stop = await store.changes.subscribe((change) => {
        void store.changes.acknowledge('gateway-1', change.seq, { connectionsCut: 2, millis: 3.25 });
      });
      expect(await place.json('revoke', 'watched')).toMatchObject({ gateways: [{ node: 'gateway-1', connectionsCut: 2, millis: 3.25 }], missing: [] });
      await stop();
      await store.changes.forget('gateway-1');
    } finally {
      await store.close();
    }
  });

  it.each([
    [[], 2],
    [['--issued-before', 'yesterday'], 2],
    [['--serial', 'x'], 2],
    [['--key', 'missing.pem'], 2],
    [['--issuer', 'somebody'], 2],
    [['agent-7', '--serial', '01'], 1],
  ])('refuses to guess what is meant by %j', async (argv, code) => {
    expect((await place.run('revoke', ...argv)).code).toBe(code);
  });

  it('shows what a bulk revocation would take, and does it with --yes and no sooner', async () => {
    for (const name of ['bulk-2', 'bulk-3']) await place.json('issue', name, '--ou', "r'd", '--out', name);
    const before = await place.run('inventory', '--json');
    const shown = await place.run('revoke', '--ou', "r'd", '--reason', 'affiliationChanged', '--dir', 'port');
    expect(shown.code).toBe(3);
    expect(shown.stdout).toMatch(/^AGENT .*\nbulk-2 .*\nbulk-3 /);
    expect(shown.stdout).toContain("1 revoked before: skipped\nnothing was revoked yet: 2 would be (affiliationChanged). To do it:\n  sallyport revoke --ou 'r'\\''d' --reason affiliationChanged --dir port --yes\n");
    expect((await place.run('inventory', '--json')).stdout).toBe(before.stdout);
    expect(await place.json('revoke', '--ou', "r'd", '--yes')).toMatchObject({ revoked: [{ agent: 'bulk-2' }, { agent: 'bulk-3' }], alreadyRevoked: [{ agent: 'leaver' }] });
    expect(await place.run('revoke', '--ou', "r'd", '--yes')).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_CA_ALREADY_REVOKED') as string });
  });

  it('takes a key from a certificate or a public key, and an issuer by its name', async () => {
    await place.json('issue', 'by-key', '--out', 'by-key');
    const { publicKey } = new X509Certificate(await readFile(place.path('by-key', 'cert.pem')));
    await writeFile(place.path('by-key', 'public.pem'), publicKey.export({ type: 'spki', format: 'pem' }));
    const spkiHash = hash('sha256', publicKey.export({ type: 'spki', format: 'der' }));
    for (const key of ['by-key/cert.pem', 'by-key/public.pem', spkiHash.toUpperCase()]) {
      const { code, stderr } = await place.run('revoke', '--key', key, '--issuer', 'issuing', '--profile', 'server', '--issued-after', '2026-01-01', '--json');
      expect([code, (JSON.parse(stderr) as { error: { code: string; facts: object } }).error]).toMatchObject([1, { code: 'ERR_CA_CERTIFICATE_UNKNOWN', facts: { spkiHash, issuerId: expect.stringMatching(/^[0-9a-f]{64}$/) as string, profile: 'server', issuedFrom: '2026-01-01T00:00:00.000Z' } }]);
    }
  });

  it('release wants to know what, and lifts nothing but a hold', async () => {
    expect((await place.run('release')).code).toBe(2);
    expect(await place.run('release', 'agent-7')).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error ERR_CA_NOT_HELD: /) as string });
    expect(await place.run('release', 'leaver')).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error ERR_CA_NOT_HELD: .*revoked for good \(keyCompromise\)/) as string });
  });
});

describe('inventory', () => {
  it('says with --algorithms what each certificate rests on', async () => {
    const text = (await place.run('inventory', '--algorithms', '--agent', 'ca:root')).stdout;
    expect(text.split('\n')[0]).toMatch(/SERIAL +KEY +SIGNATURE +QUANTUM-SAFE$/);
    expect(text.split('\n')[1]).toMatch(/p256 +ec +no$/);
    expect(JSON.parse((await place.run('inventory', '--algorithms', '--agent', 'ca:root', '--json')).stdout)).toMatchObject([{ keyAlgorithm: 'p256', signatureAlgorithm: 'ec', quantumSafe: false }]);
    expect((await place.run('inventory', '--algorithms', '--agent', 'ca:root', '--format', 'csv')).stdout).toMatch(/,keyAlgorithm,signatureAlgorithm,quantumSafe\r\n.*,p256,ec,false/);
  });
  it('lists by status, as table, JSON and CSV', async () => {
    await place.json('issue', 'listed', '--ou', 'x');
    const rows = JSON.parse((await place.run('inventory', '--ou', 'x', '--json')).stdout) as readonly object[];
    expect(rows).toMatchObject([{ agent: 'listed', status: 'live', organizationalUnits: ['x'], profile: 'agent' }]);
    expect((await place.run('inventory', '--status', 'revoked', '--agent', 'listed')).stdout).toBe('no certificates\n');
    expect((await place.run('inventory', '--ou', 'x', '--format', 'csv')).stdout.split('\r\n')).toHaveLength(2);
    expect((await place.run('inventory', '--expiring', '1d', '--agent', 'listed')).stdout).toContain('1 certificate');
    expect((await place.run('inventory', '--expiring', 'soon')).code).toBe(2);
  });
});

describe('policy', () => {
  it('check accepts the starting policy, reports warnings with 3, and refuses with the place', async () => {
    expect((await place.run('policy', 'check', 'port/policy.yaml')).code).toBe(0);
    await writeFile(place.path('unused.yaml'), 'roles: { r: {} }\n');
    expect(await place.run('policy', 'check', 'unused.yaml')).toMatchObject({ code: 3 });
    await writeFile(place.path('broken.yaml'), 'rolls: {}\n');
    expect(await place.run('policy', 'check', 'broken.yaml')).toMatchObject({ code: 3, stdout: '', stderr: `error ERR_POLICY_INVALID: ${place.path('broken.yaml')}:1:1: rolls: unknown key: did you mean roles?\n  correct the file; a running gateway keeps the last good policy\n` });
  });

  it('explain says allowed with 0 and denied with 3', async () => {
    const explain = (...more: readonly string[]) => place.run('policy', 'explain', '--cert', 'agent-7/cert.pem', '--json', ...more);
    const allowed = await explain('--tool', 'echo');
    expect(allowed.code).toBe(0);
    expect(JSON.parse(allowed.stdout)).toMatchObject({ decision: { effect: 'allow', reason: 'granted', roles: ['analyst'] } });
    const denied = await explain('--tool', 'get-annotated-message', '--arguments', '{"messageType":"error"}');
    expect(denied.code).toBe(3);
    expect(JSON.parse(denied.stdout)).toMatchObject({ decision: { effect: 'deny', reason: 'argumentsRefused' } });
    expect((await explain('--tool', 'echo', '--arguments', '{')).code).toBe(2);
    expect((await explain()).code).toBe(2);
  });
});

describe('audit', () => {
  it('tail, export and verify, also of the export', async () => {
    expect((await place.run('audit', 'tail', '-n', '1')).stdout.split('\n')).toHaveLength(2);
    expect((await place.run('audit', 'tail', '--action', 'certificate.issued', '--agent', 'agent-7', '--json')).stdout).toMatch(/"actor":"cli:tester"/);
    expect(await place.run('audit', 'verify')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^intact: /) as string });
    expect((await place.run('audit', 'export', '--out', 'a.jsonl')).code).toBe(0);
    expect((await place.run('audit', 'verify', '--file', 'a.jsonl')).code).toBe(0);
    await writeFile(place.path('a.jsonl'), (await readFile(place.path('a.jsonl'), 'utf8')).replace('"agent":"agent-7"', '"agent":"agent-8"'));
    expect(await place.run('audit', 'verify', '--file', 'a.jsonl')).toMatchObject({ code: 3, stdout: expect.stringContaining('changed at ') as string });
  });

  it('verify answers 3 when an entry of the store was altered', async () => {
    const database = new DatabaseSync(place.path('port', 'sallyport.db'));
    const table = database.prepare("select name from sqlite_master where type = 'table' and name like '%audit%entr%'").get() as { name: string } | undefined;
    expect(table).toBeDefined();
    database.exec(`update ${table?.name ?? ''} set event = replace(event, 'agent-7', 'agent-9')`);
    database.close();
    expect(await place.run('audit', 'verify')).toMatchObject({ code: 3, stdout: expect.stringMatching(/^altered: /) as string });
  });
});
