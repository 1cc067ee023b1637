import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeHeaderValue } from '../../src/mcp/header-value.ts';
import { systemRandomness } from '../../src/system.ts';
import { identityHeaders } from '../../src/upstream/identity-headers.ts';
import { identityKeySet, identityTokens } from '../../src/upstream/identity-token.ts';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import { call, post, principalNamed } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

const principal = { ...principalNamed('agent-7'), serial: '0a1b', thumbprint: 'ab'.repeat(32), organizationalUnits: ['analytics', 'Forschung, Köln'] };

describe('identity in plain headers', () => {
  it('says who calls, and in which roles', () => {
    expect(identityHeaders(principal, ['analyst', 'operator'])).toEqual({
      'x-sallyport-principal': 'cn:agent-7',
      'x-sallyport-common-name': 'agent-7',
      'x-sallyport-organizational-units': 'analytics, =?base64?Rm9yc2NodW5nLCBLw7Zsbg==?=',
      'x-sallyport-roles': 'analyst, operator',
      'x-sallyport-serial': '0a1b',
      'x-sallyport-thumbprint': 'ab'.repeat(32),
    });
    expect(Object.keys(identityHeaders({ ...principal, commonName: undefined, organizationalUnits: [] }, []))).toEqual(['x-sallyport-principal', 'x-sallyport-serial', 'x-sallyport-thumbprint']);
  });

  it('can be read back to the same units, whatever they are, and never breaks a line', () => {
    fc.assert(fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 0x2ff }), { minLength: 1, maxLength: 12 }).map((codes) => String.fromCharCode(...codes)), { minLength: 1, maxLength: 4 }), (organizationalUnits) => {
      const value = identityHeaders({ ...principal, organizationalUnits }, [])['x-sallyport-organizational-units'] ?? '';
      expect(value).toMatch(/^[\t\x20-\x7e]*$/);
      expect(value.split(',').map((item) => decodeHeaderValue(item))).toEqual(organizationalUnits);
    }), { numRuns: 100 });
  });

  it('reaches the upstream, which no header of the client or of the configuration can feign', async () => {
    const { upstream, received } = await lab.recording((_, response) => sendJson(response, 200, { jsonrpc: '2.0', id: 1, result: {} }), { identityHeaders });
    await upstream.exchange(post(call(1, 'query'), { principal, roles: ['analyst'] }));
    expect(received[0]?.headers).toMatchObject({ 'x-sallyport-principal': 'cn:agent-7', 'x-sallyport-roles': 'analyst' });
    expect(() => lab.upstream('http://127.0.0.1:1/mcp', { headers: { 'X-Sallyport-Roles': 'operator' } })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });
});

describe('a signed identity', () => {
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const clock = { now: () => new Date(1_800_000_000_999) };
  const options = { key, issuer: 'https://gateway.acme.internal:8443', audience: 'https://warehouse.internal/mcp', clock, randomness: systemRandomness };
  const parts = (token: string): readonly [Record<string, unknown>, Record<string, unknown>, Buffer, string] => {
    const [head = '', payload = '', signature = ''] = token.split('.');
    const json = (text: string): Record<string, unknown> => JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>;
    return [json(head), json(payload), Buffer.from(signature, 'base64url'), `${head}.${payload}`];
  };

  it('is verified with the published key, and is for one upstream and one minute', () => {
    const token = identityTokens(options)(principal, ['analyst'])['x-sallyport-identity'] ?? '';
    const [head, payload, signature, signed] = parts(token);
    const [published = expect.unreachable()] = identityKeySet(key).keys;
    expect(head).toEqual({ alg: 'ES256', typ: 'sallyport-identity+jwt', kid: published['kid'] });
    const publicKey = createPublicKey({ key: published, format: 'jwk' });
    expect(verify('sha256', Buffer.from(signed), { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
    expect(payload).toEqual({
      iss: 'https://gateway.acme.internal:8443', aud: 'https://warehouse.internal/mcp', sub: 'cn:agent-7', cn: 'agent-7', ou: ['analytics', 'Forschung, Köln'], roles: ['analyst'],
      serial: '0a1b', cnf: { 'x5t#S256': Buffer.alloc(32, 0xab).toString('base64url') }, iat: 1_800_000_000, exp: 1_800_000_060, jti: expect.stringMatching(/^[\w-]{22}$/),
    });
    expect(token).toMatch(/^[\x21-\x7e]+$/);
  });

  it('is another one for each request', () => {
    const tokens = identityTokens(options);
    const ids = [tokens(principal, []), tokens(principal, [])].map((headers) => parts(headers['x-sallyport-identity'] ?? '')[1]['jti']);
    expect(new Set(ids).size).toBe(2);
  });

  it('is published without the private part of the key', () => {
    expect(Object.keys(identityKeySet(key).keys[0] ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  });

  it('is not made with a key of another kind', () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    for (const make of [() => identityTokens({ ...options, key: privateKey }), () => identityKeySet(privateKey)]) expect(make).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });
});
