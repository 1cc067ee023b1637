import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import { signWith, signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { boolean, contextTag, element, integer, nullValue, octetString, oid, sequence, set } from '../../ca/x509/der.ts';
import { encodeBasicConstraints, encodeExtendedKeyUsage, encodeExtension, encodeKeyUsage, encodeNoRevAvail } from '../../ca/x509/extension.ts';
import { assembleSigned } from '../../ca/x509/signed.ts';
import { codeOfRefusal, createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority({ publicUrl: 'http://pki.acme.internal:8080/' });
});
afterAll(() => fixture.close());
/** A request for a new key that asks for these extensions. */
const csrWith = (...extensions: readonly Uint8Array[]): Uint8Array => {
  const key = newKey();
  const info = sequence(integer(0), sequence(), spkiOf(key), element(contextTag(0), sequence(oid('1.2.840.113549.1.9.14'), set(sequence(...extensions)))));
  return assembleSigned(info, signatureAlgorithmFor('p256'), signWith(key, info));
};
/** RFC 5280 §4.2.1.6: critical when the subject is empty. */
const hasCriticalSan = (der: Uint8Array): boolean => Buffer.from(der).includes(Buffer.concat([oid('2.5.29.17'), boolean(true)]));
let last = 0;
const name = (): string => `agent-${++last}`;

describe('issuing to an agent', () => {
  it('gives the certificate that pki.md describes', async () => {
    const { authority } = fixture;
    const issued = await authority.issue({ agent: 'agent-seven', organizationalUnits: ['analytics', 'Überwachung'], csr: newCsr({ commonName: 'agent-seven' }) });
    const certificate = parseCertificate(issued.der);
    expect(certificate).toMatchObject({
      version: 3,
      basicConstraints: { ca: false, pathLen: undefined },
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
      uris: ['spiffe://acme.internal/agent/agent-seven'],
      dnsNames: [],
      authorityKeyIdentifier: authority.issuing.certificate.subjectKeyIdentifier,
      crlDistributionPoints: [{ uris: ['http://pki.acme.internal:8080/crl/issuing.crl'] }],
      unknownCriticalExtensions: [],
    });
    expect([...(certificate.keyUsage ?? [])]).toEqual(['digitalSignature']);
    expect(certificate.serial).toMatch(/^[0-7][0-9a-f]{37}$/);
    expect(verifyCertificateSignature(certificate, authority.issuing.certificate.spki)).toBe(true);
    expect(issued).toMatchObject({ subject: 'CN=agent-seven,OU=Überwachung,OU=analytics', organizationalUnits: ['analytics', 'Überwachung'], profile: 'agent', privateKey: undefined, replaces: undefined });
    expect(issued.chain).toBe(issued.pem + authority.issuing.pem);
    expect(issued.ca).toBe(authority.root.pem);
    // A day counted without the backdating, to the inclusive second before.
    expect(issued.notAfter.getTime() - issued.notBefore.getTime()).toBe((86_400 + 60 - 1) * 1_000);
  });
  it('makes a key when there is no request, and keeps no copy', async () => {
    const issued = await fixture.authority.issue({ agent: name(), keyAlgorithm: 'ed25519' });
    const { privateKey } = issued;
    expect(privateKey?.asymmetricKeyType).toBe('ed25519');
    expect(privateKey === undefined ? undefined : spkiOf(createPublicKey(privateKey))).toEqual(parseCertificate(issued.der).spki);
    const [record] = await fixture.authority.certificates({ serial: issued.serial });
    expect(JSON.stringify(record)).not.toContain('PRIVATE');
  });
  it('records the certificate and its evidence before it answers', async () => {
    const issued = await fixture.authority.issue({ agent: name(), organizationalUnits: ['x'], actor: 'cli:olga' });
    const [record] = await fixture.authority.certificates({ thumbprint: issued.thumbprint });
    expect(record).toMatchObject({ state: 'issued', serial: issued.serial, agent: issued.agent, organizationalUnits: ['x'] });
    expect((await fixture.events()).at(-1)).toMatchObject({ action: 'certificate.issued', outcome: 'done', agent: issued.agent, actor: 'cli:olga', thumbprint: issued.thumbprint });
    expect(await fixture.auditIsWhole()).toBe(true);
  });
  it('signs with the root only when told so by a dangerous name', async () => {
    const issued = await fixture.authority.issue({ agent: name(), ttl: 1, dangerouslyIssuer: 'root' });
    expect(issued.issuerId).toBe(fixture.authority.root.id);
    expect(verifyCertificateSignature(parseCertificate(issued.der), fixture.authority.root.certificate.spki)).toBe(true);
  });
  it('refuses what it cannot certify, each with its code, and says so in the audit log', async () => {
    const { authority } = fixture;
    const weak = createCsr(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
    const forged = newCsr();
    forged[forged.length - 3] = (forged.at(-3) ?? 0) ^ 1;
    const cases: readonly (readonly [string, () => Promise<unknown>])[] = [
      ['ERR_CA_NAME', () => authority.issue({ agent: '../etc' })],
      ['ERR_CA_NAME', () => authority.issue({ agent: name(), organizationalUnits: ['a\u0000'] })],
      ['ERR_CA_PROFILE', () => authority.issue({ agent: name(), profile: 'none' })],
      ['ERR_CA_PROFILE', () => authority.issue({ agent: name(), profile: 'server' })],
      ['ERR_CA_PROFILE', () => authority.issueServer({ hosts: ['localhost'], profile: 'agent' })],
      ['ERR_CA_TTL', () => authority.issue({ agent: name(), ttl: '91d' })],
      ['ERR_CA_TTL', () => authority.issue({ agent: name(), ttl: 'soon' })],
      ['ERR_CSR_INVALID', () => authority.issue({ agent: name(), csr: newCsr().subarray(0, 100) })],
      ['ERR_CSR_SIGNATURE', () => authority.issue({ agent: name(), csr: forged })],
      ['ERR_CA_NAME', () => authority.issueServer({ hosts: [] })],
      ['ERR_CA_KEY_REFUSED', () => authority.issueServer({ hosts: ['x'], publicKey: createPublicKey({ key: Buffer.from(authority.issuing.certificate.spki), format: 'der', type: 'spki' }) })],
    ];
    for (const [code, call] of cases) expect(await codeOfRefusal(call)).toBe(code);
    const refusals = (await fixture.events()).filter(({ action }) => action === 'certificate.refused').map(({ reason }) => reason);
    expect(refusals).toEqual(cases.map(([code]) => code));
    await expect(authority.issue({ agent: name(), csr: weak })).resolves.toBeDefined();
  });
});

describe('what a request asks for', () => {
  const grant = { organizationalUnits: ['analytics'] };
  it('may repeat the grant, in whole or in part', async () => {
    const agent = name();
    const csr = newCsr({ subject: [[{ type: 'OU', value: 'analytics' }], [{ type: 'CN', value: agent }]], uris: [`spiffe://acme.internal/agent/${agent}`] });
    await expect(fixture.authority.issue({ agent, ...grant, csr })).resolves.toMatchObject({ agent });
    await expect(fixture.authority.issue({ agent: name(), ...grant, csr: newCsr() })).resolves.toBeDefined();
  });
  it.each([
    ['another commonName', { commonName: 'admin' }],
    ['a further OU', { subject: [[{ type: 'OU', value: 'analytics' }], [{ type: 'OU', value: 'platform' }]] }],
    ['an organization', { subject: [[{ type: 'O', value: 'Acme' }]] }],
    ['another URI', { uris: ['spiffe://acme.internal/agent/admin'] }],
    ['a DNS name', { dnsNames: ['localhost'] }],
    ['an IP address', { ipAddresses: ['127.0.0.1'] }],
    ['an email address', { emails: ['a@b'] }],
  ])('is refused, not trimmed, when it is %s', async (_, asked) => {
    expect(await codeOfRefusal(fixture.authority.issue({ agent: name(), ...grant, csr: newCsr(asked) }))).toBe('ERR_CA_CSR_CONTENT');
    expect((await fixture.events()).at(-1)).toMatchObject({ action: 'certificate.refused', reason: 'ERR_CA_CSR_CONTENT' });
  });
  it('may repeat the usages of the profile', async () => {
    const repeated = csrWith(encodeBasicConstraints({ ca: false }), encodeKeyUsage(['digitalSignature']), encodeExtendedKeyUsage(['clientAuth']));
    await expect(fixture.authority.issue({ agent: name(), csr: repeated })).resolves.toBeDefined();
  });
  it.each([
    ['to be a CA', encodeBasicConstraints({ ca: true }), 'to be a CA'],
    ['to sign certificates', encodeKeyUsage(['digitalSignature', 'keyCertSign']), 'keyUsage keyCertSign'],
    ['to be a server too', encodeExtendedKeyUsage(['clientAuth', 'serverAuth']), 'extendedKeyUsage 1.3.6.1.5.5.7.3.1'],
    ['not to be asked about', encodeNoRevAvail(), 'extension 2.5.29.56'],
    ['an extension of its own', encodeExtension('1.2.3.4', 'nonCritical', nullValue()), 'extension 1.2.3.4'],
  ])('is refused, not trimmed, when it is %s', async (_, extension, excess) => {
    await expect(fixture.authority.issue({ agent: name(), csr: csrWith(extension) })).rejects.toMatchObject({ code: 'ERR_CA_CSR_CONTENT', facts: { excess: [excess] } });
  });
});

describe('a short-lived certificate', () => {
  it('says that nobody need ask about it, names no place to ask, and is revoked like any other', async () => {
    const { authority, store } = fixture;
    const { der, serial, notBefore, notAfter } = await authority.issue({ agent: name(), profile: 'short-lived' });
    expect(parseCertificate(der)).toMatchObject({ noRevAvail: true, crlDistributionPoints: undefined, unknownCriticalExtensions: [] });
    // RFC 9608 §2: not critical, and NULL.
    expect(Buffer.from(der).includes(sequence(oid('2.5.29.56'), octetString(nullValue())))).toBe(true);
    for (const address of ['/crl/', '/ocsp', '/ca/']) expect(Buffer.from(der).includes(`pki.acme.internal:8080${address}`)).toBe(false);
    expect(notAfter.getTime() - notBefore.getTime()).toBe((3_600 + 60 - 1) * 1_000);
    await authority.revoke({ serial }, { reason: 'keyCompromise' });
    const serials: string[] = [];
    for await (const page of store.ca.revokedSerials(authority.issuing.id)) serials.push(...page.map((each) => each.serial));
    expect(serials).toContain(serial);
  });
});

describe('a profile that says who may issue it', () => {
  const ways = ['operator', 'token', 'est', 'acme', 'renewal', 'api'] as const;
  it('is issued on its own way and on no other', async () => {
    const { authority } = fixture;
    const first = await authority.issue({ agent: name() });
    for (const only of ways) {
      const narrow = await fixture.reopen({ profiles: { agent: { kind: 'agent', mayIssue: [only] } } });
      const codes = await Promise.all([
        ...ways.filter((way) => way !== 'renewal').map((way) => codeOfRefusal(narrow.issue({ agent: name(), csr: newCsr(), way }))),
        codeOfRefusal(narrow.renew(first, { csr: newCsr() })),
      ]);
      const expected = [...ways.filter((way) => way !== 'renewal'), 'renewal'].map((way) => (way === only ? undefined : 'ERR_CA_PROFILE'));
      expect([only, codes]).toEqual([only, expected]);
    }
  });
});

describe('issuing to a server', () => {
  it('has a commonName of 64 characters, and for a longer host none, but a critical subjectAltName', async () => {
    const longest = `${'a'.repeat(48)}.acme.internal12`;
    expect(longest).toHaveLength(64);
    const named = await fixture.authority.issueServer({ hosts: [longest] });
    expect([named.subject, hasCriticalSan(named.der)]).toEqual([`CN=${longest}`, false]);
    const unnamed = await fixture.authority.issueServer({ hosts: [`a${longest}`] });
    expect([unnamed.subject, unnamed.dnsNames, hasCriticalSan(unnamed.der)]).toEqual(['', [`a${longest}`], true]);
  });
  it('names the hosts, and keeps an existing key when given one', async () => {
    const key = newKey();
    const issued = await fixture.authority.issueServer({ hosts: ['localhost', '127.0.0.1', '::1'], publicKey: createPublicKey(key) });
    expect(parseCertificate(issued.der)).toMatchObject({ dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'], uris: [], extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] });
    const again = await fixture.authority.issueServer({ hosts: ['gateway.acme.internal', 'localhost'], publicKey: createPublicKey(key) });
    expect(again.subject).toBe('CN=gateway.acme.internal');
    for (let i = 0; i < 3; i++) await fixture.authority.issueServer({ hosts: ['localhost'], publicKey: createPublicKey(key) });
  });
});

describe('one agent, several certificates', () => {
  it('has two live ones and no third, counted by what is still valid', async () => {
    const agent = name();
    await fixture.authority.issue({ agent, ttl: '1h' });
    await fixture.authority.issue({ agent });
    expect(await codeOfRefusal(fixture.authority.issue({ agent }))).toBe('ERR_CA_LIMIT');
    expect(await fixture.authority.certificates({ agent })).toHaveLength(2);
    const later = await createAuthority();
    await later.authority.issue({ agent, ttl: '1h' });
    await later.authority.issue({ agent, ttl: '1h' });
    later.clock.turn(3_600);
    await expect(later.authority.issue({ agent })).resolves.toBeDefined();
    await later.close();
  });
  it('has exactly two when ten are asked for at once', async () => {
    const agent = name();
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => fixture.authority.issue({ agent })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    expect(await fixture.authority.certificates({ agent, states: ['intent', 'issued', 'unknownIssued'] })).toHaveLength(2);
  });
  it('never has three when two processes are asked at once', async () => {
    const agent = name();
    const other = await fixture.reopen();
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? fixture.authority : other).issue({ agent })));
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(2);
    expect(await fixture.authority.certificates({ agent, states: ['intent', 'issued'] })).toHaveLength(results.filter(({ status }) => status === 'fulfilled').length);
  });
  it('shares its key with no other agent, not even at the same moment', async () => {
    const key = newKey();
    const agents = Array.from({ length: 6 }, name);
    const results = await Promise.allSettled(agents.map((agent) => fixture.authority.issue({ agent, csr: createCsr(key) })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await codeOfRefusal(fixture.authority.issue({ agent: name(), csr: createCsr(key) }))).toBe('ERR_CA_KEY_REUSED');
  });
});

describe('revoking', () => {
  it('takes every live certificate of an agent, with its evidence, and no other', async () => {
    const agent = name();
    const bystander = await fixture.authority.issue({ agent: name() });
    const one = await fixture.authority.issue({ agent });
    const two = await fixture.authority.issue({ agent });
    const { revoked, alreadyRevoked, changeSeq } = await fixture.authority.revoke({ agent }, { reason: 'cessationOfOperation', actor: 'cli:olga' });
    expect(revoked.map(({ serial }) => serial).toSorted()).toEqual([one.serial, two.serial].toSorted());
    expect(alreadyRevoked).toEqual([]);
    expect(changeSeq).toBe(await fixture.store.changes.latest());
    expect((await fixture.authority.certificates({ serial: bystander.serial }))[0]?.state).toBe('issued');
    expect((await fixture.events()).slice(-2).map(({ action, reason, actor }) => [action, reason, actor])).toEqual(Array.from({ length: 2 }, () => ['certificate.revoked', 'cessationOfOperation', 'cli:olga']));
  });
  it('finds one by serial or thumbprint as people paste them', async () => {
    const one = await fixture.authority.issue({ agent: name() });
    const two = await fixture.authority.issue({ agent: name() });
    const colons = (one.serial.match(/../g) ?? []).join(':').toUpperCase();
    expect((await fixture.authority.revoke({ serial: colons })).revoked).toHaveLength(1);
    expect((await fixture.authority.revoke({ thumbprint: (two.thumbprint.match(/../g) ?? []).join(':').toUpperCase() })).revoked).toHaveLength(1);
  });
  it('says what is wrong with a selection or a reason', async () => {
    const { authority } = fixture;
    const issued = await authority.issue({ agent: name() });
    expect(await codeOfRefusal(authority.revoke({ agent: 'nobody' }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await codeOfRefusal(authority.revoke({ serial: 'ffff' }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await codeOfRefusal(authority.revoke({ serial: 'zz' }))).toBe('ERR_DER_INVALID');
    expect(await codeOfRefusal(authority.revoke({ serial: issued.serial }, { reason: 'removeFromCRL' as 'unspecified' }))).toBe('ERR_CA_REASON');
    await authority.revoke({ serial: issued.serial });
    expect(await codeOfRefusal(authority.revoke({ serial: issued.serial }))).toBe('ERR_CA_ALREADY_REVOKED');
  });
  it('keeps the identity out until an operator says otherwise', async () => {
    const agent = name();
    await fixture.authority.issue({ agent });
    await fixture.authority.revoke({ agent }, { reason: 'privilegeWithdrawn' });
    expect(await codeOfRefusal(fixture.authority.issue({ agent }))).toBe('ERR_CA_IDENTITY_REVOKED');
    const again = await fixture.authority.issue({ agent, onRevokedIdentity: 'allow' });
    await expect(fixture.authority.renew(again, { csr: newCsr() })).resolves.toMatchObject({ agent });
  });
  it('never certifies a compromised key again, whoever asks', async () => {
    const agent = name();
    const key = newKey();
    await fixture.authority.issue({ agent, csr: createCsr(key) });
    await fixture.authority.revoke({ agent }, { reason: 'keyCompromise' });
    expect(await codeOfRefusal(fixture.authority.issue({ agent, csr: createCsr(key), onRevokedIdentity: 'allow' }))).toBe('ERR_CA_KEY_REFUSED');
  });
  it('also takes what is being issued at that moment', async () => {
    const agent = name();
    const first = await fixture.authority.issue({ agent });
    const [renewal] = await Promise.allSettled([fixture.authority.renew(first, { csr: newCsr() }), fixture.authority.revoke({ agent })]);
    const live = await fixture.authority.certificates({ agent, states: ['intent', 'issued', 'unknownIssued'] });
    expect(live.map(({ state }) => state), renewal.status).toEqual([]);
  });
});
