import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { codeOf } from '../../src/errors.ts';
import { fetchDocument } from '../../src/revocation/fetch-document.ts';
import { FollowedCrl } from '../../src/revocation/followed-crl.ts';
import type { FollowedCrlOptions } from '../../src/revocation/followed-crl.ts';
import { waitBeforeLook } from '../../src/revocation/refresh-schedule.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemRandomness } from '../../src/system.ts';
import { createTestPki, revokedEntry } from '../support/pki.ts';

const pki = createTestPki('Corp');
const issuerId = pki.issuing.certificate.spkiHash;
const [one, two, three] = [pki.issuing.leaf(), pki.issuing.leaf(), pki.issuing.leaf()];
const clock = { offsetMs: 0, now: () => new Date(Date.now() + clock.offsetMs) };
const directory = mkdtempSync(join(tmpdir(), 'sallyport-crl-'));
const requests: IncomingMessage[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const server = createServer((request, response) => {
  requests.push(request);
  answer(request, response);
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const followed: FollowedCrl[] = [];
afterAll(() => {
  for (const each of followed) each.close();
  server.close();
  server.closeAllConnections();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  clock.offsetMs = 0;
  requests.length = 0;
});

const serve = (crl: Uint8Array, headers: Record<string, string> = {}) => (request: IncomingMessage, response: ServerResponse): void => {
  const unchanged = headers['etag'] !== undefined && request.headers['if-none-match'] === headers['etag'];
  response.writeHead(unchanged ? 304 : 200, headers).end(unchanged ? undefined : crl);
};
const follow = (name: string, options: Partial<FollowedCrlOptions> = {}) => {
  const index = new RevocationIndex({ randomness: systemRandomness });
  const problems: unknown[] = [];
  const crl = new FollowedCrl({
    from: `${base}/${name}.crl`, issuers: [pki.root.certificate, pki.issuing.certificate], kept: join(directory, `${name}.crl`), index, clock, randomness: systemRandomness, fetch: fetchDocument,
    refreshMs: 60_000, onTaken: () => undefined, onProblem: (error) => problems.push(error), ...options,
  });
  followed.push(crl);
  const status = (leaf = one) => index.status(issuerId, leaf.certificate.serial, clock.now().getTime(), leaf.certificate);
  return { crl, index, problems, status };
};
const failure = async (promise: Promise<void>): Promise<string> => promise.then(() => 'taken', (error: unknown) => `${codeOf(error)}: ${(error as Error).message}`);

describe('a CRL at an address', () => {
  it('is asked for again only if it changed, kept on disk, and there after a restart without the address', async () => {
    const first = follow('kept');
    answer = serve(pki.issuing.crl({ entries: [revokedEntry(one)], crlNumber: 7 }), { etag: '"7"', 'last-modified': 'Sat, 21 Nov 2026 10:00:00 GMT' });
    await first.crl.refresh();
    await first.crl.refresh();
    expect(requests.map(({ headers }) => [headers['if-none-match'], headers['if-modified-since']])).toEqual([[undefined, undefined], ['"7"', 'Sat, 21 Nov 2026 10:00:00 GMT']]);
    expect([first.status(one).status, first.status(two).status]).toEqual(['revoked', 'good']);
    answer = (_request, response) => response.writeHead(500).end();
    const second = follow('kept');
    await second.crl.load();
    expect(await failure(second.crl.refresh())).toBe(`ERR_TRUST_FETCH: ${base}/kept.crl could not be fetched: the server answers 500`);
    expect([second.status(one).status, second.status(two).status]).toEqual(['revoked', 'good']);
    expect(second.crl.state).toMatchObject({ failures: 1, crl: { crlNumber: 7n, entries: 1 } });
    // Past its end: what it revokes is revoked still, the rest is unknown.
    clock.offsetMs = 2 * 86_400_000;
    const third = follow('kept');
    await third.crl.load();
    expect([third.status(one), third.status(two)]).toMatchObject([{ status: 'revoked' }, { status: 'unknown', because: 'stale' }]);
  });

  it('that could not be used when it was read is tried again, though the address has no other', async () => {
    const crl = pki.issuing.crl({ entries: [revokedEntry(one)], crlNumber: 3 });
    answer = serve(crl, { etag: '"3"' });
    await follow('clock').crl.refresh();
    const again = follow('clock');
    clock.offsetMs = -365 * 86_400_000;
    await again.crl.load();
    expect(again.problems).toHaveLength(1);
    clock.offsetMs = 0;
    expect(await failure(again.crl.refresh())).toBe('taken');
    expect(again.status(one).status).toBe('revoked');
  });

  it('stays when what comes is older, forged, foreign, from the future, too long or nothing like it', async () => {
    const { crl, status } = follow('stays');
    answer = serve(pki.issuing.crl({ entries: [revokedEntry(one)], crlNumber: 7 }));
    await crl.refresh();
    const kept = readFileSync(join(directory, 'stays.crl'));
    const forged = Uint8Array.from(pki.issuing.crl({ entries: [], crlNumber: 9 }));
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    const bad: readonly [(request: IncomingMessage, response: ServerResponse) => void, RegExp][] = [
      [serve(pki.issuing.crl({ entries: [], crlNumber: 6 })), /^ERR_CRL_STALE: the CRL is older than the one in use/],
      [serve(pki.issuing.crl({ entries: [], crlNumber: 8, thisUpdate: new Date(Date.now() + 3_600_000) })), /^ERR_CRL_STALE: the CRL comes from the future/],
      [serve(forged), /^ERR_CRL_SIGNATURE/],
      [serve(pki.root.crl({ entries: [], crlNumber: 99 })), /^ERR_CRL_ISSUER/],
      [serve(createTestPki('Corp').issuing.crl({ entries: [], crlNumber: 99 })), /^ERR_CRL_(ISSUER|SIGNATURE)/],
      [serve(Buffer.from('<html>')), /^ERR_PEM_INVALID/],
      [serve(kept, { 'content-encoding': 'gzip' }), /content coding that was not asked for/],
      [(_request, response) => response.writeHead(200, { 'content-length': String(70 * 1024 * 1024) }).write('0'), /more than 67108864 octets/],
      [(_request, response) => { response.writeHead(200, { 'content-length': '100' }).write('0'); setTimeout(() => response.destroy(), 5); }, /broke before the answer was complete/],
      [(_request, response) => response.writeHead(302, { location: 'https://127.0.0.1/x.crl' }).end(), /redirects to where it must not/],
      [(_request, response) => response.writeHead(302, { location: '/again' }).end(), /redirects again and again/],
      [(_request, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(), /redirects to where it must not/],
    ];
    for (const [answers, expected] of bad) {
      answer = answers;
      expect(await failure(crl.refresh())).toMatch(expected);
      expect(status().status).toBe('revoked');
    }
    expect(readFileSync(join(directory, 'stays.crl'))).toEqual(kept);
  });

  it('is not said to be unchanged to who has nothing', async () => {
    answer = (_request, response) => response.writeHead(304).end();
    const ask = (etag?: string) => fetchDocument({ url: base, accept: '*/*', maxBytes: 10, timeoutMs: 5_000, etag });
    expect(await ask('"1"')).toEqual({ status: 'unchanged' });
    await expect(ask()).rejects.toMatchObject({ code: 'ERR_TRUST_FETCH', message: expect.stringContaining('the server answers 304') });
  });

  it('is given up after a while', async () => {
    answer = () => undefined;
    await expect(fetchDocument({ url: base, accept: '*/*', maxBytes: 10, timeoutMs: 20 })).rejects.toMatchObject({ code: 'ERR_TRUST_FETCH', message: expect.stringMatching(/no answer within 20 ms/) });
  });

  it('lends time only where that was configured, and says that it does', async () => {
    answer = serve(pki.issuing.crl({ entries: [], crlNumber: 1, nextUpdate: new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000) }));
    const [strict, lent] = [follow('strict'), follow('lent', { graceMs: 3_600_000 })];
    await Promise.all([strict.crl.refresh(), lent.crl.refresh()]);
    clock.offsetMs = 61_000;
    expect([strict.status(), lent.status()]).toEqual([{ status: 'unknown', because: 'stale' }, { status: 'good', borrowed: true }]);
    clock.offsetMs = 3_661_000;
    expect(lent.status()).toEqual({ status: 'unknown', because: 'stale' });
  });

  it('divides the certificates of one CA with others', async () => {
    const point = (name: string): string => `http://crl.corp.example/${name}`;
    const leafOf = (name: string) => pki.issuing.leaf({ distributionPoints: [point(name)] });
    const [a, b, c] = [leafOf('a'), leafOf('b'), leafOf('c')];
    const index = new RevocationIndex({ randomness: systemRandomness });
    for (const [name, listed] of [['a', a], ['b', b]] as const) {
      answer = serve(pki.issuing.crl({ entries: [revokedEntry(listed)], idp: { uris: [point(name)] } as never }));
      await follow(name, { index }).crl.refresh();
    }
    const at = clock.now().getTime();
    expect([a, b, c, leafOf('a')].map(({ certificate }) => index.status(issuerId, certificate.serial, at, certificate))).toMatchObject([{ status: 'revoked' }, { status: 'revoked' }, { status: 'unknown', because: 'notCovered' }, { status: 'good' }]);
  });
});

describe('a delta CRL', () => {
  const hold = (leaf: typeof one) => revokedEntry(leaf, 'certificateHold');
  const removal = (leaf: typeof one) => ({ ...revokedEntry(leaf), reason: 'removeFromCRL' as never });
  const serveBoth = (complete: Uint8Array, delta: Uint8Array) => (request: IncomingMessage, response: ServerResponse): void => serve(request.url?.endsWith('.delta') === true ? delta : complete)(request, response);

  it('adds and takes off, is not forgotten, and gives way to a complete one that has caught up', async () => {
    const complete = pki.issuing.crl({ entries: [hold(one), revokedEntry(two)], crlNumber: 10 });
    const { crl, status, problems } = follow('merged', { delta: `${base}/merged.delta` });
    answer = serveBoth(complete, pki.issuing.crl({ entries: [removal(one), revokedEntry(three)], crlNumber: 12, baseCrlNumber: 10 }));
    await crl.refresh();
    expect([one, two, three].map((leaf) => status(leaf).status)).toEqual(['good', 'revoked', 'revoked']);
    expect(crl.state.crl).toMatchObject({ crlNumber: 10n, deltaNumber: 12n });
    // Gone for a while, or older: what it told stays told.
    answer = serveBoth(pki.issuing.crl({ entries: [hold(one), revokedEntry(two)], crlNumber: 11 }), Buffer.from('gone'));
    expect(await failure(crl.refresh())).toMatch(/^ERR_CRL_STALE/);
    expect(status(three).status).toBe('revoked');
    answer = serveBoth(pki.issuing.crl({ entries: [revokedEntry(two), revokedEntry(three)], crlNumber: 13, thisUpdate: new Date(Date.now() - 2_000) }), pki.issuing.crl({ entries: [removal(one)], crlNumber: 12, baseCrlNumber: 10 }));
    await crl.refresh();
    expect(crl.state.crl).toMatchObject({ crlNumber: 13n, deltaNumber: undefined, entries: 2 });
    expect(problems.map(codeOf)).toEqual([]);
    const after = follow('merged', { delta: `${base}/merged.delta` });
    await after.crl.load();
    expect(after.crl.state.crl).toMatchObject({ crlNumber: 13n });
  });

  it('that does not fit is left out and reported', async () => {
    const { crl, problems, status } = follow('unfit', { delta: `${base}/unfit.delta` });
    answer = serveBoth(pki.issuing.crl({ entries: [revokedEntry(two)], crlNumber: 10 }), pki.issuing.crl({ entries: [removal(two)], crlNumber: 12, baseCrlNumber: 11 }));
    await crl.refresh();
    expect([status(two).status, crl.state.crl?.deltaNumber, problems.map(codeOf)]).toEqual(['revoked', undefined, ['ERR_CRL_SCOPE']]);
  });
});

describe('a CRL in a file', () => {
  it('is kept too, so that a broken file takes nothing away', async () => {
    const file = join(directory, 'corp.crl');
    writeFileSync(file, pki.issuing.crl({ entries: [revokedEntry(one)] }));
    await follow('copy', { from: file }).crl.refresh();
    writeFileSync(file, 'oops');
    const { crl, status } = follow('copy', { from: file });
    await crl.load();
    expect(await failure(crl.refresh())).toMatch(/^ERR_PEM_INVALID/);
    expect(status().status).toBe('revoked');
    // Another place has other contents.
    const elsewhere = follow('copy', { from: join(directory, 'missing.crl') });
    await elsewhere.crl.load();
    expect(await failure(elsewhere.crl.refresh())).toMatch(/^ERR_TRUST_FETCH: .*missing\.crl cannot be read: check path, owner and mode$/);
    expect(elsewhere.status().status).toBe('unknown');
  });
});

describe('when to look again', () => {
  const hour = 3_600_000;
  it.each<[string, Partial<Parameters<typeof waitBeforeLook>[0]>, number]>([
    ['at half of its life', { life: { from: 0, until: hour }, now: 0 }, hour / 2],
    ['after the longest distance, if that is sooner', { life: { from: 0, until: 10 * hour }, now: 0 }, hour],
    ['in a quarter of what is left, past half', { life: { from: 0, until: hour }, now: 0.6 * hour }, 0.1 * hour],
    ['not at once, at its end', { life: { from: 0, until: hour }, now: hour }, 5_000],
    ['soon after a failure', { failures: 1 }, 10_000],
    ['later after the third', { failures: 3 }, 40_000],
    ['never later than five minutes after failures', { failures: 60 }, 300_000],
  ])('%s', (_what, given, expected) => {
    expect(waitBeforeLook({ now: 0, failures: 0, refreshMs: hour, random: 0.5, ...given })).toBeCloseTo(expected, 5);
    expect(waitBeforeLook({ now: 0, failures: 0, refreshMs: hour, random: 0, ...given })).toBeCloseTo(expected * 0.9, 5);
  });
});
