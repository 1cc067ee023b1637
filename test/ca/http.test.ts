import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEnrollHandler } from '../../ca/http/enroll.ts';
import { createCaCertificateHandler, createCrlHandler } from '../../ca/http/publication.ts';
import { createRenewHandler } from '../../ca/http/renew.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { decodePem, encodePem } from '../../ca/x509/pem.ts';
import { codeOf, present as presentError } from '../../src/errors.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const present = (error: unknown) => {
  const { http, public: message } = presentError(error);
  return { status: http, code: codeOf(error), message };
};
const places = { gateway: 'https://localhost:8443/mcp', renewal: 'https://localhost:8444/renew' };
let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority();
});
afterAll(() => fixture.close());
const post = (body: unknown, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
  new Request('https://ca/enroll', { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
const csr = () => encodePem('CERTIFICATE REQUEST', newCsr());
const errorOf = async (response: Response) => [response.status, ((await response.json()) as { error: { code: string } }).error.code];

describe('POST /enroll', () => {
  const handle = (request: Request) => createEnrollHandler({ authority: fixture.authority, ...places, present })(request, { address: '192.0.2.1' });

  it('answers with the chain, the root and where to go', async () => {
    const { token } = await fixture.authority.createToken({ agent: 'http-1', organizationalUnits: ['x'] });
    const response = await handle(post({ token, csr: csr() }));
    expect([response.status, response.headers.get('content-type'), response.headers.get('cache-control')]).toEqual([200, 'application/json', 'no-store']);
    const body = (await response.json()) as Record<string, string>;
    expect(Object.keys(body)).toEqual(['certificate', 'ca', 'gateway', 'renewal']);
    expect(decodePem(body['certificate'] ?? '')).toHaveLength(2);
    expect(body).toMatchObject({ ca: fixture.authority.root.pem, ...places });
    expect(await errorOf(await handle(post({ token, csr: csr() })))).toEqual([403, 'ERR_TOKEN_SPENT']);
  });
  it.each([
    ['no JSON', post('{'), 400],
    ['an array', post([]), 400],
    ['null', post('null'), 400],
    ['no CSR', post({ token: 'x' }), 400],
    ['a number', post({ token: 1, csr: 'x' }), 400],
    ['an unknown member', post({ token: 'x', csr: 'x', profile: 'server' }), 400],
    ['another media type', post({ token: 'x', csr: 'x' }, { 'content-type': 'text/plain' }), 400],
    ['another charset', post({ token: 'x', csr: 'x' }, { 'content-type': 'application/json; charset=latin1' }), 400],
    ['a huge body', post({ token: 'x'.repeat(70_000), csr: 'x' }), 400],
    ['no token of ours', post({ token: 'x', csr: 'x' }), 403],
  ])('refuses %s', async (_, request, status) => {
    const response = await handle(request);
    expect(response.status).toBe(status);
    expect(((await response.json()) as { error: { message: string } }).error.message).not.toMatch(/sallyport1|Unexpected token/);
  });
  it('is POST only', async () => {
    expect((await handle(new Request('https://ca/enroll'))).status).toBe(405);
  });
});

describe('POST /renew', () => {
  it('renews the certificate the listener has verified', async () => {
    const handle = createRenewHandler({ authority: fixture.authority, ...places, present });
    const issued = await fixture.authority.issue({ agent: 'http-2' });
    const response = await handle(post({ csr: csr() }), issued);
    expect(response.status).toBe(200);
    const body = (await response.json()) as { certificate: string };
    const [leaf] = decodePem(body.certificate);
    expect(parseCertificate(leaf?.der ?? new Uint8Array()).uris).toEqual([issued.uri]);
    await fixture.authority.revoke({ agent: 'http-2' });
    expect(await errorOf(await handle(post({ csr: csr() }), issued))).toEqual([403, 'ERR_CA_IDENTITY_REVOKED']);
    expect((await handle(new Request('https://ca/renew'), issued)).status).toBe(405);
  });
});

describe('GET /crl and /ca', () => {
  it('serve DER that caches may keep for a minute', async () => {
    const handle = createCrlHandler({ authority: fixture.authority, clock: fixture.clock, present });
    for (const name of ['root', 'issuing'] as const) {
      const response = await handle(new Request(`http://pki/crl/${name}.crl`));
      const crl = await fixture.authority.currentCrl(name);
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(crl.der);
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': 'application/pkix-crl',
        'cache-control': 'public, max-age=60',
        'last-modified': crl.thisUpdate.toUTCString(),
        'content-length': String(crl.der.length),
      });
    }
  });
  it('answer 304 to who has it, and with the new one once it changed', async () => {
    // With a CRL soon for what the tests before have revoked, it would change on its own.
    await fixture.authority.close();
    fixture.clock.turn(2);
    await fixture.authority.publishCrl('issuing');
    const handle = createCrlHandler({ authority: fixture.authority, clock: fixture.clock, present });
    const url = 'http://pki/crl/issuing.crl';
    const first = await handle(new Request(url));
    const tag = first.headers.get('etag') ?? '';
    const modified = first.headers.get('last-modified') ?? '';
    const ask = async (headers: Record<string, string>) => (await handle(new Request(url, { headers }))).status;
    expect(await ask({ 'if-none-match': tag })).toBe(304);
    expect(await ask({ 'if-none-match': `"x", W/${tag}` })).toBe(304);
    expect(await ask({ 'if-none-match': '"x"', 'if-modified-since': modified })).toBe(200);
    expect(await ask({ 'if-modified-since': modified })).toBe(304);
    fixture.clock.turn(2);
    await fixture.authority.publishCrl('issuing');
    expect(await ask({ 'if-none-match': tag })).toBe(200);
  });
  it('serve the CA certificates', async () => {
    const handle = createCaCertificateHandler({ authority: fixture.authority });
    const response = await handle(new Request('http://pki/ca/issuing.cer'));
    expect(response.headers.get('content-type')).toBe('application/pkix-cert');
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(fixture.authority.issuing.der);
    const head = await handle(new Request('http://pki/ca/root.cer', { method: 'HEAD' }));
    expect([head.status, (await head.arrayBuffer()).byteLength]).toEqual([200, 0]);
  });
  it('know no other name and no other method', async () => {
    const crl = createCrlHandler({ authority: fixture.authority, clock: fixture.clock, present });
    const cer = createCaCertificateHandler({ authority: fixture.authority });
    for (const path of ['/crl/other.crl', '/crl/root.cer', '/crl/../root', '/crl/rootXcrl']) expect((await crl(new Request(`http://pki${path}`))).status).toBe(404);
    expect((await cer(new Request('http://pki/ca/root.crl'))).status).toBe(404);
    expect((await crl(new Request('http://pki/crl/root.crl', { method: 'DELETE' }))).status).toBe(405);
  });
});
