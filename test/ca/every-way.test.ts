/** What holds for every certificate holds on each way to one: operator, server, renewal, token, approval, ACME. */
import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { standingRevocation } from '../../ca/admission.ts';
import { CaError } from '../../ca/errors.ts';
import { spkiHashOf } from '../../ca/issuance.ts';
import { lateness } from '../../ca/late-renewal.ts';
import type { CaStore, CertificateRecord } from '../../ca/ports.ts';
import { createProfile } from '../../ca/profile.ts';
import { checkHosts } from '../../ca/subject-rules.ts';
import { planRequested, signSubordinate } from '../../ca/subordinate.ts';
import { signWith, signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { createCsr, parseCsr } from '../../ca/x509/csr.ts';
import type { CsrOptions } from '../../ca/x509/csr.ts';
import { contextTag, element, integer, nullValue, oid, sequence, set, utf8String } from '../../ca/x509/der.ts';
import { encodeExtension, encodeKeyUsage } from '../../ca/x509/extension.ts';
import { assembleSigned } from '../../ca/x509/signed.ts';
import { authorityOptions } from '../../src/app/deployment.ts';
import { parseConfig } from '../../src/config/load.ts';
import { systemRandomness as randomness } from '../../src/system.ts';
import { base, jwkOf, rsaKey, startAcme } from '../support/acme.ts';
import { codeOfRefusal, createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const known = newKey();
let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority({ refusedSpkiHashes: [spkiHashOf(spkiOf(known))], profiles: { guarded: { kind: 'agent', approval: 'required' } } });
});
afterAll(() => fixture.close());
let last = 0;
const name = (): string => `anyone-${++last}`;

/** A request for a new key with this attribute. */
const csrWith = (attribute: Uint8Array): Uint8Array => {
  const key = newKey();
  const info = sequence(integer(0), sequence(), spkiOf(key), element(contextTag(0), attribute));
  return assembleSigned(info, signatureAlgorithmFor('p256'), signWith(key, info));
};
const requesting = (extension: Uint8Array): Uint8Array => sequence(oid('1.2.840.113549.1.9.14'), set(sequence(extension)));

/** The code each way refuses a request with. */
const refusals = async (csr: Uint8Array) => {
  const { authority } = fixture;
  const first = await authority.issue({ agent: name() });
  const { token } = await authority.createToken({ agent: name() });
  const codes = {
    operator: await codeOfRefusal(authority.issue({ agent: name(), csr })),
    server: await codeOfRefusal(authority.issueServer({ hosts: ['web.acme.internal'], csr })),
    renewal: await codeOfRefusal(authority.renew(first, { csr })),
    token: await codeOfRefusal(authority.enroll({ token, csr })),
    approval: await codeOfRefusal(authority.issue({ agent: name(), profile: 'guarded', csr })),
  };
  return { codes, token };
};
const everywhere = (code: string) => ({ operator: code, server: code, renewal: code, token: code, approval: code });

describe('on every way', () => {
  it('a key known to be bad is refused, and costs no token', async () => {
    const { codes, token } = await refusals(createCsr(known));
    expect(codes).toEqual(everywhere('ERR_CA_KEY_REFUSED'));
    await expect(fixture.authority.enroll({ token, csr: newCsr() })).resolves.toBeDefined();
  });
  it('which keys are known to be bad, sallyport.yaml says', () => {
    const digest = spkiHashOf(spkiOf(known));
    const read = (each: string) => authorityOptions(parseConfig(`ca: { refusedKeys: ["${each}"] }`, { directory: '/srv/port' }), fixture.store, { clock: fixture.clock, randomness }).refusedSpkiHashes;
    expect(read(digest)).toEqual([digest]);
    for (const wrong of [digest.slice(1), `${digest}0`, 'A'.repeat(64)]) expect(() => read(wrong)).toThrow(/ca\.refusedKeys\[0\].* must be the lower-case hexadecimal SHA-256/);
  });
  it('a key that was revoked as compromised is refused, also to a server and to a CA', async () => {
    const { authority, store, clock } = fixture;
    const key = newKey();
    const lost = await authority.issue({ agent: name(), csr: createCsr(key) });
    await authority.revoke({ serial: lost.serial }, { reason: 'keyCompromise' });
    // The key is judged against the history when it is to be signed, so the request waits for its approval.
    expect((await refusals(createCsr(key))).codes).toEqual({ ...everywhere('ERR_CA_KEY_REFUSED'), approval: 'ERR_REQUEST_PENDING' });
    const [waiting] = await authority.pendingRequests();
    expect(await codeOfRefusal(authority.approveRequest(waiting?.id ?? '', { actor: 'cli:bob' }))).toBe('ERR_CA_KEY_REFUSED');
    const sign = (of: typeof key, refusedSpkiHashes?: readonly string[]) => signSubordinate(planRequested(parseCsr(createCsr(of, { commonName: 'Plant CA' })), authority.root, {}, clock.now()), authority.root, { store: store.ca, clock, randomness, publicUrl: undefined, refusedSpkiHashes, actor: 'cli:olga' });
    expect(await codeOfRefusal(sign(key))).toBe('ERR_CA_KEY_REFUSED');
    const agents = newKey();
    await authority.issue({ agent: name(), csr: createCsr(agents) });
    expect(await codeOfRefusal(sign(agents))).toBe('ERR_CA_KEY_REUSED');
    const own = newKey();
    expect(await codeOfRefusal(sign(own, [spkiHashOf(spkiOf(own))]))).toBe('ERR_CA_KEY_REFUSED');
    await sign(own);
    // The same CA may be certified again.
    await expect(sign(own)).resolves.toBeDefined();
  });
  it.each<[string, CsrOptions]>([
    ['another name', { commonName: 'admin' }],
    ['the SPIFFE ID of another trust domain', { uris: ['spiffe://evil.internal/agent/a'] }],
    ['a name of a host', { dnsNames: ['evil.example'] }],
  ])('a request for %s is refused, not trimmed', async (_, asked) => {
    expect((await refusals(newCsr(asked))).codes).toEqual(everywhere('ERR_CA_CSR_CONTENT'));
  });
  it.each<[string, Uint8Array, string]>([
    ['a name of another kind', requesting(encodeExtension('2.5.29.17', 'nonCritical', sequence(element(contextTag(0), oid('1.2.3'), element(contextTag(0), nullValue()))))), 'a name of another kind'],
    ['keyEncipherment, which is overlooked over ACME alone', requesting(encodeKeyUsage(['digitalSignature', 'keyEncipherment'])), 'keyUsage keyEncipherment'],
    ['an attribute that means something', sequence(oid('1.2.3.4'), set(nullValue())), 'attribute 1.2.3.4'],
  ])('a request for %s is refused', async (_, attribute, excess) => {
    await expect(fixture.authority.issue({ agent: name(), csr: csrWith(attribute) })).rejects.toMatchObject({ code: 'ERR_CA_CSR_CONTENT', facts: { excess: [excess] } });
  });
  it('a challengePassword is overlooked', async () => {
    await expect(fixture.authority.issue({ agent: name(), csr: csrWith(sequence(oid('1.2.840.113549.1.9.7'), set(utf8String('x')))) })).resolves.toBeDefined();
  });
  it('the profile of today decides: about a renewal over EST, its lifetime, and a request approved after it changed', async () => {
    const { authority, reopen } = fixture;
    const first = await authority.issue({ agent: name(), ttl: '3h' });
    const narrow = await reopen({ profiles: { agent: { kind: 'agent', maxTtl: '1h', mayIssue: ['operator', 'renewal'] }, guarded: { kind: 'agent', approval: 'required', mayIssue: ['api'] } } });
    expect(await codeOfRefusal(narrow.renew(first, { csr: newCsr(), way: 'est' }))).toBe('ERR_CA_PROFILE');
    const renewed = await narrow.renew(first, { csr: newCsr() });
    expect(renewed.notAfter.getTime() - renewed.notBefore.getTime()).toBe((3_600 + 60 - 1) * 1_000);
    expect(await codeOfRefusal(authority.issue({ agent: name(), profile: 'guarded', csr: newCsr() }))).toBe('ERR_REQUEST_PENDING');
    const waiting = (await authority.pendingRequests()).at(-1);
    expect(await codeOfRefusal(narrow.approveRequest(waiting?.id ?? '', { actor: 'cli:bob' }))).toBe('ERR_CA_PROFILE');
  });
  it('an algorithm that is not on the list is refused', async () => {
    expect(await codeOfRefusal(fixture.authority.issueServer({ hosts: ['web.acme.internal'], publicKey: generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey }))).toBe('ERR_KEY_ALGORITHM');
  });
});

describe('boundaries', () => {
  it('of a token: seven days and no second more', async () => {
    const { authority } = fixture;
    await expect(authority.createToken({ agent: name(), ttl: '604800s' })).resolves.toBeDefined();
    expect(await codeOfRefusal(authority.createToken({ agent: name(), ttl: '604801s' }))).toBe('ERR_CA_TTL');
  });
  it('of the hosts of a server, and of the backdating of a profile', async () => {
    const hosts = (count: number) => codeOfRefusal(() => checkHosts(Array.from({ length: count }, (_, i) => `h${i}.acme.internal`)));
    expect([await hosts(64), await hosts(65)]).toEqual([undefined, 'ERR_CA_NAME']);
    const backdated = (backdateSeconds: number) => codeOfRefusal(() => createProfile('x', { kind: 'agent', backdateSeconds }));
    expect([await backdated(3_600), await backdated(3_601)]).toEqual([undefined, 'ERR_CA_PROFILE']);
  });
  it('of a request that waits: in time it is the same one, then it is over and a new one may be left', async () => {
    const { clock } = fixture;
    const brief = await fixture.reopen({ requestExpiry: '1h' });
    const [agent, csr] = [name(), newCsr()];
    const idOf = async (): Promise<unknown> => {
      const refusal: unknown = await brief.issue({ agent, profile: 'guarded', csr }).catch((error: unknown) => error);
      return refusal instanceof CaError ? [refusal.code, refusal.facts['request']] : refusal;
    };
    const first = await idOf();
    clock.turn(3_590);
    expect(await idOf()).toEqual(first);
    clock.turn(11);
    expect(await idOf()).toEqual(['ERR_REQUEST_PENDING', expect.not.stringMatching(String((first as readonly unknown[])[1]))]);
  });
  it('of a late renewal: from the first second after the end to the last of the grace', async () => {
    const ended = new Date('2026-11-21T12:00:00Z');
    const old = { issuerId: 'i', serial: '01', agent: 'a', createdAt: new Date('2026-11-20T12:00:00Z'), notAfter: new Date(ended.getTime() - 1_000) } as CertificateRecord;
    const store = { findCertificates: () => Promise.resolve([]) } as Partial<CaStore> as CaStore;
    const at = (ms: number) => lateness(old, { store, now: new Date(ended.getTime() + ms), graceSeconds: 60 });
    expect([await at(-1), await at(0), await at(59_999)]).toEqual([undefined, 0, 59]);
    expect(await codeOfRefusal(at(60_000))).toBe('ERR_CA_TTL');
  });
  it('of a revocation: a word given in the same moment does not lift it, one a millisecond later does', () => {
    const revoked = { revocationReason: 'keyCompromise', revokedAt: new Date(1_000) } as const;
    expect([999, 1_000, 1_001].map((at) => standingRevocation([revoked], new Date(at)) !== undefined)).toEqual([true, true, false]);
  });
  it('of live certificates: those of a server of the same name do not count', async () => {
    const { authority } = fixture;
    const host = name();
    for (let i = 0; i < 2; i++) await authority.issueServer({ hosts: [host] });
    await authority.issue({ agent: host });
    await authority.issue({ agent: host });
    expect(await codeOfRefusal(authority.issue({ agent: host }))).toBe('ERR_CA_LIMIT');
  });
});

describe('names of hosts', () => {
  it('have a case in ASCII alone, end without a dot, and hold nothing else', async () => {
    expect(checkHosts(['WEB.acme.internal', 'xn--mnchen-3ya.acme.internal']).dnsNames).toEqual(['web.acme.internal', 'xn--mnchen-3ya.acme.internal']);
    for (const host of ['lin\u212A.acme.internal', 'web.acme.internal.', 'web.acme.internal\n', 'we\0b.acme.internal', 'münchen.acme.internal']) expect([host, await codeOfRefusal(() => checkHosts([host]))]).toEqual([host, 'ERR_CA_NAME']);
  });
  it('may be asked for in capitals, and are granted in lower case', async () => {
    const issued = await fixture.authority.issueServer({ hosts: ['web.acme.internal'], csr: newCsr({ commonName: 'WEB.acme.internal', dnsNames: ['Web.acme.internal'] }) });
    expect([issued.commonName, issued.dnsNames]).toEqual(['web.acme.internal', ['web.acme.internal']]);
  });
});

describe('ACME', () => {
  it('refuses identifiers that are no names, and 65 of them, and a request that is no JWS', async () => {
    const acme = await startAcme();
    const client = acme.client();
    await client.register();
    for (const value of ['lin\u212A.acme.internal', 'web.acme.internal\n', 'web.acme.internal.', 'we\0b.acme.internal', '.acme.internal', `${'a'.repeat(64)}.acme.internal`]) expect([value, (await client.order(value)).problem]).toEqual([value, 'rejectedIdentifier']);
    for (const identifiers of [{}, 'x', [null], [[]], [{ type: 'dns' }], [{ type: 'dns', value: 7 }]]) expect((await client.post('/acme/new-order', { identifiers })).problem).toBe('malformed');
    const hosts = (count: number) => client.order(...Array.from({ length: count }, (_, i) => `h${i}.acme.internal`));
    expect([(await hosts(65)).problem, (await hosts(64)).status]).toEqual(['malformed', 201]);
    for (const body of ['', '[]', 'null', '{', '{"__proto__":1}']) for (const path of ['new-account', 'new-order', 'revoke-cert']) expect([body, path, (await acme.request('POST', `/acme/${path}`, { body })).problem]).toEqual([body, path, 'malformed']);
    // RFC 8555 §6.2: jwk and kid exclude each other.
    expect((await client.post('/acme/new-account', {}, { header: { jwk: jwkOf(client.key), kid: client.kid } })).problem).toBe('malformed');
    const rsa = rsaKey().export({ format: 'jwk' });
    expect((await acme.client().post('/acme/new-account', {}, { header: { jwk: { kty: 'RSA', n: rsa.n, e: 'AAEAAQ' } } })).body['detail']).toBe('e of the key is not in its shortest form');
    const elsewhere = await fixture.authority.issue({ agent: name() });
    expect(await client.post('/acme/revoke-cert', { certificate: Buffer.from(elsewhere.der).toString('base64url') })).toMatchObject({ status: 404, problem: 'malformed' });
    const contacts = (count: number) => client.post(client.kid.replace(base, ''), { contact: Array.from({ length: count }, (_, i) => `mailto:a${i}@acme.internal`) });
    expect([(await contacts(11)).problem, (await contacts(10)).status]).toEqual(['malformed', 200]);
    expect(acme.failures).toEqual([]);
    await acme.close();
  });
});
