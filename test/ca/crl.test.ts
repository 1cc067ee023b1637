import { readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import type { CaStore } from '../../ca/ports.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import { codeOfRefusal, createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const open: AuthorityFixture[] = [];
const create = async (options: Parameters<typeof createAuthority>[0] = {}): Promise<AuthorityFixture> => {
  const fixture = await createAuthority(options);
  open.push(fixture);
  // So that the next CRL need not wait for its second.
  fixture.clock.turn(2);
  return fixture;
};
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});
const fileOf = ({ directory }: Pick<AuthorityFixture, 'directory'>, name = 'issuing') => join(directory, 'crl', `${name}.crl`);
const read = (fixture: Pick<AuthorityFixture, 'directory'>, name = 'issuing') => parseCrl(new Uint8Array(readFileSync(fileOf(fixture, name))));

describe('publishing', () => {
  it('starts with an empty CRL of both CAs, in the store and in files anyone may read', async () => {
    const fixture = await create();
    for (const name of ['root', 'issuing'] as const) {
      const crl = read(fixture, name);
      verifyCrl(crl, fixture.authority[name].certificate, { at: fixture.clock.now() });
      expect(crl).toMatchObject({ version: 2, entryCount: 0, crlNumber: 1n, authorityKeyIdentifier: fixture.authority[name].certificate.subjectKeyIdentifier });
      expect((crl.nextUpdate?.getTime() ?? 0) - crl.thisUpdate.getTime()).toBe(86_400_000);
      expect((await fixture.authority.currentCrl(name)).der).toEqual(crl.der);
      expect(statSync(fileOf(fixture, name)).mode & 0o777).toBe(0o644);
    }
    expect((await fixture.events()).filter(({ action }) => action === 'crl.published')).toHaveLength(2);
  });
  it('lists the revoked with time and reason, and leaves unspecified out', async () => {
    const fixture = await create();
    const one = await fixture.authority.issue({ agent: 'one' });
    const two = await fixture.authority.issue({ agent: 'two' });
    await fixture.authority.revoke({ agent: 'one' }, { reason: 'keyCompromise' });
    await fixture.authority.revoke({ agent: 'two' });
    await fixture.authority.close();
    const crl = read(fixture);
    expect(crl.find(one.serial)?.reason).toBe('keyCompromise');
    expect(crl.find(two.serial)?.reason).toBe('unspecified');
    expect(crl.entryCount).toBe(2);
  });
  it("puts the revoked issuing CA on the root's CRL", async () => {
    const fixture = await create();
    await fixture.authority.revoke({ serial: fixture.authority.issuing.certificate.serial }, { reason: 'cACompromise' });
    await fixture.authority.close();
    expect(read(fixture, 'root').find(fixture.authority.issuing.certificate.serial)?.reason).toBe('cACompromise');
  });
  it('numbers upwards and never gives two the same second, even in one', async () => {
    const fixture = await create();
    const first = await fixture.authority.publishCrl('issuing');
    const second = await fixture.authority.publishCrl('issuing');
    expect(second.crlNumber).toBe(first.crlNumber + 1n);
    expect(second.thisUpdate.getTime() - first.thisUpdate.getTime()).toBeGreaterThanOrEqual(1_000);
    // And it waited rather than date it into the future.
    expect(second.thisUpdate.getTime()).toBeLessThanOrEqual(fixture.clock.now().getTime());
  });
  it('makes one CRL of a hundred revocations', async () => {
    const fixture = await create();
    for (let i = 0; i < 25; i++) await fixture.authority.issue({ agent: `a${i}` });
    await Promise.all(Array.from({ length: 25 }, (_, i) => fixture.authority.revoke({ agent: `a${i}` })));
    await fixture.authority.close();
    const crl = await fixture.authority.currentCrl('issuing');
    expect(crl.entries).toBe(25);
    expect(crl.crlNumber).toBeLessThanOrEqual(3n);
  });
  it('by two processes at once leaves file and store at the newest', async () => {
    const fixture = await create();
    const other = await fixture.reopen();
    await Promise.all([fixture.authority.publishCrl('issuing'), other.publishCrl('issuing')]);
    const latest = await fixture.authority.currentCrl('issuing');
    expect(latest.crlNumber).toBe(3n);
    expect(new Uint8Array(readFileSync(fileOf(fixture)))).toEqual(latest.der);
  });
  it('keeps an entry until a regular CRL was issued past the certificate, then drops it', async () => {
    const fixture = await create();
    await fixture.authority.issue({ agent: 'one', ttl: '1h' });
    await fixture.authority.revoke({ agent: 'one' });
    const entriesAfter = async (seconds: number) => {
      fixture.clock.turn(seconds);
      return (await fixture.authority.publishCrl('issuing')).entries;
    };
    expect(await entriesAfter(3_590)).toBe(1);
    expect(await entriesAfter(12 * 3_600)).toBe(1);
    expect(await entriesAfter(12 * 3_600)).toBe(1);
    expect(await entriesAfter(2)).toBe(0);
  });
  it('refuses to forget a revocation that the last CRL lists', async () => {
    let forgotten: string | undefined;
    const wrap = (store: CaStore): CaStore => ({
      ...store,
      async *revokedText(issuerId, options) {
        for await (const page of store.revokedText(issuerId, options)) yield Buffer.from(Buffer.from(page).toString('latin1').split(/(?<=;)/).filter((entry) => !entry.startsWith(`${forgotten},`)).join(''));
      },
    });
    const fixture = await create({ wrap, onBackgroundError: () => undefined });
    const serials: string[] = [];
    for (const agent of ['a', 'b', 'c']) {
      serials.push((await fixture.authority.issue({ agent })).serial);
      await fixture.authority.revoke({ agent });
    }
    await fixture.authority.publishCrl('issuing');
    const before = await fixture.authority.currentCrl('issuing');
    for (const serial of serials) {
      forgotten = serial;
      expect(await codeOfRefusal(fixture.authority.publishCrl('issuing'))).toBe('ERR_CRL_INVALID');
    }
    forgotten = undefined;
    expect((await fixture.authority.currentCrl('issuing')).crlNumber).toBe(before.crlNumber);
  });
  it('leaves the file as it is until the store has the CRL, and when it refuses it', async () => {
    let refuses = false;
    const seen: bigint[] = [];
    const unfinished = () => readdirSync(join(directory, 'crl')).filter((name) => name.endsWith('.tmp'));
    let directory = '';
    const wrap = (store: CaStore): CaStore => ({
      ...store,
      saveCrl: async (publication, event) => {
        // While the store has it, the new file is made beside the old one, which nobody must miss.
        if (directory !== '') {
          await vi.waitFor(() => { expect(unfinished()).toHaveLength(1); }, { interval: 1, timeout: 10_000 });
          seen.push(read({ directory }).crlNumber ?? 0n);
        }
        if (refuses) throw new CaError('ERR_STORE_UNAVAILABLE', 'the disk is full');
        return store.saveCrl(publication, event);
      },
    });
    const fixture = await create({ wrap, onBackgroundError: () => undefined });
    ({ directory } = fixture);
    expect((await fixture.authority.publishCrl('issuing')).crlNumber).toBe(2n);
    fixture.clock.turn(2);
    refuses = true;
    expect(await codeOfRefusal(fixture.authority.publishCrl('issuing'))).toBe('ERR_STORE_UNAVAILABLE');
    refuses = false;
    expect(seen).toEqual([1n, 2n]);
    expect(read(fixture).crlNumber).toBe(2n);
    expect(unfinished()).toEqual([]);
    directory = '';
  });
  it('never uses a number again that the file already has', async () => {
    const fixture = await create();
    await fixture.authority.publishCrl('issuing');
    const published = readFileSync(fileOf(fixture));
    // The store as it was before that CRL; the file says otherwise.
    const other = await create();
    writeFileSync(fileOf(other), published);
    expect((await other.authority.publishCrl('issuing')).crlNumber).toBe(3n);
  });
  it('restores a lost file, and refuses a clock that went back', async () => {
    const fixture = await create({ onBackgroundError: () => undefined });
    rmSync(fileOf(fixture));
    await fixture.authority.start();
    expect(read(fixture).crlNumber).toBe(1n);
    fixture.clock.turn(-3_600);
    expect(await codeOfRefusal(fixture.authority.publishCrl('issuing'))).toBe('ERR_CRL_STALE');
  });
  it('is renewed at start, soon while the present one is fresh, and before anything else once half its life is over', async () => {
    const fixture = await create();
    const early = await fixture.reopen();
    await early.start();
    await early.close();
    expect((await early.currentCrl('issuing')).crlNumber).toBe(2n);
    fixture.clock.turn(12 * 3_600);
    const late = await fixture.reopen();
    await late.start();
    expect((await late.currentCrl('issuing')).crlNumber).toBe(3n);
    expect((await late.currentCrl('root')).crlNumber).toBe(3n);
  });
  it('renews itself at half-life while running', async () => {
    const fixture = await create({ crlLifetime: '4s' });
    await fixture.authority.start();
    await expect.poll(async () => (await fixture.authority.currentCrl('issuing')).crlNumber, { timeout: 10_000, interval: 100 }).toBeGreaterThanOrEqual(2n);
  });
  it('of the root needs its key', async () => {
    const fixture = await create();
    rmSync(join(fixture.directory, 'keys', 'root.key.pem'));
    const without = await fixture.reopen();
    expect(await codeOfRefusal(without.publishCrl('root'))).toBe('ERR_CA_MISSING');
    expect(await codeOfRefusal(without.issue({ agent: 'x', dangerouslyIssuer: 'root' }))).toBe('ERR_CA_MISSING');
    await without.start();
    await expect(without.issue({ agent: 'y' })).resolves.toBeDefined();
  });
});
