/** CRLs in partitions, delta CRLs, and CRLs too large for the event loop. OpenSSL is the second opinion. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { auditCrls } from '../../ca/audit/crl.ts';
import type { AuditFinding } from '../../ca/audit/finding.ts';
import { crlPath, endingsOf, parseCrlPath, partitionOf, scopesOf } from '../../ca/crl-scope.ts';
import { createCrlHandler } from '../../ca/index.ts';
import type { IssuedCertificate } from '../../ca/index.ts';
import type { CaStore, CrlScope, Signer } from '../../ca/ports.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { parseCrl, readCrlList } from '../../ca/x509/crl.ts';
import { statusFromCrls } from '../../ca/x509/path/crl-status.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { codeOfRefusal, createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
if (!hasOpenssl) console.warn('skipped: openssl is not installed, so it judges no partitions and delta CRLs');

const open: AuthorityFixture[] = [];
const publicUrl = 'http://pki.acme.internal:8080';
const create = async (options: Parameters<typeof createAuthority>[0] = {}): Promise<AuthorityFixture> => {
  const fixture = await createAuthority({ publicUrl, crlCoalesceMs: 3_600_000, ...options });
  open.push(fixture);
  // So that the next CRL need not wait for its second.
  fixture.clock.turn(2);
  return fixture;
};
afterEach(async () => {
  for (const fixture of open.splice(0)) {
    // What waits for its CRL gets it in another second than the last one.
    fixture.clock.turn(2);
    await fixture.close();
  }
});

const scopeOf = ({ serial }: { readonly serial: string }, partitions: number): CrlScope => ({ partitions, partition: partitionOf(serial, partitions) });
const numbersOf = async ({ authority }: AuthorityFixture): Promise<readonly string[]> => (await authority.crlStates('issuing')).map(({ scope, crlNumber }) => `${scope.partition}/${scope.partitions}: ${crlNumber}`);
const findings = async ({ store, authority, clock }: AuthorityFixture, ca: Parameters<typeof auditCrls>[0]['store'] = store.ca): Promise<readonly AuditFinding[]> => {
  const found: AuditFinding[] = [];
  await auditCrls({ store: ca, issuer: authority.issuing.certificate, now: () => clock.now(), onFinding: (finding) => found.push(finding) });
  return found;
};

/** What OpenSSL says of a leaf with these CRLs of the issuing CA, at the fixture's time. */
const openssl = async ({ directory, authority, clock }: AuthorityFixture, leaf: IssuedCertificate, crls: readonly Uint8Array[], ...options: readonly string[]): Promise<string> => {
  const file = (name: string, content: string): string => {
    writeFileSync(join(directory, name), content);
    return join(directory, name);
  };
  const at = String(Math.floor(clock.now().getTime() / 1_000));
  const args = ['verify', '-attime', at, '-crl_check', '-CAfile', file('root.pem', authority.root.pem), '-untrusted', file('issuing.pem', authority.issuing.pem), '-CRLfile', file('crls.pem', crls.map((der) => encodePem('X509 CRL', der)).join('')), ...options, file('leaf.pem', leaf.pem)];
  return promisify(execFile)('openssl', args).then(
    () => 'OK',
    (error: { readonly stderr?: string }) => /error \d+ at 0 depth lookup: (.*)/.exec(error.stderr ?? '')?.[1] ?? String(error.stderr),
  );
};

const ours = ({ authority, clock }: AuthorityFixture, leaf: IssuedCertificate, crls: readonly Uint8Array[]): string =>
  statusFromCrls(crls.map((der) => parseCrl(der)), { at: clock.now() })(parseCertificate(leaf.der), authority.issuing.certificate).status;

describe('the partition of a serial', () => {
  it('is its lowest bits, and the endings of some partitions are those of their serials', () => {
    expect([1, 2, 16, 32, 256].map((partitions) => partitionOf('01a7', partitions))).toEqual([0, 1, 7, 7, 0xa7]);
    expect(endingsOf([{ partitions: 2, partition: 1 }])).toEqual(['1', '3', '5', '7', '9', 'b', 'd', 'f']);
    expect(endingsOf([{ partitions: 128, partition: 3 }])).toEqual(['03', '83']);
    expect(endingsOf(scopesOf(4))).toEqual([]);
  });
  it('stands in a path that leads back to it', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), fc.constantFrom(1, 2, 4, 256), fc.nat(255), fc.constantFrom('complete' as const, 'delta' as const), (issuer, partitions, number, kind) => {
        const scope = { partitions, partition: number % partitions };
        expect(parseCrlPath(crlPath(issuer, scope, kind))).toEqual({ issuer, scope, kind });
      }),
      { numRuns: 50 },
    );
  });
  it.each(['issuing/4/4.crl', 'issuing/4/04.crl', 'issuing/1/0.crl', 'issuing/4.crl', 'issuing/4/-1.crl', '../issuing.crl', 'issuing.crl/', 'issuing/16/3.delta', ''])('is not read from %s', (path) => {
    expect(parseCrlPath(path)).toBeUndefined();
  });
});

describe('partitioned CRLs', () => {
  it('are named by certificates, say of which they are, and speak about no other', async () => {
    const fixture = await create({ crlPartitions: 4 });
    const { authority } = fixture;
    const [good, bad] = [await authority.issue({ agent: 'good' }), await authority.issue({ agent: 'bad' })];
    await authority.revoke({ agent: 'bad' }, { reason: 'keyCompromise' });
    await authority.publishCrls('issuing');
    for (const leaf of [good, bad]) {
      const [point] = parseCertificate(leaf.der).crlDistributionPoints ?? [];
      const crl = parseCrl((await authority.currentCrl('issuing', { scope: scopeOf(leaf, 4) })).der);
      expect(point?.uris).toEqual([`${publicUrl}/crl/issuing/4/${scopeOf(leaf, 4).partition}.crl`]);
      expect(crl.issuingDistributionPoint?.uris).toEqual(point?.uris);
    }
    const all = await Promise.all(scopesOf(4).map(async (scope) => (await authority.currentCrl('issuing', { scope })).der));
    expect([ours(fixture, good, all), ours(fixture, bad, all)]).toEqual(['good', 'revoked']);
    const [elsewhere] = all.filter((_, partition) => partition !== scopeOf(bad, 4).partition);
    if (elsewhere === undefined) throw new Error('there are four');
    expect(ours(fixture, bad, [elsewhere])).toBe('unknown');
    expect(await findings(fixture)).toEqual([]);
    expect(await codeOfRefusal(authority.publishCrl('issuing'))).toBe('ERR_CRL_SCOPE');
    expect((await authority.publishCrl('root')).scope).toEqual({ partitions: 1, partition: 0 });
    if (!hasOpenssl) return;
    expect([await openssl(fixture, good, all), await openssl(fixture, bad, all, '-extended_crl')]).toEqual(['OK', 'certificate revoked']);
    expect(await openssl(fixture, bad, [elsewhere])).toMatch(/different CRL scope|unable to get certificate CRL/i);
  });

  it('are built again after a revocation only where it changed something, in store and files', async () => {
    const fixture = await create({ crlPartitions: 4, crlCoalesceMs: 0 });
    const { authority, directory } = fixture;
    const { serial } = await authority.issue({ agent: 'bad' });
    await authority.revoke({ agent: 'bad' });
    await authority.close();
    const { partition } = scopeOf({ serial }, 4);
    expect(await numbersOf(fixture)).toEqual([0, 1, 2, 3].map((each) => `${each}/4: ${each === partition ? 2 : 1}`));
    expect(parseCrl(new Uint8Array(readFileSync(join(directory, 'crl', 'issuing', '4', `${partition}.crl`)))).find(serial)).toBeDefined();
    expect(existsSync(join(directory, 'crl', 'issuing.crl'))).toBe(false);
    // At a start everything is looked through, and what says the same as before stays until half of its life is over.
    fixture.clock.turn(2);
    const next = await fixture.reopen();
    await next.start();
    await next.close();
    expect((await numbersOf(fixture)).map((text) => text.slice(-1))).toEqual([0, 1, 2, 3].map((each) => (each === partition ? '3' : '2')));
  });

  it('go on while a certificate names them, whatever is configured since, and are withdrawn then', async () => {
    const fixture = await create({ defaultTtl: '1h' });
    const old = await fixture.authority.issue({ agent: 'old' });
    const four = await fixture.reopen({ crlPartitions: 4 });
    const later = await four.issue({ agent: 'later' });
    expect([old, later].map(({ der }) => parseCertificate(der).crlDistributionPoints?.[0]?.uris[0])).toEqual([`${publicUrl}/crl/issuing.crl`, `${publicUrl}/crl/issuing/4/${scopeOf(later, 4).partition}.crl`]);
    await four.revoke({ agent: 'old' });
    await four.publishCrls('issuing');
    const whole = await four.currentCrl('issuing');
    expect(parseCrl(whole.der).find(old.serial)).toBeDefined();
    expect(ours(fixture, old, [whole.der])).toBe('revoked');
    expect((await numbersOf(fixture)).map((text) => text.split(':')[0])).toEqual(['0/1', '0/4', '1/4', '2/4', '3/4']);
    // And by a process that never heard of the four.
    await fixture.authority.publishCrls('issuing');
    expect(new Set((await numbersOf(fixture)).map((text) => text.slice(-1)))).toEqual(new Set(['2', '3']));
    fixture.clock.turn(9 * 86_400);
    await four.start();
    expect((await numbersOf(fixture)).map((text) => text.split(':')[0])).toEqual(['0/4', '1/4', '2/4', '3/4']);
    expect(existsSync(join(fixture.directory, 'crl', 'issuing.crl'))).toBe(false);
    expect((await fixture.events()).filter(({ action }) => action === 'crl.withdrawn')).toHaveLength(1);
    expect(await findings(fixture)).toEqual([]);
  });

  it('leave a CRL of everything for certificates that name no place', async () => {
    const fixture = await create({ crlPartitions: 2, profiles: { brief: { kind: 'agent', maxTtl: '1h', defaultTtl: '1h', status: 'noRevAvail' } } });
    expect(await numbersOf(fixture)).toEqual(['0/2: 1', '1/2: 1']);
    await fixture.authority.issue({ agent: 'brief', profile: 'brief' });
    expect((await findings(fixture)).map(({ code }) => code)).toEqual(['crlMissing']);
    await fixture.authority.publishCrls('issuing');
    expect(await findings(fixture)).toEqual([]);
    expect((await numbersOf(fixture))[0]).toBe('0/1: 1');
  });

  it('need a power of two, and an address for certificates to name', async () => {
    for (const refused of [{ crlPartitions: 3 }, { crlPartitions: 512 }, { crlPartitions: 0 }, { crlPartitions: 2, publicUrl: undefined }, { crlDeltaLifetime: '1h', publicUrl: undefined }]) {
      expect(await codeOfRefusal(createAuthority({ publicUrl, ...refused } as never))).toBe('ERR_CA_LIMIT');
    }
  });
});

describe('delta CRLs', () => {
  it('say what changed since a complete CRL that is still fresh, a lifted hold included', async () => {
    const fixture = await create({ crlPartitions: 2, crlDeltaLifetime: '1h' });
    const { authority, clock } = fixture;
    const leaves = new Map<string, IssuedCertificate>();
    for (const agent of ['good', 'held', 'bad']) leaves.set(agent, await authority.issue({ agent }));
    await authority.revoke({ agent: 'held' }, { reason: 'certificateHold' });
    await authority.publishCrls('issuing');
    // Half a life later this one is what deltas start from.
    clock.turn(43_200);
    await authority.publishCrls('issuing');
    const fetched = await Promise.all(scopesOf(2).map(async (scope) => (await authority.currentCrl('issuing', { scope })).der));
    const scope = scopeOf(leaves.get('bad') ?? { serial: '' }, 2);
    const before = await authority.currentCrl('issuing', { scope, kind: 'delta' });
    clock.turn(2);
    await authority.revoke({ agent: 'bad' }, { reason: 'keyCompromise' });
    await authority.release({ agent: 'held' });
    await authority.publishCrls('issuing');
    const deltas = await Promise.all(scopesOf(2).map(async (scope) => authority.currentCrl('issuing', { scope, kind: 'delta' })));
    const texts = [];
    for (const [agent, complete, together] of [['good', 'good', 'good'], ['held', 'revoked', 'good'], ['bad', 'good', 'revoked']] as const) {
      const leaf = leaves.get(agent);
      if (leaf === undefined) throw new Error('all three were issued');
      expect([agent, ours(fixture, leaf, fetched), ours(fixture, leaf, [...fetched, ...deltas.map(({ der }) => der)])]).toEqual([agent, complete, together]);
      if (hasOpenssl) texts.push(await openssl(fixture, leaf, [...fetched, ...deltas.map(({ der }) => der)], '-extended_crl', '-use_deltas'));
    }
    if (hasOpenssl) expect(texts).toEqual(['OK', 'OK', 'certificate revoked']);
    const [first] = deltas;
    if (first === undefined) throw new Error('there are two');
    expect(first.nextUpdate.getTime() - first.thisUpdate.getTime()).toBe(3_600_000);
    const complete = await authority.currentCrl('issuing', { scope: first.scope });
    expect(complete.crlNumber).toBe(first.crlNumber);
    expect(readCrlList(complete.der).freshest).toEqual([`${publicUrl}/crl/issuing/2/0.delta.crl`]);
    expect(parseCrl(first.der).issuingDistributionPoint).toEqual(parseCrl(complete.der).issuingDistributionPoint);
    expect(await findings(fixture)).toEqual([]);

    // An audit that finds another in its place says so.
    const { ca } = fixture.store;
    const withDelta = (der: Uint8Array) =>
      findings(fixture, {
        crlStates: (id) => ca.crlStates(id), crlSeries: (id) => ca.crlSeries(id), revokedSerials: (id) => ca.revokedSerials(id),
        latestCrl: async (id, asked) => {
          const found = await ca.latestCrl(id, asked);
          return found !== undefined && asked?.kind === 'delta' && asked.scope?.partition === scope.partition ? { ...found, der } : found;
        },
      });
    const now = (await authority.currentCrl('issuing', { scope, kind: 'delta' })).der.slice();
    now[now.length - 1] = (now.at(-1) ?? 0) ^ 1;
    expect(await withDelta(before.der)).toMatchObject([{ code: 'deltaDiffers', message: expect.stringContaining('does not lead from CRL') as string }]);
    expect(await withDelta(now)).toMatchObject([{ code: 'deltaDiffers', message: expect.stringContaining('is not signed by its issuer') as string }]);
  });

  it('start from a complete CRL that everyone who has a fresh one has passed', async () => {
    const fixture = await create({ crlDeltaLifetime: '1h' });
    const { authority, clock } = fixture;
    const bases: string[] = [];
    for (let round = 0; round < 7; round++) {
      await authority.publishCrls('issuing');
      const { crlNumber, delta } = (await authority.crlStates('issuing'))[0] ?? {};
      bases.push(`${crlNumber} from ${delta?.baseCrlNumber}`);
      clock.turn(43_200);
    }
    // Every half of a life; a base is between one life and two old.
    expect(bases).toEqual(['2 from 1', '3 from 1', '4 from 1', '5 from 1', '6 from 4', '7 from 4', '8 from 6']);
    expect(await findings(fixture)).toEqual([]);
  });

  it('end with the configuration, in store and files', async () => {
    const fixture = await create({ crlDeltaLifetime: '1h' });
    const file = join(fixture.directory, 'crl', 'issuing.delta.crl');
    expect(parseCrl(new Uint8Array(readFileSync(file))).baseCrlNumber).toBe(1n);
    const without = await fixture.reopen({ crlDeltaLifetime: undefined });
    await without.start();
    expect(existsSync(file)).toBe(false);
    expect(await codeOfRefusal(without.currentCrl('issuing', { kind: 'delta' }))).toBe('ERR_CRL_STALE');
  });
});

describe('over HTTP', () => {
  it('partitions and delta CRLs are found at the place that names them, and what there is none of is not', async () => {
    const fixture = await create({ crlPartitions: 2, crlDeltaLifetime: '1h' });
    const handler = createCrlHandler({ authority: fixture.authority, clock: fixture.clock, present: () => ({ status: 503, code: '', message: '' }) });
    const get = async (path: string, init?: RequestInit): Promise<Response> => handler(new Request(`${publicUrl}/crl/${path}`, init));
    for (const path of ['issuing/2/0.crl', 'issuing/2/1.delta.crl', 'root.delta.crl']) {
      const response = await get(path);
      expect([path, response.status, response.headers.get('content-type')]).toEqual([path, 200, 'application/pkix-crl']);
      expect(parseCrl(new Uint8Array(await response.arrayBuffer())).crlNumber).toBe(1n);
      expect((await get(path, { headers: { 'if-none-match': response.headers.get('etag') ?? '' } })).status).toBe(304);
    }
    for (const path of ['issuing/4/0.crl', 'issuing/2/2.crl', 'issuing/4/0.delta.crl', 'other/2/0.crl']) expect([path, (await get(path)).status]).toEqual([path, 404]);
    expect((await get('issuing.crl')).status).toBe(503);
  });
});

describe('a CRL too large for the event loop', () => {
  const many = 8_000;
  const entry = (at: number): string => `7f${at.toString(16).padStart(36, '0')},1790000000,superseded,1990000000;`;
  const invented = (known: { left: number }) => (store: CaStore): CaStore => ({
    ...store,
    async *revokedText(issuerId, options) {
      yield* store.revokedText(issuerId, options);
      for (let from = 0; from < known.left; from += 1_000) yield Buffer.from(Array.from({ length: Math.min(1_000, known.left - from) }, (_, at) => entry(from + at)).join(''));
    },
  });

  it('is built in a thread of its own, signed there or by a key elsewhere, and never loses an entry', async () => {
    const known = { left: many };
    const fixture = await create({ wrap: invented(known) });
    const { authority, clock } = fixture;
    const crl = await authority.publishCrl('issuing');
    expect(crl.entries).toBe(many);
    expect(parseCrl(crl.der).find(`7f${(many - 1).toString(16).padStart(36, '0')}`)?.reason).toBe('superseded');
    known.left = many - 1;
    clock.turn(2);
    expect(await codeOfRefusal(authority.publishCrl('issuing'))).toBe('ERR_CRL_INVALID');
    known.left = many;
    const { signer } = authority.issuing;
    if (signer === undefined) throw new Error('the issuing key is here');
    let asked = 0;
    const elsewhere: Signer = { ...signer, sign: (data) => { asked += 1; return signer.sign(data); } };
    const issuing = { ...authority.issuing, signer: elsewhere };
    const issuers = authority.issuers.map((issuer) => (issuer.name === 'issuing' ? issuing : issuer));
    const { CertificateAuthority } = await import('../../ca/authority.ts');
    const other = await CertificateAuthority.open({ ...authority.hierarchy, issuing, issuers }, { store: invented(known)(fixture.store.ca), clock, randomness: { bytes: (length) => new Uint8Array(length) }, trustDomain: 'acme.internal', publicUrl });
    expect((await other.publishCrl('issuing')).entries).toBe(many);
    expect(asked).toBe(1);
  });
});
