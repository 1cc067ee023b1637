import 'reflect-metadata';
import { Pkcs10CertificateRequest } from '@peculiar/x509';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { keyAlgorithmOf, signWith, signatureAlgorithmFor, spkiOf } from '../../../ca/x509/algorithm.ts';
import { createCsr, encodeCsr, parseCsr, verifyCsr } from '../../../ca/x509/csr.ts';
import { TAG, contextTag, element, integer, nullValue, oid, sequence, set, utf8String } from '../../../ca/x509/der.ts';
import { EXTENDED_KEY_USAGE, encodeBasicConstraints, encodeExtendedKeyUsage, encodeKeyUsage, encodeSubjectAltName } from '../../../ca/x509/extension.ts';
import { encodeName } from '../../../ca/x509/name.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { assembleSigned } from '../../../ca/x509/signed.ts';
import { ALGORITHMS, makeKey } from './authority-fixture.ts';
import { certtool, hasCerttool, openssl, scratch } from './openssl.ts';
import { refusal } from './refusal.ts';

const put = scratch();
const key = makeKey('p256');
const spki = spkiOf(key);
const algorithm = signatureAlgorithmFor('p256');
const EXTENSION_REQUEST = oid('1.2.840.113549.1.9.14');
const sign = (info: Uint8Array) => assembleSigned(info, algorithm, signWith(key, info));
const info = (...attributes: readonly Uint8Array[]) => sequence(integer(0), encodeName([[{ type: 'CN', value: 'a' }]]), spki, element(contextTag(0), ...attributes));

describe.each(ALGORITHMS)('a request with %s', (kind) => {
  const privateKey = makeKey(kind);
  const der = createCsr(privateKey, { commonName: 'agent-7', uris: ['spiffe://example.test/agent/agent-7'], dnsNames: ['agent-7.test'] });

  test('is read back with proof of possession', () => {
    const csr = parseCsr(encodePem('CERTIFICATE REQUEST', der));
    verifyCsr(csr);
    expect(csr.spki).toEqual(spkiOf(privateKey));
    expect(csr.subject).toEqual([[{ type: 'CN', value: 'agent-7' }]]);
    expect(csr.requested).toMatchObject({ uris: ['spiffe://example.test/agent/agent-7'], dnsNames: ['agent-7.test'], oids: ['2.5.29.17'] });
    expect(csr.otherAttributes).toEqual([]);
  });

  test('a signer elsewhere makes the same contents', async () => {
    const signer = { spki: spkiOf(privateKey), algorithm: keyAlgorithmOf(privateKey), sign: async (data: Uint8Array) => signWith(privateKey, data) };
    const csr = parseCsr(await encodeCsr({ subject: [[{ type: 'CN', value: 'agent-7' }]] }, signer));
    verifyCsr(csr);
    expect(csr.requested.oids).toEqual([]);
  });

  test.skipIf(kind === 'ml-dsa-65')('is accepted by OpenSSL and @peculiar/x509', async () => {
    const path = put(`${kind}.csr`, encodePem('CERTIFICATE REQUEST', der));
    expect(openssl('req', '-in', path, '-noout', '-verify', '-text')).toContain('URI:spiffe://example.test/agent/agent-7');
    expect(await new Pkcs10CertificateRequest(new Uint8Array(der)).verify()).toBe(true);
  });

  test.skipIf(kind === 'ml-dsa-65' || !hasCerttool)('is accepted by certtool', () => {
    expect(certtool('--crq-info', '--infile', put(`${kind}-gnutls.csr`, encodePem('CERTIFICATE REQUEST', der)))).toContain('Self signature: verified');
  });
});

test('a request made by openssl req is read with all that it asks for', () => {
  const out = openssl(
    'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '-', '-subj', '/O=Acme/OU=analytics/CN=agent-7',
    '-addext', 'subjectAltName=URI:spiffe://a/b,DNS:a.test,IP:192.0.2.1,email:a@b.test',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=keyCertSign', '-addext', 'extendedKeyUsage=serverAuth',
  );
  const csr = parseCsr(out);
  verifyCsr(csr);
  expect(csr.requested).toEqual({
    uris: ['spiffe://a/b'],
    dnsNames: ['a.test'],
    emails: ['a@b.test'],
    ipAddresses: ['192.0.2.1'],
    otherNames: [],
    basicConstraints: { ca: true, pathLen: undefined },
    keyUsage: new Set(['keyCertSign']),
    extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth],
    oids: ['2.5.29.17', '2.5.29.19', '2.5.29.15', '2.5.29.37'],
  });
});

test('a request for the key of somebody else is refused', () => {
  const other = makeKey('p256');
  const stolen = info();
  expect(refusal(() => verifyCsr(parseCsr(assembleSigned(stolen, algorithm, signWith(other, stolen)))))).toEqual({
    code: 'ERR_CSR_SIGNATURE',
    message: 'the certificate request is not signed by the key it asks to certify; make it again with that key',
  });
});

describe('refused with ERR_CSR_INVALID', () => {
  const san = encodeSubjectAltName({ uris: ['spiffe://a/b'] });
  const request = (...extensions: readonly Uint8Array[]) => sequence(EXTENSION_REQUEST, set(sequence(...extensions)));
  const challenge = sequence(oid('1.2.840.113549.1.9.7'), set(utf8String('x')));

  test.each<[string, Uint8Array]>([
    ['version 2', sequence(integer(1), encodeName([]), spki, element(contextTag(0)))],
    ['missing attributes', sequence(integer(0), encodeName([]), spki)],
    ['an extension twice', info(request(san, san))],
    ['the extension request twice', info(request(san), request(encodeKeyUsage(['digitalSignature'])))],
    ['another attribute twice', info(challenge, challenge)],
    ['two values of the extension request', info(sequence(EXTENSION_REQUEST, element(TAG.set, sequence(san), sequence(san))))],
    ['an empty extension request', info(request())],
    ['an attribute without a value', info(sequence(oid('1.2.3.4'), set()))],
    ['garbage after the attributes', sequence(integer(0), encodeName([]), spki, element(contextTag(0)), nullValue())],
    ['17 attributes', info(...Array.from({ length: 17 }, (_, i) => sequence(oid(`1.2.3.${i}`), set(nullValue()))))],
  ])('%s', (_, malformed) => {
    expect(refusal(() => parseCsr(sign(malformed))).code).toBe('ERR_CSR_INVALID');
  });

  test('more than 16 KiB, in DER and in PEM', () => {
    const large = sign(info(sequence(oid('1.2.3.4'), set(utf8String('x'.repeat(16_384))))));
    expect(refusal(() => parseCsr(large)).code).toBe('ERR_CSR_INVALID');
    expect(refusal(() => parseCsr('x'.repeat(60_000))).code).toBe('ERR_CSR_INVALID');
  });

  test('while other attributes are listed and extensions are summarized', () => {
    const csr = parseCsr(sign(info(challenge, request(san, encodeBasicConstraints({ ca: false }), encodeExtendedKeyUsage(['clientAuth'])))));
    expect(csr.otherAttributes).toEqual(['1.2.840.113549.1.9.7']);
    expect(csr.requested.oids).toEqual(['2.5.29.17', '2.5.29.19', '2.5.29.37']);
  });
});

test('any octets are read or refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
      for (const input of [octets, sign(sequence(octets)), sign(info(octets)), Buffer.from(octets).toString('latin1')]) {
        try {
          verifyCsr(parseCsr(input));
        } catch (error) {
          expect(error).toBeInstanceOf(CaError);
        }
      }
    }),
    { numRuns: 150 },
  );
});

test('a request with one bit flipped is refused', () => {
  const der = createCsr(key, { commonName: 'agent-7', uris: ['spiffe://a/b'] });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: der.length * 8 - 1 }), (bit) => {
      const flipped = Uint8Array.from(der);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(['ERR_CSR_INVALID', 'ERR_CSR_SIGNATURE', 'ERR_PEM_INVALID']).toContain(refusal(() => verifyCsr(parseCsr(flipped))).code);
    }),
    { numRuns: 300 },
  );
});
