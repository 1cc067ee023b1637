import { execFile } from 'node:child_process';
import { chmod, cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launcher, ServedPort, until } from '../support/served-port.ts';

const run = promisify(execFile);

let port: ServedPort;
beforeAll(async () => {
  port = await ServedPort.make();
  await port.issue('agent-7', '--ou', 'analytics');
  await writeFile(port.path('garbage'), 'garbage\n');
  await writeFile(port.path('half.csr'), '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n');
  await writeFile(port.path('empty'), '');
});
afterAll(() => port.close());

describe('a wrong command line is refused with 2 and names the next step', () => {
  it.each([
    [['frobnicate'], "unknown command 'frobnicate': see sallyport --help"],
    [['issue'], "missing required argument 'name': see sallyport issue --help"],
    [['token', 'create', '--colour'], "unknown option '--colour': see sallyport token create --help"],
    [['issue', 'a', 'b'], 'see sallyport issue --help'],
    [['issue', '../a'], '"../a" is not an agent name; use 1 to 64 letters'],
    [['issue', 'a', '--ttl', '5y'], '"5y" is not a lifetime; write a whole number and a unit'],
    [['issue', 'a', '--ttl', '400d'], 'a lifetime of 400d is outside profile agent; ask for 1s to 90d'],
    [['issue', 'a', '--profile', 'nope'], 'there is no profile "nope"; use one of agent, agent-spiffe, server'],
    [['issue', 'a', '--ou', 'x\u0007y'], 'holds a control or invisible character; remove it'],
    [['issue', 'a', '--csr', 'missing'], 'cannot be read (ENOENT): check its name and mode'],
    [['issue', 'a', '--host', 'b'], '--host is for --profile server: leave it out'],
    [['token', 'create', 'a', '--ttl', '9d'], 'a token may be used for 7d at most'],
    [['revoke'], 'say what to revoke: NAME, --serial HEX, or one of the other options; see --help'],
    [['revoke', '--serial', 'zz'], '--serial zz is not one: copy its hexadecimal digits from sallyport inventory'],
    [['revoke', '--thumbprint', '0a'], '--thumbprint 0a is not one'],
    [['revoke', 'a', '--reason', 'whim'], 'Allowed choices are'],
    [['crl', '--out', 'missing/x'], 'cannot be written (ENOENT): name another file with --out'],
    [['inventory', '--expiring', 'soon'], 'soon is not a duration: write 30d or 12h'],
    [['inventory', '--dir', 'missing'], 'run sallyport init --dir'],
    [['doctor', '--dir', 'missing'], 'run sallyport init --dir'],
    [['policy', 'explain', '--tool', 'x'], "required option '--cert <file>' not specified: see sallyport policy explain --help"],
    [['policy', 'explain', '--cert', 'garbage', '--tool', 'x'], 'holds no certificate'],
    [['policy', 'explain', '--cert', 'agent-7/cert.pem', '--tool', 'x', '--arguments', '{'], '--arguments is not JSON'],
    [['audit', 'tail', '-n', 'x'], '--lines is a whole number'],
    [['audit', 'verify', '--file', 'missing'], 'cannot be read (ENOENT): check its name and mode'],
    [['audit', 'export', '--out', 'missing/x'], 'cannot be written (ENOENT): name another file with --out'],
    [['enroll', 'https://localhost:9', '--out', 'x'], 'give either --token or --token-file'],
    [['enroll', 'https://localhost:9', '--token-file', '-', '--out', 'x'], 'there is no token on standard input: pipe in, or paste, what sallyport token create printed'],
    [['serve', '--passphrase-file', 'missing', '--', 'true'], 'the passphrase file missing cannot be read: check its name and mode'],
    [['serve', '--passphrase-file', 'empty', '--', 'true'], 'the passphrase file empty is empty'],
    [['init', '--dir', 'new', '--host', 'bad_host!'], '"bad_host!" is not a host name; give a DNS name without wildcard, or an IP address'],
    [['init', '--dir', 'new', '--trust-domain', 'Not One'], '"Not One" is not a trust domain; use lower-case letters'],
    [['init', '--dir', 'new', '--key-algorithm', 'rsa1024'], 'Allowed choices are p256, p384, ed25519, rsa3072, rsa4096, ml-dsa-44, ml-dsa-65, ml-dsa-87'],
  ])('%j', async (argv, text) => {
    const plain = await port.place.run(...argv);
    expect(plain).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(/^error ERR_\w+: /) as string });
    expect(plain.stderr).toContain(text);
    const json = await port.place.run(...argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined), '--json', ...(argv.includes('--') ? argv.slice(argv.indexOf('--')) : []));
    expect(json).toMatchObject({ code: 2, stdout: '' });
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: expect.stringMatching(/^ERR_\w+$/) as string, message: expect.stringContaining(text) as string } });
  });
});

describe('a refusal or failure ends with its own code', () => {
  it.each([
    ['half a command', ['token'], 2, 'a command is missing: see sallyport token --help'],
    ['an agent nobody knows', ['revoke', 'nobody'], 1, 'agent "nobody" has no certificate here that could be revoked; see sallyport inventory'],
    ['a CSR that is none', ['issue', 'a', '--csr', 'garbage'], 1, 'garbage is not a certificate signing request ('],
    ['half a CSR', ['issue', 'a', '--csr', 'half.csr'], 1, 'half.csr is not a certificate signing request ('],
    ['a directory with content', ['init', '--dir', 'port'], 1, 'is not empty, and nothing in it was touched: name another with --dir'],
    ['a place where nothing can be made', ['init', '--dir', 'garbage/port'], 1, 'garbage/port cannot be used (ENOTDIR): name another with --dir'],
    ['a policy that is none', ['policy', 'check', 'garbage'], 3, 'correct the file; a running gateway keeps the last good policy'],
    ['an export that is none', ['audit', 'verify', '--file', 'garbage'], 3, 'export it again'],
    ['a certificate that may not', ['policy', 'explain', '--cert', 'agent-7/cert.pem', '--tool', 'delete_everything'], 3, ''],
  ])('%s', async (_what, argv, code, text) => {
    const ran = await port.place.run(...argv);
    expect(ran.code).toBe(code);
    expect(ran.stderr).toContain(text);
  });
});

describe('a data directory that was damaged', () => {
  const damaged = async (name: string, damage: (path: (...parts: string[]) => string) => Promise<unknown>): Promise<{ code: number; stderr: string }> => {
    await rm(port.path('damaged'), { recursive: true, force: true });
    await cp(port.path('port'), port.path('damaged'), { recursive: true });
    await damage((...parts) => port.path('damaged', ...parts));
    return port.place.run('issue', name, '--dir', 'damaged', '--out', `out-${name}`);
  };

  it.each<[string, string, (path: (...parts: string[]) => string) => Promise<unknown>, number, RegExp]>([
    ['key-open', 'a key others may read', (path) => chmod(path('keys', 'issuing.key.pem'), 0o644), 3, /^error ERR_KEY_MODE: .*run chmod 600 on it/],
    ['key-garbage', 'a key that is none', (path) => writeFile(path('keys', 'issuing.key.pem'), 'garbage'), 1, /^error ERR_KEY_UNREADABLE: .*issuing\.key\.pem holds no private key/],
    ['key-other', 'a key of another certificate', (path) => cp(path('keys', 'root.key.pem'), path('keys', 'issuing.key.pem')), 1, /^error ERR_KEY_UNREADABLE: .*is not the key of its certificate; restore the one made with it/],
    ['key-gone', 'a key that is gone', (path) => rm(path('keys', 'issuing.key.pem')), 1, /^error ERR_KEY_UNREADABLE: there is no key at/],
    ['certificate', 'a certificate that is none', (path) => writeFile(path('certs', 'issuing.cert.pem'), 'garbage'), 1, /^error ERR_PEM_INVALID: .*issuing\.cert\.pem: /],
    ['yaml', 'YAML that is none', (path) => writeFile(path('sallyport.yaml'), 'gateway: {listen: ['), 2, /^error ERR_CONFIG_INVALID: .*sallyport\.yaml:1:\d+: /],
    ['yaml-key', 'an unknown key', (path) => writeFile(path('sallyport.yaml'), 'gatewy: {}'), 2, /^error ERR_CONFIG_INVALID: .*sallyport\.yaml:1:1: gatewy: unknown key: did you mean gateway\?/],
    ['store', 'a store that is none', async (path) => {
      for (const name of await readdir(path())) if (name.startsWith('sallyport.db')) await rm(path(name));
      await writeFile(path('sallyport.db'), 'garbage');
    }, 1, /^error ERR_STORE_UNAVAILABLE: .*it is not a Sallyport database, or it is damaged; restore it/],
    ['postgres', 'a PostgreSQL nobody answers for', (path) => writeFile(path('sallyport.yaml'), 'name: Acme\ntrustDomain: acme.internal\nstore: postgres://u:hunter2-password@127.0.0.1:9/db\n'), 1, /^error ERR_STORE_UNAVAILABLE: the store at 127\.0\.0\.1:9\/db cannot be used: it cannot be reached/],
  ])('says so (%s): %s', async (name, _what, damage, code, text) => {
    const ran = await damaged(name, damage);
    expect({ code: ran.code, stderr: ran.stderr }).toEqual({ code, stderr: expect.stringMatching(text) as string });
    expect(ran.stderr).not.toMatch(/hunter2|BEGIN .*PRIVATE|\n\s+at /);
    expect(await readdir(port.place.directory)).not.toContain(`out-${name}`);
  });
});

describe('init', { timeout: 60_000 }, () => {
  const leftovers = async (): Promise<readonly string[]> => (await readdir(port.place.directory)).filter((name) => name.startsWith('.'));

  it('killed in the middle leaves nothing that is taken for a data directory, and can be run again', async () => {
    const running = port.start(['init', '--dir', 'killed', '--key-algorithm', 'rsa3072']);
    await until(async () => (await leftovers()).length > 0 || running.child.exitCode !== null);
    await running.kill();
    // A fast machine may have finished it: then it is whole.
    if (!(await readdir(port.place.directory)).includes('killed')) {
      expect((await port.place.run('inventory', '--dir', 'killed')).stderr).toMatch(/^error ERR_CONFIG_MISSING: /);
      expect((await port.place.run('init', '--dir', 'killed')).code).toBe(0);
    }
    expect((await port.place.run('audit', 'verify', '--dir', 'killed')).code).toBe(0);
    for (const name of await leftovers()) await rm(port.path(name), { recursive: true });
  });

  it('run twice at once makes one whole data directory', async () => {
    const both = await Promise.all(['p256', 'p384'].map((algorithm) => port.command(['init', '--dir', 'twice', '--key-algorithm', algorithm])));
    expect(both.map(({ code }) => code).toSorted()).toEqual([0, 1]);
    expect(both.find(({ code }) => code === 1)?.stderr).toMatch(/^error ERR_CONFIG_EXISTS: /);
    expect(await port.place.run('issue', 'a', '--dir', 'twice', '--out', 'twice-a')).toMatchObject({ code: 0 });
    expect(await leftovers()).toEqual([]);
  });

  it.skipIf(process.platform === 'win32')('on a full disk says so and leaves nothing behind', async () => {
    const { code, stderr } = await run('sh', ['-c', `ulimit -f 8; exec "${process.execPath}" "${launcher}" init --dir full`], { cwd: port.place.directory }).then(
      () => ({ code: 0, stderr: '' }),
      (error: { code: number; stderr: string }) => error,
    );
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error ERR_\w+: .*\/full.*(?:space|disk)/) as string });
    expect(stderr).not.toContain('.sallyport/');
    expect(await readdir(port.place.directory)).not.toContain('full');
    expect(await leftovers()).toEqual([]);
  });
});

describe('two commands at once', { timeout: 60_000 }, () => {
  it('issue two certificates, and the log of it is intact', async () => {
    const both = await Promise.all(['left', 'right'].map((name) => port.command(['issue', name, '--json'])));
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const serials = both.map(({ stdout }) => (JSON.parse(stdout) as { serial: string }).serial);
    expect(new Set(serials).size).toBe(2);
    expect((await port.place.run('audit', 'verify')).code).toBe(0);
  });

  it('for one agent and one directory give it one certificate that works', async () => {
    const both = await Promise.all([1, 2].map(() => port.command(['issue', 'same', '--json'])));
    expect(both.map(({ code }) => code).toSorted()).toEqual([0, 1]);
    const kept = JSON.parse(both.find(({ code }) => code === 0)?.stdout ?? '{}') as { thumbprint: string };
    const live = (await port.place.json('inventory', '--agent', 'same', '--status', 'live')) as unknown as readonly { thumbprint: string }[];
    expect(live.map(({ thumbprint }) => thumbprint)).toEqual([kept.thumbprint]);
  });
});

describe('manners', { timeout: 60_000 }, () => {
  it.skipIf(process.platform === 'win32')('a reader that goes away ends the command quietly', async () => {
    const { stdout, stderr } = await run('sh', ['-c', `{ "${process.execPath}" "${launcher}" audit export; echo "exit $?" >&2; } | head -n 1`], { cwd: port.place.directory, env: { ...process.env, SALLYPORT_DIR: 'port' } });
    expect(JSON.parse(stdout)).toBeTypeOf('object');
    expect(stderr).toBe('exit 0\n');
  });

  it('colours only what a terminal shows, and never with NO_COLOR', async () => {
    expect((await port.place.run('policy', 'check', 'port/policy.yaml')).stdout).not.toContain('\u001b');
    port.place.env['FORCE_COLOR'] = '1';
    expect((await port.place.run('policy', 'check', 'port/policy.yaml')).stdout).toContain('\u001b[2m');
    port.place.env['NO_COLOR'] = '1';
    expect((await port.place.run('policy', 'check', 'port/policy.yaml')).stdout).not.toContain('\u001b');
    delete port.place.env['FORCE_COLOR'];
    delete port.place.env['NO_COLOR'];
  });

  it.each([
    ['inventory'],
    ['crl'],
    ['policy', 'check', 'port/policy.yaml'],
    ['policy', 'explain', '--cert', 'agent-7/cert.pem', '--tool', 'echo'],
    ['token', 'create', 'a'],
    ['audit', 'verify'],
  ])('%s %s %s prints one JSON value with --json and nothing else', async (...argv) => {
    const { stdout, stderr } = await port.place.run(...argv.filter((word) => word !== undefined), '--json');
    expect(JSON.parse(stdout)).toBeTypeOf('object');
    expect(stderr).toBe('');
  });

  it('audit tail -f follows and ends with 0 at SIGTERM', async () => {
    const tail = port.start(['audit', 'tail', '-n', '0', '-f', '--json']);
    // It looks from where the log ends when it starts, which is not for us to see.
    await until(async () => {
      await port.place.json('token', 'create', 'followed');
      return tail.stdout.includes('\n');
    });
    expect(JSON.parse(await tail.firstLine())).toMatchObject({ action: 'token.created', agent: 'followed' });
    expect(await tail.stop()).toBe(0);
  });
});

describe('everything written', () => {
  it('holds no private key, token secret or passphrase outside the files for them', async () => {
    const secret = 'correct horse battery staple';
    await writeFile(port.path('passphrase'), secret);
    await port.place.run('init', '--dir', 'locked', '--passphrase-file', 'passphrase');
    const said: string[] = [];
    const token = JSON.parse((await port.place.run('token', 'create', 'quiet', '--dir', 'locked', '--passphrase-file', 'passphrase', '--json')).stdout) as { token: string };
    for (const argv of [['issue', 'quiet'], ['issue', 'quiet', '--json'], ['revoke', 'quiet'], ['audit', 'tail'], ['audit', 'export'], ['inventory', '--json']]) {
      const { stdout, stderr } = await port.place.run(...argv, '--dir', 'locked', ...(argv[0] === 'issue' || argv[0] === 'revoke' ? ['--passphrase-file', 'passphrase'] : []));
      said.push(stdout, stderr);
    }
    const keys = await Promise.all([['locked', 'keys', 'issuing.key.pem'], ['quiet', 'key.pem']].map(async (parts) => (await readFile(port.path(...parts), 'utf8')).split('\n')[1] ?? ''));
    const [, tokenSecret = ''] = token.token.split('.');
    for (const name of await readdir(port.path('locked'))) {
      if (name === 'keys') continue;
      const file = await readFile(port.path('locked', name)).catch(() => Buffer.alloc(0));
      said.push(file.toString('latin1'));
    }
    for (const each of [secret, tokenSecret, ...keys]) {
      expect(each.length).toBeGreaterThan(20);
      for (const text of said) expect(text.includes(each)).toBe(false);
    }
  });
});
