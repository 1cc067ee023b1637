import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOcspHandler } from '../../ca/http/ocsp.ts';
import { parseOcspResponse } from '../../ca/x509/ocsp.ts';
import { createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { requestAbout } from '../support/ocsp.ts';

let fixture: AuthorityFixture;
let serial: string;
beforeAll(async () => {
  fixture = await createAuthority();
  ({ serial } = await fixture.authority.issue({ agent: 'one' }));
});
afterAll(() => fixture.close());

const handle = (request: Request): Promise<Response> => {
  const { ocsp } = fixture.authority;
  if (ocsp === undefined) throw new Error('there is no responder');
  return createOcspHandler({ responder: ocsp, clock: fixture.clock })(request);
};
const about = (which = serial, nonce?: Uint8Array) => requestAbout(fixture.authority.issuing, [which], nonce === undefined ? {} : { nonce });
const post = (body: Uint8Array, type = 'application/ocsp-request') => handle(new Request('http://pki/ocsp', { method: 'POST', headers: { 'content-type': type }, body: new Uint8Array(body) }));
const get = (path: string, init: RequestInit = {}) => handle(new Request(`http://pki/ocsp/${path}`, init));
const base64 = (octets: Uint8Array) => Buffer.from(octets).toString('base64');
const said = async (response: Response) => {
  expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/ocsp-response']);
  const read = parseOcspResponse(new Uint8Array(await response.arrayBuffer()));
  return read.status === 'successful' ? read.responses[0]?.status.status : read.status;
};

describe('POST /ocsp', () => {
  it('answers, and caches keep nothing of it', async () => {
    for (const nonce of [undefined, Uint8Array.of(1)]) {
      const response = await post(about(serial, nonce));
      expect([response.headers.get('cache-control'), response.headers.get('etag')]).toEqual(['no-store', null]);
      expect(await said(response)).toBe('good');
    }
    expect(await said(await post(Uint8Array.of(1)))).toBe('malformedRequest');
    expect(await said(await post(requestAbout(fixture.authority.root, ['01'])))).toBe('unauthorized');
  });
  it('takes OCSP requests of 4,096 octets and nothing else', async () => {
    expect((await post(about(), 'application/json')).status).toBe(415);
    expect((await post(about(), 'Application/OCSP-Request; v=1')).status).toBe(200);
    expect((await post(new Uint8Array(4_096))).status).toBe(200);
    expect((await post(new Uint8Array(4_097))).status).toBe(413);
    expect(await said(await handle(new Request('http://pki/ocsp', { method: 'POST', headers: { 'content-type': 'application/ocsp-request' } })))).toBe('malformedRequest');
  });
});

describe('GET /ocsp/<base64>', () => {
  it('answers for caches: a minute, a tag, and what became of it after a revocation', async () => {
    const { serial: other } = await fixture.authority.issue({ agent: 'two' });
    const path = encodeURIComponent(base64(about(other)));
    const response = await get(path);
    const now = fixture.clock.now().getTime();
    const { etag = '', expires = '', ...headers } = Object.fromEntries(response.headers);
    expect(headers).toMatchObject({ 'cache-control': 'public, max-age=60, no-transform, must-revalidate', 'x-content-type-options': 'nosniff' });
    expect(Math.abs(Date.parse(expires) - now - 60_000)).toBeLessThan(5_000);
    expect(Date.parse(headers['last-modified'] ?? '')).toBeLessThanOrEqual(now);
    expect(await said(response)).toBe('good');
    const unchanged = await get(path, { headers: { 'if-none-match': etag } });
    expect([unchanged.status, unchanged.headers.get('etag'), (await unchanged.arrayBuffer()).byteLength]).toEqual([304, etag, 0]);
    const head = await get(path, { method: 'HEAD' });
    expect([head.status, head.headers.get('etag'), (await head.arrayBuffer()).byteLength]).toEqual([200, etag, 0]);
    await fixture.authority.revoke({ agent: 'two' });
    // Of the same second perhaps, so a date alone decides nothing.
    const changed = await get(path, { headers: { 'if-none-match': etag, 'if-modified-since': new Date(now + 3_600_000).toUTCString() } });
    expect(await said(changed)).toBe('revoked');
    expect(await said(await get(path, { headers: { 'if-modified-since': new Date(now + 3_600_000).toUTCString() } }))).toBe('revoked');
  });
  it('reads base64 with its plus signs and slashes, encoded for a URL or not', async () => {
    for (let last = 0; last < 64; last++) {
      const request = about('ff'.repeat(18) + last.toString(16).padStart(2, '0'));
      if (!/[/+]/.test(base64(request))) continue;
      expect(await said(await get(base64(request)))).toBe('unknown');
      expect(await said(await get(encodeURIComponent(base64(request))))).toBe('unknown');
      return;
    }
    expect.unreachable('one of these has a slash or a plus sign');
  });
  it('tells caches to keep neither errors, nonces nor what is unknown', async () => {
    const cacheable = async (path: string) => (await get(path)).headers.get('cache-control');
    expect(await said(await get('not%20base64'))).toBe('malformedRequest');
    expect(await said(await get('%zz'))).toBe('malformedRequest');
    expect(await said(await get('A'.repeat(20_000)))).toBe('malformedRequest');
    for (const path of ['AAAA', base64(about(serial, Uint8Array.of(1))), base64(about('06'))]) expect(await cacheable(encodeURIComponent(path))).toBe('no-store');
  });
});

it('knows no other method', async () => {
  const refused = async (path: string, method: string) => {
    const response = await handle(new Request(`http://pki${path}`, { method }));
    return [response.status, response.headers.get('allow')];
  };
  expect(await refused('/ocsp', 'PUT')).toEqual([405, 'GET, HEAD, POST']);
  expect(await refused('/ocsp', 'GET')).toEqual([405, 'POST']);
  expect(await refused('/ocsp/', 'HEAD')).toEqual([405, 'POST']);
  expect(await refused('/ocsp/AAAA', 'POST')).toEqual([405, 'GET, HEAD']);
});
