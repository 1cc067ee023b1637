import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { statusFromCrls } from '../../ca/x509/path/crl-status.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { pemOf } from '../../ca/issuer.ts';
import { encodeCertificateId, encodeOcspRequest, parseOcspResponse } from '../../ca/x509/ocsp.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import type { CaStore } from '../../ca/ports.ts';
import { codeOfRefusal, createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { ask } from '../support/ocsp.ts';

let fixture: AuthorityFixture | undefined;
afterEach(async () => {
  // Two CRLs of one issuer are a second apart.
  fixture?.clock.turn(5);
  await fixture?.close();
  fixture = undefined;
});
const make = async (options: Parameters<typeof createAuthority>[0] = {}): Promise<AuthorityFixture> => {
  fixture = await createAuthority(options);
  fixture.clock.turn(5);
  return fixture;
};
const statuses = ({ authority }: AuthorityFixture): Record<string, string> => Object.fromEntries(authority.issuers.map(({ name, status }) => [name, status]));
const certificatesIn = (pem: string) => decodePem(pem, 'CERTIFICATE').map(({ der }) => parseCertificate(der));

describe('the issuing CA', () => {
  it('is replaced in three steps, and both are trusted in between', async () => {
    const own = await make({ publicUrl: 'http://pki', permittedDnsNames: ['acme.internal'] });
    const { authority, clock } = own;
    const first = authority.issuing;
    const old = await authority.issue({ agent: 'a' });
    const [prepared] = await authority.prepareIssuer({ role: 'issuing', actor: 'cli:op' });
    expect(statuses(own)).toEqual({ root: 'active', issuing: 'active', 'issuing-2': 'prepared' });
    expect(authority.trusted('issuing').map(({ name }) => name)).toEqual(['issuing', 'issuing-2']);
    expect(prepared?.certificate.subject.flat().map(({ value }) => value)).toEqual(['Acme', 'Acme Issuing CA 2']);
    expect(prepared?.certificate.nameConstraints).toEqual(first.certificate.nameConstraints);
    expect((await authority.issue({ agent: 'b' })).issuerId).toBe(first.id);

    await authority.activateIssuer('issuing-2');
    const renewed = await authority.renew(old, { csr: newCsr() });
    expect(renewed.issuerId).toBe(prepared?.id);
    expect(parseCertificate(renewed.der).crlDistributionPoints?.[0]?.uris).toEqual(['http://pki/crl/issuing-2.crl']);
    expect(renewed.chain).toBe(renewed.pem + (prepared?.pem ?? ''));

    expect(await codeOfRefusal(authority.retireIssuer('issuing'))).toBe('ERR_CA_IN_USE');
    await expect(authority.retireIssuer('issuing')).rejects.toThrow(/2 certificates of issuing, such as that of a, are valid until .*, and|2 certificates of issuing, such as that of [ab]/);
    // Once the successor was seen in use nothing depends on the first certificate; the other one expires.
    await own.store.ca.markSeen(renewed, clock.now());
    clock.turn(86_400 - 600);
    const late = await authority.renew(renewed, { csr: newCsr() });
    clock.turn(601);
    await authority.retireIssuer('issuing');
    expect(statuses(own)).toEqual({ root: 'active', issuing: 'retired', 'issuing-2': 'active' });
    expect(await codeOfRefusal(authority.renew(old, { csr: newCsr() }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    await expect(authority.renew(late, { csr: newCsr() })).resolves.toBeDefined();
    const [row] = await authority.certificates({ agent: 'ca:issuing' });
    expect([row?.state, row?.revocationReason]).toEqual(['revoked', 'superseded']);
    expect((await own.events()).filter(({ action }) => action.startsWith('ca.')).map(({ action, actor }) => [action, actor])).toEqual([['ca.prepared', 'cli:op'], ['ca.activated', 'ca'], ['ca.retired', 'ca']]);
    expect(await own.auditIsWhole()).toBe(true);
  });

  it('still has its CRL published and its revocations heard once it is superseded or retired', async () => {
    const own = await make();
    const { authority } = own;
    const old = await authority.issue({ agent: 'a' });
    await authority.prepareIssuer({ role: 'issuing' });
    await authority.activateIssuer('issuing-2');
    await authority.retireIssuer('issuing', { onLive: 'cutOff' });
    await authority.revoke({ agent: 'a' });
    own.clock.turn(2);
    await authority.publishCrl('issuing');
    expect(parseCrl((await authority.currentCrl('issuing')).der).find(old.serial)).toBeDefined();
    await authority.publishCrl('root');
    expect(parseCrl((await authority.currentCrl('root')).der).entryCount).toBe(1);
    expect(await codeOfRefusal(authority.currentCrl('issuing-7'))).toBe('ERR_CA_MISSING');
  });

  it('has a responder of its own, which is asked by the hashes of its name and key', async () => {
    const { authority } = await make();
    const [before] = [authority.issuing];
    const old = await authority.issue({ agent: 'a' });
    await authority.prepareIssuer({ role: 'issuing' });
    await authority.activateIssuer('issuing-2');
    const next = await authority.issue({ agent: 'b' });
    await authority.revoke({ agent: 'a' });
    for (const hash of ['sha1', 'sha256'] as const) {
      expect(await ask(authority.ocsp, before, old.serial, { hash })).toMatchObject({ status: 'revoked' });
      expect(await ask(authority.ocsp, authority.issuing, next.serial, { hash })).toMatchObject({ status: 'good' });
      expect(await ask(authority.ocsp, authority.issuing, old.serial, { hash })).toMatchObject({ status: 'unknown' });
      expect(await ask(authority.ocsp, authority.root, next.serial, { hash })).toEqual({ status: 'unauthorized' });
    }
    // One signature cannot be that of two.
    const both = encodeOcspRequest({ certificateIds: [encodeCertificateId({ hash: 'sha1', issuer: before.certificate, serial: old.serial }), encodeCertificateId({ hash: 'sha1', issuer: authority.issuing.certificate, serial: next.serial })] });
    expect(parseOcspResponse((await authority.ocsp?.respond(both))?.der ?? new Uint8Array()).status).toBe('unauthorized');
    for (const { der } of [old, next]) expect(await authority.ocsp?.staple(parseCertificate(der))).toBeDefined();
  });

  it('can be activated again while it is superseded, and never once it is retired', async () => {
    const own = await make();
    const { authority } = own;
    await authority.prepareIssuer({ role: 'issuing', keyAlgorithm: 'ed25519' });
    expect(await codeOfRefusal(authority.prepareIssuer({ role: 'issuing' }))).toBe('ERR_CA_STATUS');
    await authority.activateIssuer('issuing-2');
    expect(await codeOfRefusal(authority.retireIssuer('issuing-2'))).toBe('ERR_CA_STATUS');
    own.clock.turn(5);
    await authority.activateIssuer('issuing');
    expect(statuses(own)).toEqual({ root: 'active', issuing: 'active', 'issuing-2': 'superseded' });
    await authority.retireIssuer('issuing-2');
    for (const again of [authority.activateIssuer('issuing-2'), authority.retireIssuer('issuing-2'), authority.activateIssuer('issuing')]) expect(await codeOfRefusal(again)).toBe('ERR_CA_STATUS');
    expect(await codeOfRefusal(authority.activateIssuer('issuing-9'))).toBe('ERR_CA_MISSING');
  });

  it('waits for an agent whose second machine has not renewed', async () => {
    const own = await make();
    const { authority, clock, store } = own;
    const one = await authority.issue({ agent: 'a' });
    await authority.issue({ agent: 'a' });
    await authority.prepareIssuer({ role: 'issuing' });
    await authority.activateIssuer('issuing-2');
    // An agent holds two at most, under whatever CA.
    expect(await codeOfRefusal(authority.renew(one, { csr: newCsr() }))).toBe('ERR_CA_LIMIT');
    expect(await codeOfRefusal(authority.retireIssuer('issuing'))).toBe('ERR_CA_IN_USE');
    const [server] = [await authority.issueServer({ hosts: ['gw.acme.internal'] })];
    expect(server?.issuerId).toBe(authority.issuing.id);
    await store.ca.markSeen(one, clock.now());
  });
});

describe('the root', () => {
  it('is replaced by one of the same name, certified both ways, with an issuing CA under it', async () => {
    const own = await make({ publicUrl: 'http://pki' });
    const { authority, clock } = own;
    const before = authority.root;
    const token = await authority.createToken({ agent: 'early', ttl: '2d' });
    const old = await authority.issue({ agent: 'a', ttl: '72h' });
    await authority.prepareIssuer({ role: 'root' });
    expect(statuses(own)).toEqual({ root: 'active', issuing: 'active', 'root-2': 'prepared', 'issuing-2': 'prepared' });
    // Who renews now learns the next root before anything comes from it.
    const meanwhile = await authority.renew(old, { csr: newCsr() });
    expect(certificatesIn(meanwhile.ca).map(({ spkiHash }) => spkiHash)).toEqual([before.id, authority.issuerNamed('root-2')?.id]);
    expect(certificatesIn(meanwhile.chain)).toHaveLength(2);

    await expect(authority.activateIssuer('root-2')).rejects.toThrow(/prepared for less than 1d.*wait until/);
    expect(await codeOfRefusal(authority.activateIssuer('issuing-2'))).toBe('ERR_CA_STATUS');
    clock.turn(86_401);
    await authority.activateIssuer('root-2');
    expect([authority.root.name, authority.issuing.name]).toEqual(['root-2', 'issuing-2']);
    expect(authority.root.certificate.subjectNameDer).toEqual(before.certificate.subjectNameDer);

    // Who trusts the old root alone, or the new one alone, verifies what the other leads to.
    const after = await authority.enroll({ token: token.token, csr: newCsr() });
    clock.turn(2);
    for (const name of ['root', 'issuing', 'root-2', 'issuing-2']) await authority.publishCrl(name);
    const crls = await Promise.all(authority.issuers.map(async ({ name }) => parseCrl((await authority.currentCrl(name)).der)));
    const at = clock.now();
    const verdict = (pem: string, anchor: string) => {
      const [target, ...intermediates] = certificatesIn(pem);
      const trust = authority.certificateNamed(anchor);
      if (target === undefined || trust === undefined) throw new Error('no certificate');
      return verifyPath(target, { anchors: [trust], intermediates, at, purpose: 'client', status: statusFromCrls(crls, { at }) }).ok;
    };
    const crossed = authority.crossCertificates.find(({ of }) => of === 'root')?.pem ?? '';
    expect(certificatesIn(after.chain)).toHaveLength(3);
    for (const anchor of ['root', 'root-2']) expect(verdict(after.chain, anchor)).toBe(true);
    expect(verdict(old.chain, 'root')).toBe(true);
    // For verifiers that count a root's certificate of the next one as a step.
    const short = authority.certificateNamed('issuing-2-by-root');
    expect(verdict(after.pem + pemOf(short === undefined ? [] : [short]), 'root')).toBe(true);
    expect(verdict(old.chain, 'root-2')).toBe(false);
    expect(verdict(old.chain + crossed, 'root-2')).toBe(true);
    // OpenSSL counts a certificate against pathLen by the same rule.
    expect(new X509Certificate(authority.crossCertificates[0]?.pem ?? '').checkIssued(new X509Certificate(before.pem))).toBe(true);

    await authority.retireIssuer('root', { onLive: 'cutOff' });
    expect(statuses(own)).toEqual({ root: 'retired', issuing: 'retired', 'root-2': 'active', 'issuing-2': 'active' });
    const last = await authority.issue({ agent: 'z' });
    expect([certificatesIn(last.ca).length, certificatesIn(last.chain).length]).toEqual([1, 2]);
    clock.turn(2);
    await authority.publishCrl('root-2');
    crls.splice(0, crls.length, ...(await Promise.all(authority.issuers.map(async ({ name }) => parseCrl((await authority.currentCrl(name)).der)))));
    expect(verdict(old.chain + crossed, 'root-2')).toBe(false);
    expect(await codeOfRefusal(authority.enroll({ token: token.token, csr: newCsr() }))).toBe('ERR_TOKEN_INVALID');
  });
});

describe('a directory', () => {
  it('is loaded again as it was left, and another process on it follows', async () => {
    const own = await make();
    const { authority } = own;
    const other = await own.reopen();
    expect(await other.refresh()).toBe(false);
    await authority.prepareIssuer({ role: 'issuing' });
    const told: string[] = [];
    const stop = other.followHierarchy({ before: async ({ issuers }) => void told.push(issuers.map(({ name }) => name).join(' ')), after: () => void told.push(other.issuing.name) });
    expect(await other.refresh()).toBe(true);
    await other.activateIssuer('issuing-2');
    stop();
    own.clock.turn(5);
    expect(told).toEqual(['root issuing issuing-2', 'issuing', 'root issuing issuing-2', 'issuing-2']);
    expect((await other.issue({ agent: 'a' })).issuerId).toBe(other.issuing.id);
    // Steps of two processes follow one another, and one that was killed in the middle stops nobody.
    writeFileSync(join(own.directory, 'certs', '.hierarchy.lock'), JSON.stringify({ pid: 2 ** 30, host: hostname(), id: 'killed' }));
    await expect(authority.retireIssuer('issuing')).resolves.toMatchObject([{ name: 'issuing', status: 'retired' }]);
    expect(authority.issuing.name).toBe('issuing-2');
  });

  it('whose list was altered or lost is refused rather than guessed', async () => {
    const own = await make();
    await own.authority.prepareIssuer({ role: 'root' });
    const file = join(own.directory, 'certs', 'hierarchy.json');
    const text = readFileSync(file, 'utf8');
    for (const bad of ['{', '{}', text.replace('"version": 1', '"version": 2'), text.replace('"prepared"', '"trusted"'), text.replaceAll('"status": "active"', '"status": "retired"'), text.replace('"of": "root"', '"of": "other"')]) {
      writeFileSync(file, bad);
      expect(await codeOfRefusal(own.reopen())).toBe('ERR_CA_MISSING');
    }
    writeFileSync(file, text);
    await expect(own.reopen()).resolves.toBeDefined();
  });

  it('survives an end between any two steps of a rotation, and the next attempt succeeds', async () => {
    // Every call that changes the store fails once, in turn, and nothing after it is done: as if the process had died there.
    let calls = 0;
    let failAt = Infinity;
    const guard = (store: CaStore): CaStore =>
      new Proxy(store, {
        get(target, property: keyof CaStore) {
          const method = target[property].bind(target) as (...args: unknown[]) => unknown;
          if (!['recordIntent', 'recordIssued', 'recordEvent', 'revoke'].includes(property)) return method;
          return (...args: unknown[]): unknown => {
            calls += 1;
            if (calls >= failAt) throw new Error('killed');
            return method(...args);
          };
        },
      });
    const own = await make({ wrap: guard, crlCoalesceMs: 3_600_000 });
    const steps = [
      (authority: AuthorityFixture['authority']) => authority.prepareIssuer({ role: 'root' }),
      (authority: AuthorityFixture['authority']) => authority.activateIssuer('root-2', { settling: 'waived' }),
      (authority: AuthorityFixture['authority']) => authority.retireIssuer('root'),
    ];
    let failures = 0;
    for (const step of steps) {
      for (let attempt = 1; ; attempt += 1) {
        failAt = Infinity;
        const current = await own.reopen();
        await current.issue({ agent: `at-${failures}`, ttl: 1 });
        own.clock.turn(2);
        calls = 0;
        failAt = attempt;
        try {
          await step(current);
          break;
        } catch (error) {
          if (error instanceof Error && error.message === 'killed') failures += 1;
          // What was done before the end stands, and needs not be done again.
          else if (error instanceof Error && 'code' in error && error.code === 'ERR_CA_STATUS') break;
          else throw error;
        }
      }
    }
    failAt = Infinity;
    const last = await own.reopen();
    expect(Object.fromEntries(last.issuers.map(({ name, status }) => [name, status]))).toEqual({ root: 'retired', issuing: 'retired', 'root-2': 'active', 'issuing-2': 'active' });
    expect(failures).toBeGreaterThan(8);
    expect(existsSync(join(own.directory, 'certs', '.hierarchy.lock'))).toBe(false);
    // What a step had put on record and never finished is taken stock of, like any other certificate.
    own.clock.turn(61);
    await last.recover();
    expect(await last.certificates({ states: ['intent'] })).toEqual([]);
    expect((await last.certificates({ states: ['unknownIssued'] })).every(({ agent }) => agent.startsWith('ca:'))).toBe(true);
    for (const { certificate } of [...last.issuers, ...last.crossCertificates]) expect((await last.certificates({ serial: certificate.serial }))[0]?.der).toBeDefined();
  });
});
