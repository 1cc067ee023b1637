import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { decodeBase64Body, encodeBase64Body } from '../../ca/http/base64-body.ts';
import { createEstHandler } from '../../ca/http/est.ts';
import type { EstCall } from '../../ca/http/est.ts';
import { DerReader, TAG, contextTag } from '../../ca/x509/der.ts';
import { encodeCertsOnly } from '../../ca/x509/cms.ts';
import { encodeCsrAttributes } from '../../ca/x509/csr-attributes.ts';
import { keyAlgorithms } from '../../ca/profile.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { codeOf, present as presentError } from '../../src/errors.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

/** The certificates of a certs-only message. */
const certificatesIn = (der: Uint8Array): readonly Uint8Array[] => {
  const info = new DerReader(der).enter(TAG.sequence);
  expect(info.oid()).toBe('1.2.840.113549.1.7.2');
  const signed = info.enter(contextTag(0)).enter(TAG.sequence);
  expect(signed.smallInteger()).toBe(1);
  signed.enter(TAG.set).finish();
  expect(signed.enter(TAG.sequence).oid()).toBe('1.2.840.113549.1.7.1');
  const list = signed.enter(contextTag(0));
  const found: Uint8Array[] = [];
  while (!list.done) found.push(Uint8Array.from(list.raw(TAG.sequence)));
  signed.enter(TAG.set).finish();
  signed.finish();
  return found;
};

describe('base64 of EST', () => {
  const latin = (text: string): Uint8Array => Buffer.from(text, 'latin1');
  it('comes back as it went, with white space anywhere', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.constantFrom('', ' ', '\n', '\r\n', '\t'), fc.integer({ min: 1, max: 80 }), (octets, blank, width) => {
        const spaced = (Buffer.from(octets).toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join(blank);
        expect(decodeBase64Body(latin(blank + spaced + blank))).toEqual(octets);
        expect(decodeBase64Body(latin(encodeBase64Body(octets)))).toEqual(octets);
      }),
    );
  });
  it('is read canonically or refused, whatever comes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.string({ unit: fc.constantFrom('A', 'B', '/', '+', '=', '-', '\n'), maxLength: 20 }).map(latin)), (body) => {
        try {
          const text = Buffer.from(body).toString('latin1').replace(/\s/g, '');
          expect(Buffer.from(decodeBase64Body(body)).toString('base64')).toBe(text);
        } catch (error) {
          expect(error).toBeInstanceOf(CaError);
        }
      }),
    );
  });
  it.each([['nothing', ' \n'], ['PEM', '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n'], ['base64url', 'AA-_'], ['stray bits', 'AB=='], ['padding within', 'AA==AA=='], ['too little', 'AAA'], ['a form feed', 'AA\fAA']])('refuses %s', (_, text) => {
    expect(() => decodeBase64Body(latin(text))).toThrow(/^the request body is unusable: /);
  });
});

describe('the handler', () => {
  let fixture: AuthorityFixture;
  beforeAll(async () => {
    fixture = await createAuthority({ profiles: { rsa: { kind: 'agent', keyAlgorithms: ['rsa2048'] } } });
  });
  afterAll(() => fixture.close());
  const present = (error: unknown) => ({ status: presentError(error).http, code: codeOf(error), message: presentError(error).public });
  const handle = (call: Partial<EstCall> & Pick<EstCall, 'operation'>, init: RequestInit = {}) =>
    createEstHandler({ authority: fixture.authority, present, keyAlgorithm: 'p256' })(new Request('https://ca/est', init), { label: undefined, shown: undefined, address: undefined, ...call });
  const posting = (csr: Uint8Array, headers: Record<string, string> = {}): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/pkcs10', ...headers }, body: encodeBase64Body(csr) });
  const basic = (password: string) => ({ authorization: `Basic ${Buffer.from(`x:${password}`).toString('base64')}` });

  it('hands out every trusted CA, and says HEAD what GET says', async () => {
    const response = await handle({ operation: 'cacerts' });
    const thumbprints = certificatesIn(decodeBase64Body(new Uint8Array(await response.arrayBuffer()))).map((der) => parseCertificate(der).thumbprint);
    expect(thumbprints.toSorted()).toEqual([fixture.authority.root, fixture.authority.issuing].map(({ certificate }) => certificate.thumbprint).toSorted());
    const head = await handle({ operation: 'cacerts' }, { method: 'HEAD' });
    expect([head.status, await head.text(), head.headers.get('content-length')]).toEqual([200, '', response.headers.get('content-length')]);
  });
  it('takes a good certificate for a token at simpleenroll, for its own profile only', async () => {
    const shown = await fixture.authority.issue({ agent: 'shower' });
    const response = await handle({ operation: 'simpleenroll', shown, label: 'agent' }, posting(newCsr()));
    const [der] = certificatesIn(decodeBase64Body(new Uint8Array(await response.arrayBuffer())));
    expect((await fixture.authority.certificates({ agent: 'shower' })).map(({ thumbprint, replaces }) => [thumbprint, replaces])).toContainEqual([parseCertificate(der ?? new Uint8Array()).thumbprint, shown.serial]);
    expect((await handle({ operation: 'simpleenroll', shown, label: 'short-lived' }, posting(newCsr()))).status).toBe(400);
  });
  it('prefers the token where both are shown, and never spends it for a bad request', async () => {
    const { token } = await fixture.authority.createToken({ agent: 'both' });
    const shown = await fixture.authority.issue({ agent: 'other' });
    expect((await handle({ operation: 'simpleenroll' }, { ...posting(newCsr(), basic(token)), body: 'AAAA' })).status).toBe(400);
    expect((await handle({ operation: 'simpleenroll', shown }, posting(newCsr(), basic(token)))).status).toBe(200);
    expect(await fixture.authority.certificates({ agent: 'both' })).toHaveLength(1);
  });
  it.each(['text/plain', 'application/json', 'multipart/form-data; boundary=x', 'application/pkcs10x', ''])('takes no request as %j, and spends no token for it', async (type) => {
    const { token } = await fixture.authority.createToken({ agent: `typed-${type.length}` });
    expect((await handle({ operation: 'simpleenroll' }, posting(newCsr(), { ...basic(token), 'content-type': type }))).status).toBe(400);
    expect((await handle({ operation: 'simpleenroll' }, posting(newCsr(), { ...basic(token), 'content-type': 'Application/PKCS10 ; charset=x' }))).status).toBe(200);
  });
  it.each([['no scheme', 'x:y'], ['another scheme', 'Bearer abc'], ['no colon', `Basic ${Buffer.from('token').toString('base64')}`], ['no base64', 'Basic ***']])('asks for credentials when there are none: %s', async (_, authorization) => {
    const response = await handle({ operation: 'simpleenroll' }, posting(newCsr(), { authorization }));
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="sallyport", charset="UTF-8"']);
  });
  it('asks for keys that the profile takes', async () => {
    expect(decodeBase64Body(new Uint8Array(await (await handle({ operation: 'csrattrs', label: 'rsa' })).arrayBuffer()))).toEqual(encodeCsrAttributes('rsa2048'));
    expect(decodeBase64Body(new Uint8Array(await (await handle({ operation: 'csrattrs' })).arrayBuffer()))).toEqual(encodeCsrAttributes('p256'));
  });
});

it('writes DER for every number of certificates and every key', () => {
  const some = (length: number): Uint8Array => Uint8Array.from([0x30, 0x82, length >> 8, length & 0xff, ...new Uint8Array(length)]);
  for (const list of [[], [some(300)], [some(70_0), some(400), some(30_0)]]) expect(certificatesIn(encodeCertsOnly(list)).map(({ length }) => length).toSorted()).toEqual(list.map(({ length }) => length).toSorted());
  for (const algorithm of keyAlgorithms) {
    const reader = new DerReader(encodeCsrAttributes(algorithm));
    const list = reader.enter(TAG.sequence);
    while (!list.done) list.raw();
    reader.finish();
  }
});
