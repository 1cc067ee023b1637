import { webcrypto } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseCsr } from '../../ca/x509/csr.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { run } from '../../src/cli/main.ts';
import { wordsOf } from '../../src/cli/renewal-hook.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { startTestGateway } from '../bridge/test-gateway.ts';
import type { TestGateway } from '../bridge/test-gateway.ts';
import { createTestPki, writeIdentity } from '../bridge/test-pki.ts';
import type { Issued, TestPki } from '../bridge/test-pki.ts';
import { until } from '../support/served-port.ts';
import { Workplace } from './run.ts';

const hour = 3_600_000;
let pki: TestPki;
let place: Workplace;
let gateway: TestGateway;
let due: Issued;
let fresh: Issued;
let refuse = false;
let asked = 0;

beforeAll(async () => {
  [pki, place] = await Promise.all([createTestPki(), Workplace.make()]);
  const now = Date.now();
  due = await pki.issue({ name: 'agent-7', notBefore: new Date(now - 3 * hour), notAfter: new Date(now + hour) });
  fresh = await pki.issue({ name: 'agent-8', notBefore: new Date(now - hour), notAfter: new Date(now + 3 * hour) });
  gateway = await startTestGateway({ pki });
  gateway.handler = async (request, response) => {
    if (request.method === 'OPTIONS') return void response.writeHead(405).end();
    asked += 1;
    if (refuse) return void response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ error: { code: 'ERR_CA_IDENTITY_REVOKED', message: 'revoked' } }));
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { spki } = parseCsr((JSON.parse(Buffer.concat(chunks).toString()) as { csr: string }).csr);
    const publicKey = (await webcrypto.subtle.importKey('spki', Buffer.from(spki), { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify'])) as unknown as CryptoKey;
    const name = gateway.seen.at(-1)?.serial === fresh.serial ? 'agent-8' : 'agent-7';
    const issued = await pki.issue({ name, notBefore: new Date(Date.now() - hour), notAfter: new Date(Date.now() + 10 * hour), publicKey });
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ certificate: issued.certificatePem, ca: pki.rootPem }));
  };
});
afterAll(async () => {
  await gateway.close();
  await place.remove();
});

let folder: string;
let number = 0;
const write = (name: string, issued: Issued, extra: Record<string, unknown> = {}): Promise<string> =>
  writeIdentity(place.path(folder, name), pki, issued, { gateway: gateway.url.href, renewal: `https://localhost:${gateway.port}/renew`, ...extra });
beforeEach(async () => {
  folder = `agents-${++number}`;
  refuse = false;
  asked = 0;
  await mkdir(place.path(folder));
});
const serialIn = async (name: string): Promise<string> => (await loadIdentity(place.path(folder, name))).serial;
const plainSerial = ({ serial }: Issued): string => serial.replace(/^(?:00)+(?=.)/u, '');

describe('sallyport renew', () => {
  it('renews what is due in a folder, says when the others are, and asks for nothing else', async () => {
    await write('a', due);
    await write('b', fresh);
    await write('c', fresh, { renewal: undefined });
    await mkdir(place.path(folder, 'no-identity'));
    const { identities } = (await place.json('renew', folder)) as { identities: Record<string, unknown>[] };
    expect(identities.map(({ outcome, name }) => [outcome, name])).toEqual([['renewed', 'agent-7'], ['fresh', 'agent-7'], ['unrenewable', 'agent-7']]);
    expect(identities[0]).toMatchObject({ replaces: plainSerial(due), serial: await serialIn('a') });
    expect([asked, await serialIn('a') === plainSerial(due), await serialIn('b')]).toEqual([1, false, plainSerial(fresh)]);
  });

  it('with --force renews what is not due, here one that a pattern finds', async () => {
    await write('b', fresh);
    const { code, stdout } = await place.run('renew', `${folder}/*`, '--force');
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^agents-\d+\/b: renewed agent-7: serial [0-9a-f]+, valid until /)]);
    expect(await serialIn('b')).not.toBe(plainSerial(fresh));
  });

  it('says what cannot be renewed with exit code 1, and goes on with the others', async () => {
    await write('a', due);
    await write('b', fresh);
    refuse = true;
    const { code, stdout, stderr } = await place.run('renew', folder);
    expect([code, await serialIn('a')]).toEqual([1, plainSerial(due)]);
    expect(stderr).toContain('refused the renewal');
    expect(stdout).toContain('b: agent-7 is due from ');
  });

  it('with --check says what is fresh, due, late and expired, and ends with 3 for the last two', async () => {
    const now = Date.now();
    const at = (fromHours: number, toHours: number): Promise<Issued> => pki.issue({ name: 'agent-7', notBefore: new Date(now + fromHours * hour), notAfter: new Date(now + toHours * hour) });
    await write('fresh', fresh);
    expect((await place.run('renew', folder, '--check')).code).toBe(0);
    await write('expired', await at(-3, -1));
    await write('late', await at(-3.5, 0.5));
    await write('due', await at(-21, 10));
    const { code, stdout } = await place.run('renew', folder, '--check', '--json');
    const { identities } = JSON.parse(stdout) as { identities: { directory: string; state: string }[] };
    expect([code, identities.map(({ directory, state }) => [directory.split('/').at(-1), state])]).toEqual([3, ['due', 'expired', 'fresh', 'late'].map((state) => [state, state])]);
    expect(asked).toBe(0);
  });

  it.each([
    [['--daemon', '--force'], '--force renews once: leave out --daemon'],
    [['--check', '--exec', 'x'], '--check renews nothing: leave the other options out'],
    [['--signal', 'SIGHUP'], '--signal needs to know whom: give --pid-file FILE'],
    [['--exec', 'a "b'], '--exec needs a program and its arguments'],
    [[], 'there is no identity in'],
  ])('refuses %j', async (options, words) => {
    const { code, stderr } = await place.run('renew', folder, ...options);
    expect([code, stderr]).toEqual([2, expect.stringContaining(words)]);
  });
});

describe('what other programs are told after a renewal', () => {
  it.each([
    ['systemctl reload nginx', ['systemctl', 'reload', 'nginx']],
    [` /opt/a\\ b 'two words' "and 'more'" $HOME;ls `, ['/opt/a\\', 'b', 'two words', "and 'more'", '$HOME;ls']],
  ])('%s is these words, and nothing in them means anything', (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });

  it('is told once for each certificate, and again when it failed', async () => {
    await write('a', due);
    const log = place.path(folder, 'log');
    await writeFile(place.path(folder, 'tell.cjs'), `const fs = require('node:fs'); if (!fs.existsSync(${JSON.stringify(log)})) { console.error('not ready'); process.exit(4); } fs.appendFileSync(${JSON.stringify(log)}, process.env.SALLYPORT_IDENTITY + ' ' + (process.env.SALLYPORT_PASSPHRASE ?? 'none') + '\\n');`);
    const told = ['renew', `${folder}/a`, '--exec', `"${process.execPath}" ${folder}/tell.cjs`];
    const failing = await place.run(...told);
    expect([failing.code, failing.stderr]).toEqual([1, expect.stringContaining('ERR_RENEWAL_HOOK: the renewed certificate was not announced: ')]);
    expect(failing.stderr).toContain('ended with 4: not ready');
    expect(asked).toBe(1);
    await writeFile(log, '');
    for (let time = 0; time < 2; time += 1) expect((await place.run(...told)).code).toBe(0);
    expect([asked, await readFile(log, 'utf8')]).toEqual([1, `${place.path(folder, 'a')} none\n`]);
  });
});

describe('sallyport renew --daemon', () => {
  it('renews what is due, signals who asked for it, and ends when it is told to', async () => {
    await write('a', due);
    await writeFile(place.path('pid'), `${process.pid}\n`);
    const hups: string[] = [];
    const onHup = (signal: string): void => void hups.push(signal);
    process.on('SIGHUP', onHup);
    const abort = new AbortController();
    let out = '';
    const stream = { write: (chunk: string | Uint8Array) => void (out += String(chunk)) };
    const ended = run(['renew', folder, '--daemon', '--json', '--pid-file', 'pid'], {
      stdin: Readable.from([]), stdout: stream, stderr: stream, env: {}, cwd: place.directory, signal: abort.signal, clock: systemClock, randomness: systemRandomness, user: 'tester',
    });
    await until(() => Promise.resolve(hups.length > 0));
    abort.abort();
    expect(await ended).toBe(0);
    process.off('SIGHUP', onHup);
    const events = out.trim().split('\n').map((line) => JSON.parse(line) as { event: string; serial?: string });
    expect(events.map(({ event }) => event)).toEqual(['kept', 'ready', 'renewed', 'announced', 'stopped']);
    expect(events[2]?.serial).toBe(await serialIn('a'));
    expect(hups).toEqual(['SIGHUP']);
  });
});
