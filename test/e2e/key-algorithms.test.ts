import { X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ServedPort } from '../support/served-port.ts';

let port: ServedPort | undefined;
afterEach(async () => {
  await port?.close();
  port = undefined;
});

describe.each([
  ['rsa3072', 'rsa'],
  ['ml-dsa-65', 'ml-dsa-65'],
])('a deployment with %s keys', { timeout: 60_000 }, (algorithm, type) => {
  it('goes the whole way: init, issue, enroll, serve, call, revoke', async () => {
    port = await ServedPort.make('--key-algorithm', algorithm);
    const identity = await port.issue('agent-7', '--ou', 'analytics');
    for (const file of [port.path('port', 'certs', 'root.cert.pem'), port.path('port', 'certs', 'server.cert.pem'), port.path('agent-7', 'cert.pem')]) {
      expect(new X509Certificate(await readFile(file)).publicKey.asymmetricKeyType).toBe(type);
    }
    const gateway = await port.serve();
    const agent = await port.connect(identity, `${gateway.url}/mcp`);
    expect(await agent.call('echo', { text: algorithm })).toBe(algorithm);

    const { token } = await port.place.json('token', 'create', 'agent-8', '--ou', 'analytics');
    const enrolled = await port.place.run('enroll', gateway.enrollUrl, '--token', String(token), '--out', 'agent-8', '--key-algorithm', algorithm);
    expect(enrolled).toMatchObject({ code: 0 });
    const other = await port.connect(port.path('agent-8'), `${gateway.url}/mcp`);
    expect(await other.tools()).toEqual(['echo', 'slow']);

    const revoked = await port.place.json('revoke', 'agent-7', '--reason', 'keyCompromise');
    expect(revoked['gateways']).toHaveLength(1);
    await expect(agent.call('echo', { text: 'again' })).rejects.toThrow('was revoked');
    expect(await other.call('echo', { text: 'still here' })).toBe('still here');
  });
});

describe('a deployment with a passphrase', { timeout: 60_000 }, () => {
  it('opens with it from a file or the environment, and without it or with another refuses to start', async () => {
    port = await ServedPort.make();
    await writeFile(port.path('passphrase'), 'correct horse battery staple\n');
    port.place.env['SALLYPORT_DIR'] = 'locked';
    const made = await port.place.run('init', '--dir', 'locked', '--passphrase-file', 'passphrase');
    expect(made.code).toBe(0);
    for (const key of ['root', 'issuing', 'server', 'audit']) expect(await readFile(port.path('locked', 'keys', `${key}.key.pem`), 'utf8')).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----/);

    const without = await port.command(['serve', '--', 'true']);
    expect(without).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^error ERR_KEY_PASSPHRASE: .*audit\.key\.pem is encrypted; give its passphrase\n {2}give it with --passphrase-file FILE, in SALLYPORT_PASSPHRASE or as the systemd credential sallyport\.passphrase\n$/) });
    const wrong = await port.command(['issue', 'agent-7'], { env: { SALLYPORT_PASSPHRASE: 'incorrect horse' } });
    expect(wrong).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^error ERR_KEY_PASSPHRASE: .* does not open with this passphrase; check it\n {2}give it with/) });
    expect(wrong.stderr).not.toContain('incorrect horse');

    await port.place.json('issue', 'agent-7', '--ou', 'platform', '--out', 'agent-7', '--passphrase-file', 'passphrase');
    const gateway = await port.serve({ env: { SALLYPORT_PASSPHRASE: 'correct horse battery staple' }, args: ['--no-enroll'] });
    // The starting policy gives operators everything.
    const agent = await port.connect(port.path('agent-7'), `${gateway.url}/mcp`);
    expect(await agent.tools()).toContain('delete_everything');
    expect(gateway.enrollUrl).toBeNull();
    // Reading needs no key.
    expect((await port.place.run('inventory')).code).toBe(0);
    expect((await port.place.run('audit', 'verify')).code).toBe(0);
    expect(gateway.running.stdout + gateway.running.stderr).not.toContain('correct horse');
  });
});
