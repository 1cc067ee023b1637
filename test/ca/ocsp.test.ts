import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { OcspResponders } from '../../ca/ocsp-responders.ts';
import { OcspResponder } from '../../ca/ocsp.ts';
import type { OcspResponderOptions } from '../../ca/ocsp.ts';
import type { CaStore, KeyAlgorithm } from '../../ca/ports.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { ACCESS_METHOD, EXTENDED_KEY_USAGE, EXTENSION, extensionValue, parseAuthorityInformationAccess } from '../../ca/x509/extension.ts';
import { parseOcspResponse } from '../../ca/x509/ocsp.ts';
import { systemRandomness } from '../../src/system.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { ask, proven } from '../support/ocsp.ts';

const open: AuthorityFixture[] = [];
const create = async (options: Parameters<typeof createAuthority>[0] = {}): Promise<AuthorityFixture> => {
  const fixture = await createAuthority(options);
  open.push(fixture);
  return fixture;
};
afterEach(async () => {
  for (const fixture of open.splice(0)) await fixture.close();
});

/** One for all tests that leave its signer as it is. */
let shared: AuthorityFixture;
beforeAll(async () => {
  shared = await createAuthority();
});
afterAll(() => shared.close());
let last = 0;
const name = (): string => `agent-${++last}`;

/** A responder on the key and certificate the fixture's authority keeps, with settings of its own. */
const another = ({ authority, directory, store, clock }: AuthorityFixture, options: Partial<OcspResponderOptions> = {}): OcspResponders => {
  const responder = new OcspResponder({
    issuer: authority.issuing, directory, passphrase: undefined, store: store.ca, clock, randomness: systemRandomness,
    issue: () => Promise.reject(new Error('issues nothing')),
    onError: (error) => { throw error; },
    ...options,
  });
  const responders = new OcspResponders();
  responders.set(authority.issuing.id, responder);
  return responders;
};

describe('the status', () => {
  it('is good for what was issued, revoked with time and reason, unknown for everything else', async () => {
    const { authority, store } = shared;
    const { ocsp, issuing } = authority;
    const one = await authority.issue({ agent: name() });
    const two = await authority.issue({ agent: name() });
    await authority.revoke({ serial: two.serial }, { reason: 'keyCompromise' });
    const [record] = await authority.certificates({ serial: two.serial });
    expect((await proven(ocsp, issuing, one.serial)).response.responses).toMatchObject([{ status: { status: 'good' } }]);
    expect((await proven(ocsp, issuing, two.serial)).response.responses).toMatchObject([{ status: { status: 'revoked', reason: 'keyCompromise', revokedAt: new Date(Math.floor((record?.revokedAt?.getTime() ?? 0) / 1_000) * 1_000) } }]);
    expect((await proven(ocsp, issuing, '01'.repeat(19))).status).toBe('unknown');

    // Reserved, perhaps signed, never answered.
    const [template] = await authority.certificates({ serial: one.serial });
    if (template === undefined) throw new Error('not recorded');
    await store.ca.recordIntent({ ...template, serial: '02'.repeat(19), agent: name(), createdAt: new Date(0) });
    expect((await proven(ocsp, issuing, '02'.repeat(19))).status).toBe('unknown');
    await authority.recover();
    expect((await proven(ocsp, issuing, '02'.repeat(19))).status).toBe('unknown');
    await authority.revoke({ serial: '02'.repeat(19) });
    expect((await proven(ocsp, issuing, '02'.repeat(19))).status).toBe('revoked');
  });
  it('is told by SHA-1 and SHA-256, of several certificates at once, and bound to a nonce', async () => {
    const { authority } = shared;
    const { ocsp, issuing } = authority;
    const one = await authority.issue({ agent: name() });
    for (const hash of ['sha1', 'sha256'] as const) {
      const { response } = await proven(ocsp, issuing, one.serial, { hash });
      expect(response).toMatchObject({ nonce: undefined, responses: [{ status: { status: 'good' }, certificateId: { hash, serial: one.serial } }] });
    }
    const nonce = Uint8Array.from({ length: 32 }, (_, at) => at);
    const answer = await proven(ocsp, issuing, [one.serial, '03'], { nonce });
    expect(answer.response).toMatchObject({ nonce, responses: [{ status: { status: 'good' } }, { status: { status: 'unknown' }, certificateId: { serial: '03' } }] });
    expect(answer.shared).toBeUndefined();
  });
  it("is not told of another CA's certificates, and not to who asks wrongly", async () => {
    const { authority } = shared;
    const { ocsp, issuing, root } = authority;
    expect(await ask(ocsp, root, issuing.certificate.serial)).toEqual({ status: 'unauthorized' });
    expect(parseOcspResponse((await ocsp?.respond(Uint8Array.of(0x30, 0)))?.der ?? new Uint8Array())).toEqual({ status: 'malformedRequest' });
  });
});

describe('an answer without a nonce', () => {
  it('is signed once, given until half of its life is over, and never says what is no longer true', async () => {
    const { authority, clock } = shared;
    const { ocsp, issuing } = authority;
    const { serial } = await authority.issue({ agent: name() });
    const first = await proven(ocsp, issuing, serial);
    expect(first.response.responses[0]?.nextUpdate?.getTime()).toBe((first.response.responses[0]?.thisUpdate.getTime() ?? 0) + 3_600_000);
    clock.turn(1_700);
    expect((await proven(ocsp, issuing, serial)).der).toBe(first.der);
    clock.turn(200);
    const second = await proven(ocsp, issuing, serial);
    expect(second.der).not.toBe(first.der);
    expect(second.response.producedAt.getTime()).toBeGreaterThan(first.response.producedAt.getTime());
    await authority.revoke({ serial });
    expect((await proven(ocsp, issuing, serial)).status).toBe('revoked');
  });
  it('is pushed out by others within the octets there are, and not by questions about nothing', async () => {
    const { authority } = shared;
    const [one, two] = [await authority.issue({ agent: name() }), await authority.issue({ agent: name() })];
    const { der } = await proven(authority.ocsp, authority.issuing, one.serial);
    const responder = another(shared, { maxKeptOctets: der.length + 10 });
    const first = await proven(responder, authority.issuing, one.serial);
    await proven(responder, authority.issuing, '05');
    expect((await proven(responder, authority.issuing, one.serial)).der).toBe(first.der);
    await proven(responder, authority.issuing, two.serial);
    expect((await proven(responder, authority.issuing, one.serial)).der).not.toBe(first.der);
  });
});

describe('once revoke has returned', () => {
  it('no authority on the store says good, in whatever process it is', async () => {
    const { authority } = shared;
    const { issuing } = authority;
    const other = await shared.reopen();
    const { serial } = await authority.issue({ agent: name() });
    let revoked = false;
    const late: string[] = [];
    const asking = [authority, other].flatMap(({ ocsp }) =>
      [undefined, Uint8Array.of(1)].map(async (nonce) => {
        for (let rounds = 0; rounds < 5; ) {
          const after = revoked;
          const { status } = await ask(ocsp, issuing, serial, nonce === undefined ? {} : { nonce });
          if (after) late.push(status);
          if (after) rounds++;
        }
      }),
    );
    await authority.revoke({ serial });
    revoked = true;
    await Promise.all(asking);
    expect(new Set(late)).toEqual(new Set(['revoked']));
  });
  it('one that follows the change feed has forgotten what it knew, also what it was just reading', async () => {
    let reading: { readonly began: () => void; readonly goOn: Promise<void> } | undefined;
    const slow = (store: CaStore): CaStore =>
      new Proxy(store, {
        get: (target, name) => {
          if (name !== 'findCertificates') return Reflect.get(target, name) as unknown;
          return async (query: Parameters<CaStore['findCertificates']>[0]) => {
            const found = await target.findCertificates(query);
            const held = reading;
            if (held !== undefined && query.serial !== undefined) {
              held.began();
              await held.goOn;
            }
            return found;
          };
        },
      });
    const fixture = await create({ wrap: slow });
    const { authority, store } = fixture;
    const { ocsp, issuing } = authority;
    ocsp?.follow(() => true);
    const end = await store.changes.subscribe((change) => {
      if (change.kind === 'revoked') ocsp?.forget(change);
    });
    const [one, two] = [await authority.issue({ agent: 'one' }), await authority.issue({ agent: 'two' })];
    expect((await proven(ocsp, issuing, one.serial)).status).toBe('good');

    const { promise: began, resolve: begin } = Promise.withResolvers<void>();
    const { promise: goOn, resolve: release } = Promise.withResolvers<void>();
    reading = { began: begin, goOn };
    const answer = proven(ocsp, issuing, two.serial);
    await began;
    reading = undefined;
    // By the store itself, as another process would.
    await store.ca.revoke([one, two], 'superseded', new Date(), () => ({ action: 'certificate.revoked', outcome: 'done', time: new Date() }));
    while ((await proven(ocsp, issuing, one.serial)).status === 'good') await new Promise((resolve) => setTimeout(resolve, 5));
    release();
    expect((await answer).status).toBe('revoked');
    expect((await proven(ocsp, issuing, two.serial)).status).toBe('revoked');
    await end();
  });
  it('one that hears nothing from the feed looks into the store again', async () => {
    const { authority, store } = shared;
    const ocsp = another(shared);
    const { serial } = await authority.issue({ agent: name() });
    let isHeard = true;
    ocsp.follow(() => isHeard);
    expect((await proven(ocsp, authority.issuing, serial)).status).toBe('good');
    await store.ca.revoke([{ issuerId: authority.issuing.id, serial }], 'superseded', new Date(), () => ({ action: 'certificate.revoked', outcome: 'done', time: new Date() }));
    isHeard = false;
    expect((await proven(ocsp, authority.issuing, serial)).status).toBe('revoked');
  });
});

describe('what costs', () => {
  it('is bounded: nonces and unknown serials wait, kept answers are given all the same', async () => {
    const { authority, clock } = shared;
    const { issuing } = authority;
    const { serial } = await authority.issue({ agent: name() });
    await proven(authority.ocsp, issuing, serial);
    const responder = another(shared, { onDemand: { perSecond: 1, burst: 2 }, keepable: { perSecond: 1, burst: 3 } });
    responder.follow(() => true);
    const nonce = Uint8Array.of(1);
    const statuses = async (...asked: (readonly [string, { nonce?: Uint8Array }])[]) => {
      const all: string[] = [];
      for (const [about, how] of asked) all.push((await ask(responder, issuing, about, how)).status);
      return all;
    };
    expect(await statuses([serial, {}], [serial, { nonce }], ['04', {}], [serial, { nonce }], ['04', {}], [serial, {}])).toEqual(['good', 'good', 'unknown', 'tryLater', 'tryLater', 'good']);
    clock.turn(1);
    expect(await statuses([serial, { nonce }], [serial, { nonce }])).toEqual(['good', 'tryLater']);
  });
  it('is asked for later while the store is away, which is reported once', async () => {
    const { authority, store } = shared;
    const { serial } = await authority.issue({ agent: name() });
    await proven(authority.ocsp, authority.issuing, serial);
    const reported: unknown[] = [];
    let away = true;
    const findCertificates: CaStore['findCertificates'] = (query) => (away ? Promise.reject(new CaError('ERR_STORE_UNAVAILABLE', 'away')) : store.ca.findCertificates(query));
    const responder = another(shared, { store: { findCertificates }, onError: (error) => reported.push(error) });
    for (let times = 0; times < 3; times++) expect(await ask(responder, authority.issuing, serial)).toEqual({ status: 'tryLater' });
    expect(reported).toMatchObject([{ code: 'ERR_STORE_UNAVAILABLE' }]);
    away = false;
    expect((await ask(responder, authority.issuing, serial)).status).toBe('good');
    away = true;
    expect((await ask(responder, authority.issuing, serial)).status).toBe('tryLater');
    expect(reported).toHaveLength(2);
  });
});

describe('the signer', () => {
  it('is a delegate of the issuing CA for two weeks, of its algorithm, issued and recorded like every certificate', async () => {
    const { authority, directory } = shared;
    const { signer } = await proven(authority.ocsp, authority.issuing, '01');
    expect(signer).toMatchObject({ extendedKeyUsage: [EXTENDED_KEY_USAGE.OCSPSigning], uris: [], dnsNames: [], crlDistributionPoints: undefined, basicConstraints: { ca: false } });
    expect(signer.extensions.get(EXTENSION.ocspNoCheck)).toMatchObject({ critical: false });
    expect(signer.subject).toEqual([[{ type: 'O', value: 'Acme' }], [{ type: 'CN', value: 'OCSP Responder' }]]);
    expect(signer.notAfter.getTime() - signer.notBefore.getTime()).toBe((14 * 86_400 + 60 - 1) * 1_000);
    expect(await authority.certificates({ agent: 'ocsp:issuing' })).toMatchObject([{ state: 'issued', profile: 'ocsp', serial: signer.serial }]);
    expect((await shared.events()).filter(({ agent }) => agent === 'ocsp:issuing')).toMatchObject([{ action: 'certificate.issued', actor: 'ca' }]);
    expect(statSync(join(directory, 'keys', 'ocsp.key.pem')).mode & 0o777).toBe(0o600);
    // Nothing can ask for it, as nothing can ask for root and issuing.
    await expect(authority.issue({ agent: 'x', profile: 'ocsp' })).rejects.toMatchObject({ code: 'ERR_CA_PROFILE' });
  });
  it('is kept, encrypted with the passphrase, and used again', async () => {
    const fixture = await create();
    const { directory } = fixture;
    const authority = await fixture.reopen({ passphrase: 'correct horse' });
    const { signer } = await proven(authority.ocsp, authority.issuing, '01');
    expect(readFileSync(join(directory, 'keys', 'ocsp.key.pem'), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    const other = await fixture.reopen({ passphrase: 'correct horse' });
    expect((await proven(other.ocsp, authority.issuing, '01')).signer.serial).toBe(signer.serial);
    expect(await authority.certificates({ agent: 'ocsp:issuing' })).toHaveLength(1);
  });
  it('gets a new certificate at half of its life, and at the end when that failed', async () => {
    const fixture = await create();
    const { authority, clock } = fixture;
    const { ocsp, issuing } = authority;
    const { signer } = await proven(ocsp, issuing, '01');
    const reported: unknown[] = [];
    const failing = another(fixture, { onError: (error) => reported.push(error) });
    clock.turn(7 * 86_400 - 60);
    await proven(failing, issuing, '01');
    clock.turn(60);
    // In the background, so the one that is still good signs this.
    expect((await proven(failing, issuing, '01')).signer.serial).toBe(signer.serial);
    await expect.poll(() => reported).toHaveLength(1);
    expect((await proven(ocsp, issuing, '01')).signer.serial).toBe(signer.serial);
    await expect.poll(async () => (await proven(ocsp, issuing, '01')).signer.serial).not.toBe(signer.serial);
    const { signer: renewed } = await proven(ocsp, issuing, '01');
    expect(renewed.spkiHash).toBe(signer.spkiHash);
    // What one process renewed the others find.
    clock.turn(61);
    await expect.poll(async () => (await proven(failing, issuing, '01')).signer.serial).toBe(renewed.serial);
    clock.turn(14 * 86_400);
    expect(await ask(failing, issuing, '01')).toEqual({ status: 'internalError' });
    expect((await proven(ocsp, issuing, '01')).signer.notAfter.getTime()).toBeGreaterThan(clock.now().getTime());
    // Nobody could verify an answer beyond its signer's end.
    const last = await proven(ocsp, issuing, '01');
    clock.turn((last.signer.notAfter.getTime() - clock.now().getTime()) / 1_000 - 10);
    const late = await proven(another(fixture, { onError: () => undefined }), issuing, '01');
    expect(late.response.responses[0]?.nextUpdate).toEqual(last.signer.notAfter);
  });
  it('that cannot be had is not asked for at every request', async () => {
    const { issuing } = shared.authority;
    const { serial } = await shared.authority.issue({ agent: name() });
    let attempts = 0;
    const responder = another(shared, { directory: undefined, issue: () => Promise.reject(new Error(`attempt ${++attempts}`)), onError: () => undefined });
    for (let times = 0; times < 3; times++) expect(await ask(responder, issuing, serial)).toEqual({ status: 'internalError' });
    expect(attempts).toBe(1);
    shared.clock.turn(2);
    await ask(responder, issuing, serial);
    expect(attempts).toBe(2);
  });
  it('that was revoked signs nothing more, and its key is never certified again', async () => {
    const fixture = await create();
    const { authority } = fixture;
    const { ocsp, issuing } = authority;
    const { serial } = await authority.issue({ agent: 'one' });
    const first = await proven(ocsp, issuing, serial);
    await authority.revoke({ serial: first.signer.serial }, { reason: 'keyCompromise' });
    const second = await proven(ocsp, issuing, serial);
    expect(second.signer.spkiHash).not.toBe(first.signer.spkiHash);
    const third = await proven((await fixture.reopen()).ocsp, issuing, serial);
    expect(third.signer.serial).toBe(second.signer.serial);
  });
  it.each<KeyAlgorithm>(['ed25519', 'ml-dsa-65'])('of a %s CA has a key of the same kind', async (keyAlgorithm) => {
    const { authority } = await create({ keyAlgorithm });
    const { signer, status } = await proven(authority.ocsp, authority.issuing, '01');
    expect([status, signer.signatureAlgorithm]).toEqual(['unknown', authority.issuing.certificate.signatureAlgorithm]);
  });
});

describe('the address', () => {
  const placesIn = (der: Uint8Array) => extensionValue(parseCertificate(der).extensions, EXTENSION.authorityInformationAccess, (value) => parseAuthorityInformationAccess(value, ACCESS_METHOD.ocsp));

  it('goes into what the issuing CA issues, beside that of the CRL', async () => {
    const { authority } = await create({ publicUrl: 'http://pki.acme.internal:8080/' });
    expect(placesIn((await authority.issue({ agent: 'one', csr: newCsr() })).der)).toEqual(['http://pki.acme.internal:8080/ocsp']);
    expect(placesIn((await authority.issue({ agent: 'two', csr: newCsr(), dangerouslyIssuer: 'root' })).der)).toEqual([]);
    expect(placesIn(authority.issuing.der)).toEqual([]);
  });
  it('stays out where OCSP is switched off', async () => {
    const { authority } = await create({ publicUrl: 'http://pki.acme.internal:8080/', ocsp: false });
    expect(authority.ocsp).toBeUndefined();
    expect(placesIn((await authority.issue({ agent: 'one', csr: newCsr() })).der)).toEqual([]);
  });
});
