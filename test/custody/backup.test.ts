import { existsSync } from 'node:fs';
import { readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCrl } from '../../ca/x509/crl.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { parseConfig } from '../../src/config/load.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { auditOrigin, openDeployment, openForRecording } from '../../src/app/deployment.ts';
import { createLogger } from '../../src/app/log.ts';
import { createBackup } from '../../src/custody/backup.ts';
import type { BackupOptions } from '../../src/custody/backup.ts';
import { checkBackup } from '../../src/custody/check.ts';
import { readBackup } from '../../src/custody/contents.ts';
import { openBackup, restoreBackup } from '../../src/custody/restore.ts';
import type { RestoreOptions } from '../../src/custody/restore.ts';
import { tidy } from '../../src/custody/tidy.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';
import { testPostgres } from '../support/postgres.ts';
import { ServedPort, fixtureCommand } from '../support/served-port.ts';

const passphrase = 'correct horse battery staple';
const postgres = await testPostgres();

let port: ServedPort;
beforeAll(async () => {
  port = await ServedPort.make();
  port.place.env['SALLYPORT_BACKUP_PASSPHRASE'] = passphrase;
});
afterAll(async () => {
  await port.close();
  if (!('skipped' in postgres)) await postgres.close();
});

/** As the command makes it, with a passphrase that costs little. */
const backup = async (name: string, options: Partial<BackupOptions> = {}) => {
  const { config, store, close } = await openForRecording(port.path('port'), { clock: systemClock });
  try {
    return await createBackup({ config, store, file: port.path(name), existing: 'refuse', passphrase, clock: systemClock, randomness: systemRandomness, version: '0.0.0', actor: 'cli:tester', logN: 10, ...options });
  } finally {
    await close();
  }
};

const restore = (name: string, directory: string, options: Partial<RestoreOptions> = {}) =>
  restoreBackup({ file: port.path(name), passphrase, directory: port.path(directory), keyPassphrase: undefined, tokens: 'expire', clock: systemClock, actor: 'cli:tester', auditOrigin, ...options });

const check = async (name: string) => {
  const file = await openBackup(port.path(name));
  try {
    return await checkBackup(readBackup(file, { passphrase }));
  } finally {
    await file.close();
  }
};

const serve = async (directory: string): Promise<RunningGateway> => {
  const gateway = await createGateway({ directory: port.path(directory), upstreams: { default: { command: fixtureCommand } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
  return gateway;
};

const crlNumber = async (gateway: RunningGateway): Promise<bigint> => parseCrl(new Uint8Array(await (await fetch(`${gateway.publicUrl ?? ''}/crl/issuing.crl`)).arrayBuffer())).crlNumber ?? 0n;

it('goes on elsewhere from a backup of a running gateway: the same agent is let in, CRL numbers go on, tokens do not', async () => {
  const identity = await port.issue('agent-7', '--ou', 'analytics');
  const { token } = await port.place.json('token', 'create', 'agent-8', '--ou', 'analytics');
  const old = await serve('port');
  const agent = await port.connect(identity, `${old.url}/mcp`);
  expect(await agent.call('echo', { text: 'before' })).toBe('before');

  const made = await port.place.run('backup', 'port.backup');
  // After a second it says how far it is.
  expect(made.code).toBe(0);
  expect(made.stdout).toMatch(/^made port\.backup, \d+ KiB\n {2}\d+ certificates, \d+ audit entries, \d+ files, as of /);
  expect((await stat(port.path('port.backup'))).mode & 0o777).toBe(0o600);
  expect((await port.place.run('audit', 'tail', '--action', 'backup.created')).stdout).toContain('port.backup');

  // Work after the backup, which the restored one knows nothing of.
  await port.issue('agent-9');
  await port.place.json('revoke', 'agent-9');
  await old.deployment.authority.publishCrl('issuing');
  const last = await crlNumber(old);
  await old.close({ drainMs: 0 });

  const restored = await port.place.run('restore', 'port.backup', '--dir', 'second');
  expect(restored.code).toBe(0);
  expect(restored.stdout).toContain('1 was expired');
  for (const path of ['keys/root.key.pem', 'keys/sealing.key.pem', 'keys/audit.key.pem', 'certs/root.cert.pem', 'policy.yaml', 'sallyport.yaml', 'audit.vkey']) {
    expect(await readFile(port.path('second', path)), path).toEqual(await readFile(port.path('port', path)));
    expect((await stat(port.path('second', path))).mode, path).toBe((await stat(port.path('port', path))).mode);
  }
  expect((await stat(port.path('second'))).mode & 0o777).toBe(0o700);
  expect((await stat(port.path('second', 'sallyport.db'))).mode & 0o777).toBe(0o600);
  expect(await readdir(port.path('second'))).not.toContain('sallyport.db-wal');

  const second = await serve('second');
  try {
    expect(await (await port.connect(identity, `${second.url}/mcp`)).call('echo', { text: 'after' })).toBe('after');
    await expect(port.connect(port.path('agent-9'), `${second.url}/mcp`)).rejects.toThrow(/not in its inventory/);
    expect(await crlNumber(second)).toBeGreaterThan(last);
    const { code, stderr } = await port.place.run('enroll', second.enrollUrl ?? '', '--token', String(token), '--out', 'agent-8');
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('the enrollment token is not valid') as string });
  } finally {
    await second.close({ drainMs: 0 });
  }
  expect((await port.place.run('audit', 'verify', '--dir', 'second')).stdout).toMatch(/^intact/);
  expect((await port.place.run('ca', 'audit', '--dir', 'second')).stdout).toMatch(/^clean/);
  expect((await port.place.run('audit', 'tail', '--dir', 'second', '--action', 'store.restored', '--json')).stdout).toMatch(/"crlNumberFloor":"17\d+"/);
});

it('is of one moment, while others issue and revoke', async () => {
  const { config, store, close } = await openForRecording(port.path('port'), { clock: systemClock });
  const stop = new AbortController();
  const busy = (async () => {
    for (let n = 0; !stop.signal.aborted; n++) await store.ca.recordEvent({ action: 'gateway.started', outcome: 'done', time: new Date(), actor: `busy-${n}` });
  })();
  try {
    const before = await store.audit.size();
    const made = await createBackup({ config, store, file: port.path('busy.backup'), existing: 'refuse', passphrase, clock: systemClock, randomness: systemRandomness, version: '0.0.0', actor: 'cli:tester', logN: 10 });
    stop.abort();
    await busy;
    expect(made.auditEntries).toBeGreaterThanOrEqual(before);
    expect(await check('busy.backup')).toMatchObject({ findings: [], tables: { audit_entry: made.auditEntries, certificate: made.certificates } });
  } finally {
    stop.abort();
    await busy;
    await close();
  }
});

describe('a backup that is not whole', () => {
  it.each([
    ['another passphrase', 'ERR_BACKUP_PASSPHRASE', (octets: Buffer) => octets, 'wrong horse battery staple'],
    ['a changed octet', 'ERR_BACKUP_ALTERED', (octets: Buffer) => octets.with(octets.length - 40, (octets.at(-40) ?? 0) ^ 1), passphrase],
    ['a missing end', 'ERR_BACKUP_TRUNCATED', (octets: Buffer) => octets.subarray(0, -1), passphrase],
  ] as const)('with %s is refused, and nothing is left of it', async (_what, code, change, word) => {
    await backup('whole.backup', { existing: 'replace' });
    await writeFile(port.path('bad.backup'), change(await readFile(port.path('whole.backup'))));
    await expect(restore('bad.backup', 'third', { passphrase: word })).rejects.toMatchObject({ code });
    expect((await readdir(port.place.directory)).filter((name) => name === 'third' || name.startsWith('.'))).toEqual([]);
  });

  it('is never found under the name it was to have', async () => {
    const stop = new AbortController();
    await expect(backup('stopped.backup', { signal: stop.signal, onProgress: () => stop.abort() })).rejects.toThrow();
    expect((await readdir(port.place.directory)).filter((name) => name.includes('stopped'))).toEqual([]);
  });
});

it('touches nothing that is in the way', async () => {
  await backup('there.backup');
  await expect(backup('there.backup')).rejects.toMatchObject({ code: 'ERR_CONFIG_EXISTS' });
  await expect(restore('there.backup', 'port')).rejects.toMatchObject({ code: 'ERR_CONFIG_EXISTS' });
  await writeFile(port.path('short'), 'eleven char\n');
  const { code, stderr } = await port.place.run('backup', 'short.backup', '--backup-passphrase-file', 'short');
  expect({ code, stderr }).toEqual({ code: 2, stderr: 'error ERR_USAGE: the passphrase of a backup has at least 12 characters: every key is in it\n' });
});

it('takes what links lead to, says what it leaves out, and keeps tokens only when told to', async () => {
  await writeFile(port.path('elsewhere.yaml'), 'text');
  await symlink(port.path('elsewhere.yaml'), port.path('port', 'linked.yaml'));
  await symlink(port.place.directory, port.path('port', 'looping'));
  const locks = ['.hierarchy.lock', '.hierarchy.lock.19a4b63d-99f3-4753-b467-0ab5c3b44bbb', 'server.renewal.lock'];
  for (const lock of locks) await writeFile(port.path('port', 'certs', lock), '{"pid":1,"host":"elsewhere"}');
  expect(await backup('links.backup')).toMatchObject({ skipped: ['looping'] });
  const restored = await restore('links.backup', 'fourth', { tokens: 'keep' });
  expect(restored.tokensExpired).toBe(0);
  expect(await readFile(port.path('fourth', 'linked.yaml'), 'utf8')).toBe('text');
  // Of processes that are not there to let go of them: the first change of the hierarchy would wait two minutes.
  for (const lock of locks) {
    expect(existsSync(port.path('fourth', 'certs', lock))).toBe(false);
    await rm(port.path('port', 'certs', lock));
  }
  // The same backup a second time: its CRL numbers are beyond those of the first.
  expect((await restore('links.backup', 'fifth', { clock: { now: () => new Date(Date.now() + 5_000) } })).crlNumberFloor).toBeGreaterThan(restored.crlNumberFloor + 5n);
  await expect(restore('links.backup', 'sixth', { clock: { now: () => new Date(0) } })).rejects.toMatchObject({ code: 'ERR_BACKUP_INVALID' });
});

it('takes back what was revoked since, known to the backup or not, from the CRLs that were published', async () => {
  const leaked = await port.issue('leaked', '--ou', 'analytics');
  const { authority, store, close } = await openDeployment(port.path('port'), { clock: systemClock, randomness: systemRandomness, onBackgroundError: () => undefined });
  const crlOf = async (which: 'issuing' | 'root') => {
    await authority.publishCrl(which);
    const octets = (await store.ca.latestCrl(authority[which].id))?.der ?? new Uint8Array();
    return { name: `${which}.crl`, octets };
  };
  const held = await authority.issue({ agent: 'held' });
  await authority.revoke({ agent: 'held' }, { reason: 'certificateHold' });
  const older = { ...(await crlOf('issuing')), name: 'older.crl' };
  const current = await crlOf('issuing');
  await backup('revocations.backup');
  const newcomer = await authority.issue({ agent: 'newcomer' });
  await authority.revoke({ agent: 'held' }, { reason: 'privilegeWithdrawn' });
  for (const agent of ['leaked', 'newcomer']) await authority.revoke({ agent }, { reason: 'keyCompromise' });
  const [newest, ofRoot] = [await crlOf('issuing'), await crlOf('root')];
  const serials = { leaked: (await authority.certificates({ agent: 'leaked' }))[0]?.serial ?? '', held: held.serial, newcomer: newcomer.serial };
  await close();
  const published = parseCrl(newest.octets);

  const { issuing } = createTestPki();
  const altered = newest.octets.slice();
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
  for (const [refused, code] of [
    [older, 'ERR_CRL_STALE'], [{ name: 'altered.crl', octets: altered }, 'ERR_CRL_SIGNATURE'], [{ name: 'no.crl', octets: Uint8Array.of(0x30, 0) }, 'ERR_CRL_INVALID'], [{ name: 'no.pem', octets: Buffer.from('-----BEGIN NOTHING-----\nAAAA\n-----END NOTHING-----\n') }, 'ERR_CRL_INVALID'],
    [{ name: 'foreign.crl', octets: issuing.crl({ entries: [] }) }, 'ERR_CRL_ISSUER'], [{ name: 'delta.crl', octets: issuing.crl({ entries: [], baseCrlNumber: 1 }) }, 'ERR_CRL_SCOPE'],
  ] as const) {
    await expect(restore('revocations.backup', 'refused', { crls: [newest, refused] })).rejects.toMatchObject({ code, message: expect.stringContaining(refused.name) as string });
  }
  expect((await readdir(port.place.directory)).filter((name) => name === 'refused' || name.startsWith('.'))).toEqual([]);
  // As new as the backup's own is not older, and says nothing that it does not know.
  expect((await restore('revocations.backup', 'same', { crls: [current] })).revocations).toEqual({ recorded: 0, unknown: [] });
  // After a long outage the CRL has expired; the revocations have not. On PostgreSQL too, where there is one.
  expect((await restore('revocations.backup', 'later', { crls: [newest], store: 'skipped' in postgres ? undefined : await postgres.createSchema(), clock: { now: () => new Date(Date.now() + 400 * 86_400_000) } })).revocations.recorded).toBe(3);

  // All in one file, as `sallyport crl` writes partitions.
  await writeFile(port.path('all.pem'), encodePem('X509 CRL', newest.octets) + encodePem('X509 CRL', ofRoot.octets));
  await writeFile(port.path('again.crl'), newest.octets);
  const restored = await port.place.run('restore', 'revocations.backup', '--dir', 'revoking', '--crl', 'all.pem', '--crl', 'again.crl');
  expect(restored).toMatchObject({ code: 0, stderr: '' });
  expect(restored.stdout).toContain(`3 were taken from CRLs, 1 of them of certificates issued since the backup; those made since these CRLs are missing: revoke again\n               ${serials.newcomer}: not in the backup, kept revoked by its serial\n`);
  const entries = (await port.place.run('audit', 'tail', '--dir', 'revoking', '--action', 'certificate.revoked', '--json', '-n', '3')).stdout.trim().split('\n').map((line) => JSON.parse(line) as { serial: string; reason: string; detail: unknown });
  const detail = (serial: string) => ({ crlNumber: String(published.crlNumber), revokedAt: published.find(serial)?.revokedAt.toISOString() });
  expect(Object.fromEntries(entries.map((entry) => [entry.serial, [entry.reason, entry.detail]]))).toEqual({
    [serials.leaked]: ['keyCompromise', detail(serials.leaked)], [serials.newcomer]: ['keyCompromise', detail(serials.newcomer)], [serials.held]: ['privilegeWithdrawn', detail(serials.held)],
  });

  const gateway = await serve('revoking');
  try {
    await expect(port.connect(leaked, `${gateway.url}/mcp`)).rejects.toThrow(/revoked/);
    await gateway.deployment.authority.publishCrl('issuing');
    const next = parseCrl(new Uint8Array(await (await fetch(`${gateway.publicUrl ?? ''}/crl/issuing.crl`)).arrayBuffer()));
    expect(next.crlNumber).toBeGreaterThan(published.crlNumber ?? 0n);
    for (const serial of Object.values(serials)) expect(next.find(serial)).toEqual(published.find(serial));
  } finally {
    await gateway.close({ drainMs: 0 });
  }
  expect((await port.place.run('ca', 'audit', '--dir', 'revoking')).stdout).toMatch(/^clean/);
  expect((await port.place.run('audit', 'verify', '--dir', 'revoking')).stdout).toMatch(/^intact/);
});

it('names whatever the configuration has outside the data directory, since it is not in it', async () => {
  const config = parseConfig(`
policy: ../policy.yaml
upstreams:
  near: { command: [node, x.js], cwd: inside }
  far: { command: [node, x.js], cwd: /srv/far }
  web: { url: "https://mcp.example/mcp", tls: { ca: /etc/web-ca.pem, cert: ../web.pem, key: web.key }, credential: { header: Authorization, fromFile: /etc/token } }
trust:
  corp: { anchors: [/etc/corp.pem, corp.pem], issuers: [/etc/corp-issuing.pem], identity: { from: dns }, crl: [{ from: "https://pki.example/corp.crl", delta: /var/corp-delta.crl, issuer: ../corp-crl.pem }, ../corp.crl] }
  mesh: { spiffe: { trustDomain: mesh.example, bundle: ../mesh.json } }
`, { directory: port.path('port') });
  const outside = ['/etc/corp-issuing.pem', '/etc/corp.pem', '/etc/token', '/etc/web-ca.pem', '/srv/far', '/var/corp-delta.crl', ...['corp-crl.pem', 'corp.crl', 'mesh.json', 'policy.yaml', 'web.pem'].map((name) => port.path(name))];
  expect((await backup('outside.backup', { config })).skipped.filter((path) => path !== 'looping').toSorted()).toEqual(outside.toSorted());
});

it('finds an audit log that was altered, and is not restored then', async () => {
  const { config, store, close } = await openForRecording(port.path('port'), { clock: systemClock });
  try {
    const altered = { ...store, snapshot: ((work) => store.snapshot((of) => work({ ...of, rows: (table) => alter(of.rows(table), table.name) }))) as typeof store.snapshot };
    await createBackup({ config, store: altered, file: port.path('altered.backup'), existing: 'refuse', passphrase, clock: systemClock, randomness: systemRandomness, version: '0.0.0', actor: 'cli:tester', logN: 10 });
  } finally {
    await close();
  }
  expect((await check('altered.backup')).findings).toEqual([{ where: 'audit log', message: 'entry 2 was changed: its content does not match the hash it was recorded with' }]);
  await expect(restore('altered.backup', 'seventh')).rejects.toMatchObject({ code: 'ERR_BACKUP_CONTENT' });
});

async function* alter<Rows extends readonly (readonly unknown[])[]>(pages: AsyncIterable<Rows>, table: string): AsyncGenerator<Rows> {
  for await (const page of pages) yield table === 'audit_entry' ? (page.map((row) => (row[0] === 2 ? [row[0], String(row[1]).replace('done', 'denied'), ...row.slice(2)] : row)) as unknown as Rows) : page;
}

it.skipIf('skipped' in postgres)('moves a deployment from SQLite to PostgreSQL and back', async () => {
  if ('skipped' in postgres) return;
  await backup('to-postgres.backup');
  const url = await postgres.createSchema();
  await restore('to-postgres.backup', 'on-postgres', { store: url });
  expect(await readFile(port.path('on-postgres', 'sallyport.yaml'), 'utf8')).toContain(`store: ${url}`);
  // A store that is there is not written to.
  await expect(restore('to-postgres.backup', 'again', { store: url })).rejects.toMatchObject({ code: 'ERR_CONFIG_EXISTS' });

  const { config, store, close } = await openForRecording(port.path('on-postgres'), { clock: systemClock });
  try {
    await createBackup({ config, store, file: port.path('from-postgres.backup'), existing: 'refuse', passphrase, clock: systemClock, randomness: systemRandomness, version: '0.0.0', actor: 'cli:tester', logN: 10 });
    // Tidying is for both databases too.
    expect((await tidy({ store, clock: { now: () => new Date(Date.now() + 60 * 86_400_000) }, olderThanMs: 30 * 86_400_000, actor: 'cli:tester' })).find(({ rule }) => rule === 'tokens')).toEqual({ rule: 'tokens', rows: 1 });
  } finally {
    await close();
  }
  await restore('from-postgres.backup', 'back', { store: 'sqlite:db/own.db' });
  const [before, after] = await Promise.all(['port/sallyport.db', 'back/db/own.db'].map(async (path) => {
    const opened = await openStore(`sqlite:${port.path(path)}`, { clock: systemClock });
    const certificates = await opened.ca.findCertificates({});
    await opened.close();
    return certificates;
  }));
  expect(after).toEqual(before);
  expect((await port.place.run('audit', 'verify', '--dir', 'back')).stdout).toMatch(/^intact/);
});
