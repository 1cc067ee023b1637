import { spawnSync } from 'node:child_process';
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { renewalDue } from '../../ca/renewal-due.ts';
import { parseCsr, verifyCsr } from '../../ca/x509/csr.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { Renewal } from '../../src/bridge/renewal.ts';
import { startTestGateway } from './test-gateway.ts';
import type { TestGateway } from './test-gateway.ts';
import { createTestPki, writeIdentity } from './test-pki.ts';
import type { Issued, TestPki } from './test-pki.ts';

const minute = 60_000;
const hour = 60 * minute;
/** The lifetime of the certificate in use: three hours and the minute that it is backdated, of which two have passed at `due`. */
const start = Math.floor(Date.now() / 1_000) * 1_000 - 2 * hour;
const end = start + 3 * hour - 1_000;
const due = start + 2 * hour;

let pki: TestPki;
let foreign: TestPki;
let agent: Issued;
let gateway: TestGateway;
let directory: string;
let now: number;
let asked: string[];
let answer: (csr: string) => Promise<unknown>;
const notices: string[] = [];
const started: Renewal[] = [];
const clock = { now: () => new Date(now) };

beforeAll(async () => {
  [pki, foreign] = await Promise.all([createTestPki(), createTestPki('Foreign')]);
  agent = await pki.issue({ name: 'agent-7', notBefore: new Date(start - minute), notAfter: new Date(end) });
  gateway = await startTestGateway({ pki });
  gateway.handler = async (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === 'OPTIONS') {
      response.writeHead(405).end();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    asked.push((request.socket as unknown as { getPeerX509Certificate(): X509Certificate }).getPeerX509Certificate().serialNumber.toLowerCase());
    const { csr } = JSON.parse(Buffer.concat(chunks).toString()) as { csr: string };
    const body = await answer(csr);
    const refused = typeof body === 'object' && body !== null && 'error' in body;
    response.writeHead(refused ? 403 : 200, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
});
afterAll(() => gateway.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'renewal-'));
  await writeIdentity(directory, pki, agent, { renewal: `https://localhost:${gateway.port}/renew` });
  now = due;
  asked = [];
  notices.length = 0;
  answer = successor();
  gateway.verdicts.clear();
});
afterEach(async () => {
  for (const renewal of started.splice(0)) renewal.stop();
  await rm(directory, { recursive: true, force: true });
});

interface Wish {
  readonly name?: string;
  readonly notBefore?: number;
  readonly notAfter?: number;
  readonly from?: TestPki;
  readonly key?: 'asked' | 'other';
}

/** What the renewal endpoint answers: a certificate for the key of the request, as the CA would make it. */
const successor = ({ name = 'agent-7', notBefore = start + 2 * hour - minute, notAfter = end + 2 * hour, from = pki, key = 'asked' }: Wish = {}) => async (csr: string): Promise<unknown> => {
  const request = parseCsr(csr);
  verifyCsr(request);
  const publicKey = await webcrypto.subtle.importKey('spki', Buffer.from(request.spki), { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']);
  const issued = await from.issue({ name, notBefore: new Date(notBefore), notAfter: new Date(notAfter), ...(key === 'asked' ? { publicKey: publicKey as unknown as CryptoKey } : {}) });
  return { certificate: issued.certificatePem, ca: from.rootPem };
};

const renewal = (options: Partial<ConstructorParameters<typeof Renewal>[0]> = {}): Renewal => {
  const made = new Renewal({ directory, gateway: gateway.url, notice: ({ message }) => notices.push(message), clock, jitter: 0, timeoutMs: 2_000, ...options });
  started.push(made);
  return made;
};
const inUse = async (): Promise<string> => (await loadIdentity(directory)).serial;
const original = (): string => agent.serial.replace(/^(?:00)+/, '');
/** What lies there, pairs by how many they are. */
const files = async (): Promise<string[]> => (await readdir(directory)).map((name) => name.replace(/^pair-[0-9a-f]{16}$/, 'pair')).toSorted();
const plain = ['ca.pem', 'cert.pem', 'identity.json', 'key.pem'];
/** The pair in use and the one before. */
const settled = ['ca.pem', 'cert.pem', 'current', 'identity.json', 'key.pem', 'pair', 'pair'];
const waiting = [...plain, 'pair'];
const plainText = (name: string): Promise<string> => readFile(join(directory, name), 'utf8');

describe('when a certificate is renewed', () => {
  it.each([[0, 2 / 3], [0.5, 2 / 3 + 1 / 40], [1, 2 / 3 + 1 / 20], [7, 2 / 3 + 1 / 20], [-1, 2 / 3]])('jitter %d: at %d of its lifetime, which is counted without the minute of backdating', (jitter, share) => {
    const issued = Date.UTC(2026, 10, 21);
    for (const lifetime of [24 * hour, minute]) {
      const at = renewalDue({ notBefore: new Date(issued - minute), notAfter: new Date(issued + lifetime - 1_000) }, jitter).getTime();
      expect(at).toBe(Math.floor(issued + lifetime * share));
    }
    expect(renewalDue({ notBefore: new Date(issued), notAfter: new Date(issued + 59_000) }, 0).getTime()).toBe(issued + 40_000);
  });

  it('not a millisecond before two thirds of its lifetime, and then at once', async () => {
    now = due - 1;
    const keeper = renewal();
    expect(await keeper.look()).toBe(250);
    expect([asked, await inUse()]).toEqual([[], original()]);
    now = due;
    await keeper.look();
    expect(asked).toEqual([agent.serial]);
    expect((await loadIdentity(directory)).notAfter.getTime()).toBe(end + 2 * hour);
    expect(await files()).toEqual(settled);
    expect(notices).toEqual([]);
  });

  it('looks at the clock at least once a minute, so that a machine that slept catches up', async () => {
    now = start;
    const keeper = renewal();
    expect(await keeper.look()).toBe(minute);
    // Two and a half hours later, as after a lid was opened again.
    now = start + 2.5 * hour;
    await keeper.look();
    expect(await inUse()).not.toBe(original());
  });

  it('asks seldom for what has expired, which only the gateway knows to be too late', async () => {
    now = end + 1;
    answer = async () => ({ error: { code: 'ERR_PEER_EXPIRED', message: 'the client certificate has expired' } });
    const late = renewal();
    await late.look();
    now += 14 * minute;
    await late.look();
    expect([asked.length, notices]).toEqual([1, []]);
    now += minute;
    answer = successor({ notAfter: now + hour });
    await late.look();
    expect([asked.length, await inUse()]).toEqual([2, expect.not.stringMatching(original())]);
  });

  it('leaves alone what names no renewal', async () => {
    await writeIdentity(directory, pki, agent);
    now = due;
    await renewal().look();
    expect([asked, notices]).toEqual([[], []]);
  });

  it('asks for what has ended with the same patience as ever while nobody answers', async () => {
    now = end + 1;
    await writeIdentity(directory, pki, agent, { renewal: 'https://localhost:9/renew' });
    const keeper = renewal();
    expect(await keeper.look()).toBe(10_000);
    now += 10_000;
    expect(await keeper.look()).toBe(20_000);
  });

  it('says nothing of a renewal where there is no identity, and goes on once there is one', async () => {
    await rm(directory, { recursive: true });
    now = due;
    const looking = renewal();
    await looking.look();
    expect([asked, notices]).toEqual([[], []]);
    await writeIdentity(directory, pki, agent, { renewal: gateway.url.href });
    now += 10_000;
    await looking.look();
    expect(asked).toHaveLength(1);
  });

  it('by itself once started', async () => {
    renewal().start();
    await expect.poll(inUse).not.toBe(original());
  });
});

describe('a renewal', () => {
  it('has a new key, and is used once before it takes the place of the old one, for those who read plain files too', async () => {
    const key = await plainText('key.pem');
    const before = gateway.handshakes;
    await renewal().look();
    expect(gateway.handshakes - before).toBe(2);
    const { leaf, serial } = await loadIdentity(directory);
    expect(leaf.checkPrivateKey(createPrivateKey(key))).toBe(false);
    // Both plain names lead through one link, so they change at once.
    expect([await readlink(join(directory, 'key.pem')), await readlink(join(directory, 'cert.pem'))]).toEqual(['current/key.pem', 'current/cert.pem']);
    const shown = new X509Certificate(await plainText('cert.pem'));
    expect([shown.serialNumber.toLowerCase().replace(/^(?:00)+(?=.)/u, ''), shown.checkPrivateKey(createPrivateKey(await plainText('key.pem')))]).toEqual([serial, true]);
    now = renewalDue(await loadIdentity(directory), 0).getTime();
    answer = successor({ notBefore: start + 2 * hour, notAfter: end + 4 * hour });
    await renewal().look();
    expect([(await inUse()) === serial, await files()]).toEqual([false, settled]);
  });

  it('keeps the key where that is asked for, and keeps it encrypted where it is', async () => {
    const key = await plainText('key.pem');
    await renewal({ key: 'same' }).look();
    expect([await plainText('key.pem'), await inUse() === original()]).toEqual([key, false]);
    for (const [encrypted, secret] of [[true, 'a passphrase'], [false, 'for another key']] as const) {
      await rm(directory, { recursive: true });
      await writeIdentity(directory, pki, agent, { renewal: `https://localhost:${gateway.port}/renew` });
      if (encrypted) await writeFile(join(directory, 'key.pem'), createPrivateKey(agent.keyPem).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: secret }));
      await renewal({ passphrase: secret }).look();
      expect([(await plainText('key.pem')).includes('ENCRYPTED'), (await loadIdentity(directory, { passphrase: secret })).serial === original()]).toEqual([encrypted, false]);
    }
  });

  it('leaves alone what is not the pair in use, the one before, or its own', async () => {
    await writeFile(join(directory, 'notes.txt'), 'mine');
    await renewal().look();
    expect(await files()).toEqual([...settled.slice(0, 5), 'notes.txt', 'pair', 'pair']);
  });

  const bad: readonly (readonly [string, () => (csr: string) => Promise<unknown>, RegExp])[] = [
    ['for another key', () => successor({ key: 'other' }), /is for another key; it was not taken into use/],
    ['for another name', () => successor({ name: 'admin' }), /is for another name/],
    ['that ends with the one in use', () => successor({ notAfter: end }), /does not last longer than the one in use/],
    ['that begins before the one in use', () => successor({ notBefore: start - minute - 1_000 }), /does not last longer than the one in use/],
    ['that is not valid yet', () => successor({ notBefore: due + minute }), /set the clock of this machine/],
    ['of another CA', () => successor({ from: foreign }), /does not come from the CA of this identity/],
    ['that is a CA', () => async () => ({ certificate: pki.issuingPem, ca: pki.rootPem }), /holds no certificate of an agent/],
    ['that is none', () => async () => ({ certificate: 'x', ca: 'y' }), /renewed certificate holds/],
    ['in an answer that is no JSON', () => async () => '<html>', /did not answer with a certificate; give the address of its enrollment listener/],
    ['in an answer without one', () => async () => ({ ca: 'y' }), /lacks certificate/],
  ];
  it.each(bad)('does not take a certificate %s', async (_what, make, words) => {
    answer = make();
    await renewal().look();
    expect(await inUse()).toBe(original());
    expect(await files()).toEqual(plain);
    expect(notices).toEqual([expect.stringMatching(/^the certificate could not be renewed and is tried again until it expires: /)]);
    expect(notices[0]).toMatch(words);
  });

  it('says why the CA refuses, once, and tries again with growing pauses until it works', async () => {
    answer = async () => ({ error: { code: 'ERR_CA_LIMIT', message: 'the agent holds as many live certificates as it may' } });
    const keeper = renewal();
    const pauses: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const before = now;
      await keeper.look();
      // Nothing is asked in between.
      const questions = asked.length;
      await keeper.look();
      expect(asked).toHaveLength(questions);
      while (asked.length === questions) {
        now += 10_000;
        await keeper.look();
      }
      pauses.push(now - before);
      asked.length = 0;
    }
    expect(pauses.slice(0, 3)).toEqual([10_000, 20_000, 40_000].map((pause) => expect.closeTo(pause, -4)));
    expect(Math.max(...pauses)).toBeLessThanOrEqual(15 * minute + 10_000);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toContain('ask its operator to revoke one, or to raise ca.maxLivePerAgent');
    answer = successor({ notBefore: due - minute });
    now = Math.min(end - minute, now + 15 * minute);
    await keeper.look();
    expect(await inUse()).not.toBe(original());
  });

  it('tries again within a quarter of what is left, so that a short life does not end in a pause', async () => {
    answer = async () => ({ error: { code: 'ERR_DRAINING', message: 'shutting down' } });
    now = end - 20_000;
    const keeper = renewal();
    expect(await keeper.look()).toBe(5_000);
    now = end - 800;
    expect(await renewal().look()).toBe(250);
  });

  it('does not wait for days because a clock was set back', async () => {
    answer = async () => ({ error: { code: 'ERR_DRAINING', message: 'shutting down' } });
    now = end - minute;
    const keeper = renewal();
    await keeper.look();
    now = due;
    answer = successor();
    await keeper.look();
    expect(await inUse()).not.toBe(original());
  });

  const refusing = (code: string) => async (csr: string): Promise<unknown> => {
    const body = (await successor()(csr)) as { certificate: string };
    gateway.verdicts.set(new X509Certificate(body.certificate).serialNumber.toLowerCase(), code);
    return body;
  };

  it('keeps the old certificate while the gateway does not know the new one, and asks for no third', async () => {
    answer = refusing('ERR_PEER_UNKNOWN_SERIAL');
    const keeper = renewal();
    await keeper.look();
    expect([await inUse(), await files()]).toEqual([original(), waiting]);
    expect(notices[0]).toContain('is not in its inventory');
    gateway.verdicts.clear();
    now += 10_000;
    await keeper.look();
    expect([asked.length, (await inUse()) === original(), await files()]).toEqual([1, false, settled]);
  });

  it('throws a new certificate away that is revoked already', async () => {
    answer = refusing('ERR_PEER_REVOKED');
    await renewal().look();
    expect([await inUse(), await files()]).toEqual([original(), plain]);
    expect(notices[0]).toContain('was revoked');
  });

  it('keeps the new one beside the old while the gateway cannot be asked, and asks for no second', async () => {
    const nowhere = new URL('https://localhost:9/mcp');
    const keeper = renewal({ gateway: nowhere });
    await keeper.look();
    expect(await files()).toEqual(waiting);
    expect(await inUse()).toBe(original());
    // Another start, and the gateway is back.
    await renewal().look();
    expect([asked.length, await files()]).toEqual([1, settled]);
    expect(await inUse()).not.toBe(original());
  });

  it('takes what waits when the old one is about to end, or has ended', async () => {
    for (const [at, taken] of [[end - minute - 1, false], [end - minute, true], [end + minute, true]] as const) {
      await rm(directory, { recursive: true });
      await writeIdentity(directory, pki, agent, { renewal: `https://localhost:${gateway.port}/renew` });
      now = due;
      await renewal({ gateway: new URL('https://localhost:9/mcp') }).look();
      now = at;
      await renewal({ gateway: new URL('https://localhost:9/mcp') }).look();
      expect([at, (await inUse()) !== original()]).toEqual([at, taken]);
    }
  });

  it('throws away what waits and is no successor', async () => {
    await mkdir(join(directory, 'pair-0123456789abcdef'));
    await writeFile(join(directory, 'pair-0123456789abcdef', 'cert.pem'), 'rubbish');
    await renewal().look();
    expect([asked.length, await files()]).toEqual([1, settled]);
  });

  it('is done once by several bridges with one identity, and by the next when the first died in the middle', async () => {
    const keepers = [renewal(), renewal(), renewal()];
    await Promise.all(keepers.map((keeper) => keeper.look()));
    now += 10_000;
    await Promise.all(keepers.map((keeper) => keeper.look()));
    expect(asked).toHaveLength(1);

    await rm(directory, { recursive: true });
    await writeIdentity(directory, pki, agent, { renewal: `https://localhost:${gateway.port}/renew` });
    await writeFile(join(directory, 'renewal.lock'), JSON.stringify({ pid: 1, host: `not-${hostname()}`, id: 'x' }));
    await utimes(join(directory, 'renewal.lock'), new Date(now), new Date(now));
    asked = [];
    now += 119_000;
    await renewal().look();
    expect(asked).toEqual([]);
    now += 1_000;
    await renewal().look();
    expect([asked.length, await files()]).toEqual([1, settled]);
  });

  it('is taken over at once from a process of this machine that is gone', async () => {
    const gone = spawnSync(process.execPath, ['--version']).pid;
    await writeFile(join(directory, 'renewal.lock'), JSON.stringify({ pid: gone, host: hostname(), id: 'x' }));
    await utimes(join(directory, 'renewal.lock'), new Date(now), new Date(now));
    await renewal().look();
    expect([asked.length, await files()]).toEqual([1, settled]);
  });
});
