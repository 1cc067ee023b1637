/** Who may ask for what: signatures, nonces, accounts and their keys. */
import { createHmac, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAllowedBy, parseRange } from '../../../ca/acme/address-range.ts';
import { fromBase64url, toBase64url } from '../../../ca/acme/base64url.ts';
import { parseIdentifiers } from '../../../ca/acme/identifiers.ts';
import { parseJwk } from '../../../ca/acme/jwk.ts';
import { parseJws } from '../../../ca/acme/jws.ts';
import { AcmeProblem } from '../../../ca/acme/problem.ts';
import { RateLimits, networkOf, rates } from '../../../ca/acme/rate-limits.ts';
import { base, jwkOf, jwsOf, rsaKey, startAcme } from '../../support/acme.ts';
import type { AcmeFixture } from '../../support/acme.ts';
import { newKey } from '../../support/authority.ts';

let acme: AcmeFixture;
beforeAll(async () => {
  acme = await startAcme();
});
afterAll(() => acme.close());

describe('the directory and nonces', () => {
  it('are open to everybody', async () => {
    const directory = await acme.request('GET', '/acme/directory');
    expect(directory.body).toEqual({
      newNonce: `${base}/acme/new-nonce`, newAccount: `${base}/acme/new-account`, newOrder: `${base}/acme/new-order`, revokeCert: `${base}/acme/revoke-cert`, keyChange: `${base}/acme/key-change`, renewalInfo: `${base}/acme/renewal-info`,
      meta: { externalAccountRequired: false, profiles: { server: 'certificates of profile server' } },
    });
    const head = await acme.request('HEAD', '/acme/new-nonce');
    const get = await acme.request('GET', '/acme/new-nonce');
    expect([head.status, get.status, head.headers.get('cache-control'), head.headers.get('link')]).toEqual([200, 204, 'no-store', `<${base}/acme/directory>;rel="index"`]);
    expect(head.headers.get('replay-nonce')).not.toBe(get.headers.get('replay-nonce'));
    expect(await acme.request('GET', '/acme/new-order')).toMatchObject({ status: 405, problem: 'malformed' });
    expect(await acme.request('GET', '/acme/nothing')).toMatchObject({ status: 404, problem: 'malformed' });
  });

  it('are good once, at every node, for half an hour', async () => {
    const client = acme.client();
    await client.register();
    const nonce = await client.nonce();
    expect((await client.post(new URL(client.kid).pathname, '', { nonce })).status).toBe(200);
    const refused = await client.post(new URL(client.kid).pathname, '', { nonce });
    expect(refused).toMatchObject({ status: 400, problem: 'badNonce' });
    const node = acme.another();
    const there = node.client(client.key);
    there.kid = client.kid;
    expect((await there.post(new URL(client.kid).pathname, '', { nonce })).problem).toBe('badNonce');
    // RFC 8555 §6.5: an error brings the next one.
    expect((await there.post(new URL(client.kid).pathname, '', { nonce: refused.headers.get('replay-nonce') ?? '' })).status).toBe(200);
    const old = await client.nonce();
    acme.clock.turn(30 * 60);
    for (const bad of [old, 'AAAA', '', `${(await client.nonce()).slice(0, -1)}A`]) expect((await client.post(new URL(client.kid).pathname, '', { nonce: bad })).problem).toBe('badNonce');
    const foreign = acme.another({ secret: new Uint8Array(32).fill(8) }).client();
    expect((await client.post(new URL(client.kid).pathname, '', { nonce: await foreign.nonce() })).problem).toBe('badNonce');
    await node.server.close();
  });

  it('of two requests that bring the same one at once serve one', async () => {
    const client = acme.client();
    await client.register();
    const nonce = await client.nonce();
    const both = await Promise.all([1, 2].map(() => client.post(new URL(client.kid).pathname, '', { nonce })));
    expect(both.map(({ status }) => status).toSorted()).toEqual([200, 400]);
  });
});

describe('a signature', () => {
  it.each([['P-256', () => newKey()], ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey], ['Ed25519', () => generateKeyPairSync('ed25519').privateKey], ['RSA', rsaKey]] as const)('is made with a %s key', async (_name, make) => {
    const client = acme.client(make());
    expect((await client.register()).status).toBe(201);
    expect((await client.register()).status).toBe(200);
    expect((await client.get(client.kid)).body).toEqual({ status: 'valid', contact: [], orders: `${client.kid}/orders` });
  });

  it('counts only for its URL, its key and its octets', async () => {
    const client = acme.client();
    await client.register();
    const path = new URL(client.kid).pathname;
    expect(await client.post(path, '', { header: { url: `${base}/acme/new-order` } })).toMatchObject({ status: 403, problem: 'unauthorized' });
    expect((await client.post(path, '', { key: newKey() })).problem).toBe('malformed');
    expect((await client.post(path, '', { header: { kid: `${base}/acme/account/${'A'.repeat(22)}` } })).problem).toBe('accountDoesNotExist');
    expect((await client.post(path, '', { header: { kid: 'https://elsewhere.test/acme/account/1' } })).problem).toBe('accountDoesNotExist');
    expect((await client.post(path, '', { header: { jwk: jwkOf(client.key), kid: undefined } })).problem).toBe('malformed');
    expect((await client.post(path, '', { header: { jwk: jwkOf(client.key), kid: client.kid } })).problem).toBe('malformed');
    const none = await client.post(path, '', { header: { alg: 'none' } });
    expect(none).toMatchObject({ status: 400, problem: 'badSignatureAlgorithm', body: { algorithms: ['ES256', 'ES384', 'EdDSA', 'RS256'] } });
    for (const alg of ['HS256', 'ES384', 'RS512', 'toString']) expect((await client.post(path, '', { header: { alg } })).problem).toBe('badSignatureAlgorithm');
    for (const header of [{ crit: ['b64'], b64: false }, { x5u: 'https://a.test' }]) expect((await client.post(path, '', { header })).problem).toBe('malformed');
    const url = base + path;
    const sent = jwsOf(client.key, { kid: client.kid, url, nonce: await client.nonce() }, '');
    const tried = async (change: object, type?: string): Promise<string | undefined> => (await acme.request('POST', path, { body: JSON.stringify({ ...sent, ...change }), ...(type === undefined ? {} : { type }) })).problem;
    expect(await tried({ payload: 'e30' })).toBe('malformed');
    expect(await tried({ header: {} })).toBe('malformed');
    expect(await tried({ signature: `${sent.signature}=` })).toBe('malformed');
    expect(await tried({}, 'application/json')).toBe('malformed');
    expect((await acme.request('POST', path, { body: '{}', type: 'application/json' })).status).toBe(415);
    expect(await tried({})).toBeUndefined();
  });

  it('of a weak, private or oddly written key makes no account', async () => {
    const key = newKey();
    const register = async (jwk: Record<string, unknown>): Promise<string | undefined> => (await acme.client(key).post('/acme/new-account', {}, { header: { jwk } })).problem;
    expect(await register({ ...jwkOf(key), d: 'AAAA' })).toBe('badPublicKey');
    expect(await register({ kty: 'oct', k: 'AAAA' })).toBe('badPublicKey');
    expect(await register({ kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' })).toBe('badPublicKey');
    expect(await register(jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey))).toBe('badPublicKey');
    const rsa = jwkOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey);
    expect(await register(rsa)).toBe('badPublicKey');
  });
});

describe('an account', () => {
  it('is found by its key, changes its contacts, and ends for good', async () => {
    const client = acme.client();
    expect(await client.register({ onlyReturnExisting: true })).toMatchObject({ status: 400, problem: 'accountDoesNotExist' });
    expect((await client.register({ contact: ['tel:1'] })).problem).toBe('unsupportedContact');
    expect((await client.register({ contact: ['mailto:a@b.c,d@e.f'] })).problem).toBe('invalidContact');
    const made = await client.register({ contact: ['mailto:a@b.c'] });
    expect((await client.register({ onlyReturnExisting: true })).headers.get('location')).toBe(made.headers.get('location'));
    const path = new URL(client.kid).pathname;
    expect((await client.post(path, { contact: ['mailto:d@e.f'] })).body['contact']).toEqual(['mailto:d@e.f']);
    expect((await client.post(path, { status: 'revoked' })).problem).toBe('malformed');
    const other = acme.client();
    await other.register();
    expect(await other.post(path, '')).toMatchObject({ status: 403 });
    expect((await client.post(path, { status: 'deactivated' })).body['status']).toBe('deactivated');
    expect(await client.order('web.acme.internal')).toMatchObject({ status: 401, problem: 'unauthorized' });
    expect(await client.register()).toMatchObject({ status: 401, problem: 'unauthorized' });
  });

  it('takes a new key when both keys say so, and one that nobody has', async () => {
    const client = acme.client();
    await client.register();
    const taken = acme.client();
    await taken.register();
    const next = newKey();
    const change = (key = next, told: object = {}, header: object = {}) =>
      client.post('/acme/key-change', jwsOf(key, { jwk: jwkOf(key), url: `${base}/acme/key-change`, ...header }, { account: client.kid, oldKey: jwkOf(client.key), ...told }));
    expect((await change(next, { account: taken.kid })).problem).toBe('malformed');
    expect((await change(next, { oldKey: jwkOf(next) })).problem).toBe('malformed');
    expect((await change(next, {}, { url: `${base}/acme/new-order` })).problem).toBe('malformed');
    expect((await change(next, {}, { nonce: await client.nonce() })).problem).toBe('malformed');
    expect((await change(next, {}, { jwk: jwkOf(newKey()) })).problem).toBe('malformed');
    const conflict = await change(taken.key);
    expect([conflict.status, conflict.headers.get('location')]).toEqual([409, taken.kid]);
    expect((await change()).status).toBe(200);
    expect((await client.get(client.kid)).problem).toBe('malformed');
    const renewed = acme.client(next);
    expect((await renewed.register({ onlyReturnExisting: true })).headers.get('location')).toBe(client.kid);
  });

  it('agrees to terms and shows an external account where they are demanded', async () => {
    const strict = await startAcme({ settings: { termsOfService: 'https://acme.internal/terms', externalAccount: 'everyone' } });
    const client = strict.client();
    expect((await client.register({ termsOfServiceAgreed: false })).problem).toBe('malformed');
    expect(await client.register()).toMatchObject({ status: 403, problem: 'externalAccountRequired' });
    const external = await strict.externalAccount({ names: ['web.acme.internal'] });
    expect((await client.register(client.binding(external))).status).toBe(201);
    expect((await client.order('db.acme.internal')).body['detail']).toBe('"db.acme.internal" is not among the names of this account');
    expect((await client.order('a.web.acme.internal')).status).toBe(201);
    await strict.close();
  });

  it('is bound with the MAC key of an external account, which is for one account, once', async () => {
    const external = await acme.externalAccount({ agent: 'agent-7' });
    const client = acme.client();
    const register = async (payload: Readonly<Record<string, unknown>>): Promise<string | undefined> => (await client.register(payload)).problem;
    expect(await register(client.binding({ ...external, macKey: 'AAAA' }))).toBe('unauthorized');
    expect(await register(client.binding({ ...external, kid: 'A'.repeat(22) }))).toBe('unauthorized');
    expect(await register(client.binding(external, { url: `${base}/acme/new-order` }))).toBe('malformed');
    expect(await register(client.binding(external, { nonce: await client.nonce() }))).toBe('malformed');
    expect(await register(client.binding(external, { alg: 'none' }))).toBe('malformed');
    expect(await register(acme.client().binding(external))).toBe('unauthorized');
    expect(await register(client.binding(external))).toBeUndefined();
    const second = acme.client();
    expect((await second.register(second.binding(external))).problem).toBe('unauthorized');
    const late = await acme.externalAccount({ agent: 'agent-7', ttl: '1h' });
    acme.clock.turn(3_600);
    expect((await second.register(second.binding(late))).problem).toBe('unauthorized');
    expect((await acme.events()).filter(({ action }) => action === 'acme.accountRefused').length).toBeGreaterThan(6);
    // Nothing in the store lets anybody compute the MAC.
    const rows = JSON.stringify(await acme.store.acme.externalAccounts(10));
    expect(rows).not.toContain(external.macKey);
    expect(createHmac('sha256', Buffer.from(external.macKey, 'base64url')).digest()).toHaveLength(32);
  });
});

describe('rates', () => {
  it('end after a burst, for each address and each /64 by itself, and come back with time', () => {
    let now = 0;
    const limits = new RateLimits({ now: () => new Date(now) });
    const account = (address: string): string => {
      try {
        limits.take('account', networkOf(address));
        return 'taken';
      } catch (error) {
        return error instanceof AcmeProblem ? `${error.status} ${error.type} ${error.options.headers?.['retry-after'] ?? ''}` : 'other';
      }
    };
    const addresses = Array.from({ length: rates.account.burst }, (_, each) => `2001:db8::${(each + 1).toString(16)}`);
    expect(new Set(addresses.map(account))).toEqual(new Set(['taken']));
    expect([account('2001:db8::ffff'), account('2001:db8:0:1::1'), account('192.0.2.1')]).toEqual(['429 rateLimited 60', 'taken', 'taken']);
    now += 59_999;
    expect(account('2001:db8::1')).toBe('429 rateLimited 60');
    now += 1;
    expect(account('2001:db8::1')).toBe('taken');
  });
});

describe('what is read', () => {
  const refusesAll = (parse: (value: unknown) => unknown) => (value: unknown) => {
    try {
      parse(value);
    } catch (error) {
      expect(error).toBeInstanceOf(AcmeProblem);
    }
  };

  it('is understood or refused, whatever it is', () => {
    fc.assert(fc.property(fc.anything(), refusesAll(parseJws)), { numRuns: 50 });
    fc.assert(fc.property(fc.record({ protected: fc.base64String(), payload: fc.base64String(), signature: fc.base64String() }), refusesAll(parseJws)), { numRuns: 50 });
    fc.assert(fc.property(fc.record({ kty: fc.constantFrom('EC', 'OKP', 'RSA'), crv: fc.constantFrom('P-256', 'Ed25519', 'X25519'), x: fc.base64String(), y: fc.base64String(), n: fc.base64String(), e: fc.base64String() }), refusesAll(parseJwk)), { numRuns: 50 });
    fc.assert(fc.property(fc.anything(), refusesAll(parseIdentifiers)), { numRuns: 50 });
  });

  it('has one spelling in base64url', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
      expect([...(fromBase64url(toBase64url(octets), 40) ?? [])]).toEqual([...octets]);
    }), { numRuns: 50 });
    expect([fromBase64url('AB', 10), fromBase64url('AA==', 10), fromBase64url('A+', 10), fromBase64url('AAAA', 2)]).toEqual([undefined, undefined, undefined, undefined]);
  });
});

describe('ranges of addresses', () => {
  const allowed = (ranges: readonly string[], address: string): boolean => isAllowedBy(ranges.flatMap((range) => parseRange(range) ?? []), address);

  it('end where they say', () => {
    expect([allowed(['10.0.0.0/8'], '10.255.255.255'), allowed(['10.0.0.0/8'], '11.0.0.0'), allowed(['192.0.2.7'], '192.0.2.7'), allowed(['192.0.2.7'], '192.0.2.8')]).toEqual([true, false, true, false]);
    expect([allowed(['fd00::/8'], 'fdff::1'), allowed(['fd00::/8'], 'fe00::1'), allowed(['10.0.0.0/8'], '::ffff:10.1.2.3'), allowed(['::/0'], '10.1.2.3')]).toEqual([true, false, true, false]);
    expect(['10.0.0.1/8', '10.0.0.0/33', 'a.b', '', '1.2.3.4/', 'fe80::1%eth0', '::/129'].map(parseRange)).toEqual(Array.from({ length: 7 }));
    fc.assert(fc.property(fc.ipV4(), fc.ipV6(), (four, six) => {
      expect([allowed([four], four), allowed([six], six)]).toEqual([true, true]);
    }), { numRuns: 50 });
  });

  it.each(['127.0.0.1', '0.0.0.0', '169.254.169.254', '100.100.100.200', '168.63.129.16', '224.0.0.1', '::1', '::', 'fe80::1', 'fd00:ec2::254', '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::1', '::ffff:169.254.169.254', '::127.0.0.1', '0:0:0:0:ffff:0:a9fe:a9fe'])('take %s in only when they mean it', (address) => {
    expect(allowed(['0.0.0.0/0', '::/0'], address)).toBe(false);
    expect(allowed([address.replace('::ffff:', '')], address)).toBe(true);
  });
});
