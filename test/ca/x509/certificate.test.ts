import 'reflect-metadata';
import { X509Certificate, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { X509Certificate as PeculiarCertificate } from '@peculiar/x509';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { keyAlgorithmOfSpki, signatureAlgorithmFor, spkiOf } from '../../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate, verifyCertificateSignature } from '../../../ca/x509/certificate.ts';
import { DerReader, bitString, boolean, element, explicit, integer, nullValue, octetString, oid, sequence, utcOrGeneralizedTime } from '../../../ca/x509/der.ts';
import {
  EXTENDED_KEY_USAGE,
  encodeAuthorityInformationAccess,
  encodeBasicConstraints,
  encodeCrlDistributionPoints,
  encodeExtension,
  encodeKeyUsage,
  encodeNameConstraints,
  encodeNoRevAvail,
  encodeSubjectAltName,
} from '../../../ca/x509/extension.ts';
import { encodeName } from '../../../ca/x509/name.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { AGENT_NAME, ALGORITHMS, DAY, NOW, VALID, makeCa, makeKey, makeLeaf, signTbs } from './authority-fixture.ts';
import { certtool, hasCerttool, openssl, scratch } from './openssl.ts';
import { refusal } from './refusal.ts';

const put = scratch();
const ca = makeCa('p256');
const leafKey = makeKey('p256');

describe.each(ALGORITHMS)('a certificate signed with %s', (algorithm) => {
  const issuer = makeCa(algorithm);
  const subjectKey = makeKey(algorithm);
  const der = makeLeaf(issuer, { spki: spkiOf(subjectKey) });
  const certificate = parseCertificate(der);

  test('is verified by node:crypto and by us, and by nobody under another key', () => {
    const native = new X509Certificate(der);
    expect(native.verify(new X509Certificate(issuer.certificate.der).publicKey)).toBe(true);
    expect(verifyCertificateSignature(certificate, issuer.certificate.spki)).toBe(true);
    expect(verifyCertificateSignature(certificate, createPublicKey(issuer.key))).toBe(true);
    expect(verifyCertificateSignature(certificate, spkiOf(makeKey(algorithm)))).toBe(false);
    expect(verifyCertificateSignature(certificate, spkiOf(makeKey(algorithm === 'ed25519' ? 'p256' : 'ed25519')))).toBe(false);
    expect(keyAlgorithmOfSpki(certificate.spki)).toBe(algorithm);
  });

  test('reads the same in node:crypto and @peculiar/x509', () => {
    const native = new X509Certificate(der);
    expect(native.serialNumber.toLowerCase()).toBe(certificate.serial);
    expect(native.fingerprint256.replaceAll(':', '').toLowerCase()).toBe(certificate.thumbprint);
    expect(native.subjectAltName).toBe('URI:spiffe://example.test/agent/agent-7');
    expect(native.keyUsage).toEqual(certificate.extendedKeyUsage);
    expect(new Date(native.validFrom)).toEqual(certificate.notBefore);
    expect(new Date(native.validTo)).toEqual(certificate.notAfter);
    const peculiar = new PeculiarCertificate(new Uint8Array(der));
    expect(peculiar.serialNumber).toBe(certificate.serial);
    expect(peculiar.subjectName.getField('OU')).toEqual(['platform', 'analytics']);
    expect(peculiar.notAfter).toEqual(certificate.notAfter);
  });

  // OpenSSL 3.0 and GnuTLS 3.7 do not know ML-DSA.
  test.skipIf(algorithm === 'ml-dsa-65')('is verified by openssl verify -x509_strict', () => {
    const root = put(`root-${algorithm}.pem`, encodePem('CERTIFICATE', issuer.certificate.der));
    const leaf = put(`leaf-${algorithm}.pem`, encodePem('CERTIFICATE', der));
    const at = String(Math.floor(NOW.getTime() / 1000));
    expect(openssl('verify', '-x509_strict', '-purpose', 'sslclient', '-attime', at, '-CAfile', root, leaf)).toContain(': OK');
  });

  test.skipIf(algorithm === 'ml-dsa-65' || !hasCerttool)('is verified by certtool', () => {
    const root = put(`gnutls-root-${algorithm}.pem`, encodePem('CERTIFICATE', issuer.certificate.der));
    const leaf = put(`gnutls-leaf-${algorithm}.pem`, encodePem('CERTIFICATE', der));
    // certtool checks against the clock of the machine.
    expect(certtool('--verify', '--verify-allow-broken', '--load-ca-certificate', root, '--infile', leaf)).toContain('Verified. The certificate is trusted.');
  });
});

test('every field is taken apart', () => {
  const certificate = parseCertificate(makeLeaf(ca, { spki: spkiOf(leafKey), serial: Uint8Array.of(0xab, 0xcd) }));
  expect(certificate).toMatchObject({
    version: 3,
    serial: 'abcd',
    subject: [AGENT_NAME[0], [{ type: 'OU', value: 'platform' }, { type: 'OU', value: 'analytics' }], AGENT_NAME[2]],
    notBefore: VALID.from,
    notAfter: VALID.to,
    basicConstraints: { ca: false, pathLen: undefined },
    keyUsage: new Set(['digitalSignature']),
    extendedKeyUsage: [EXTENDED_KEY_USAGE.clientAuth],
    uris: ['spiffe://example.test/agent/agent-7'],
    dnsNames: [],
    emails: [],
    ipAddresses: [],
    crlDistributionPoints: [{ uris: ['http://example.test/issuing.crl'], limitedReasons: false, foreignIssuer: false }],
    authorityKeyIdentifier: ca.certificate.subjectKeyIdentifier,
    noRevAvail: false,
    unknownCriticalExtensions: [],
  });
  expect(parseCertificate(encodePem('CERTIFICATE', certificate.der)).thumbprint).toBe(certificate.thumbprint);
});

test('OpenSSL reads every extension that we write', () => {
  const der = makeLeaf(ca, {
    extensions: [
      encodeAuthorityInformationAccess({ caIssuers: ['http://example.test/ca.cer'], ocsp: ['http://example.test/ocsp'] }),
      encodeNameConstraints({ permittedUriHosts: ['example.test'], permittedDnsNames: ['example.test'] }),
      encodeNoRevAvail(),
      encodeCrlDistributionPoints(['http://example.test/a.crl', 'http://example.test/b.crl']),
    ],
  });
  const text = openssl('x509', '-in', put('all.pem', encodePem('CERTIFICATE', der)), '-noout', '-text');
  for (const expected of [
    'CA Issuers - URI:http://example.test/ca.cer',
    'OCSP - URI:http://example.test/ocsp',
    /Name Constraints: critical\s+Permitted:\s+DNS:example.test\s+URI:example.test/,
    /URI:http:\/\/example.test\/a.crl\s+URI:http:\/\/example.test\/b.crl/,
    /Basic Constraints: critical\s+CA:FALSE/,
    /Key Usage: critical\s+Digital Signature\n/,
  ]) {
    expect(text).toMatch(expected);
  }
  expect(parseCertificate(der)).toMatchObject({ noRevAvail: true, unknownCriticalExtensions: ['2.5.29.30'] });
});

test('alternative names of every common kind survive, addresses in RFC 5952 form', () => {
  const names = { uris: ['spiffe://a/b'], dnsNames: ['a.test', '*.b.test'], emails: ['a@b.test'], ipAddresses: ['192.0.2.1', '::', '::1', '2001:db8::1:0:0:1', '1:0:0:2::3', 'fe80::1:2:3:4', '1:2:3:4:5:6:7:0'] };
  expect(parseCertificate(makeLeaf(ca, { extensions: [] }))).toMatchObject({ crlDistributionPoints: undefined });
  const tbs = encodeTbsCertificate({ ...tbsFields(), extensions: [encodeSubjectAltName(names)] });
  expect(parseCertificate(signTbs(ca, tbs))).toMatchObject(names);
  expect(parseCertificate(signTbs(ca, encodeTbsCertificate({ ...tbsFields(), extensions: [encodeSubjectAltName({ ipAddresses: ['::ffff:192.0.2.1'] })] }))).ipAddresses).toEqual(['::ffff:c000:201']);
});

describe('refused with ERR_CERTIFICATE_INVALID', () => {
  const algorithm = ca.signatureAlgorithm;
  const name = ca.certificate.subjectNameDer;
  const validity = sequence(utcOrGeneralizedTime(NOW), utcOrGeneralizedTime(new Date(NOW.getTime() + DAY)));
  const spki = spkiOf(leafKey);
  const v3 = explicit(0, integer(2));
  const extensions = (...list: readonly Uint8Array[]) => explicit(3, sequence(...list));
  const serial = integer(5);
  const san = encodeSubjectAltName({ uris: ['spiffe://a/b'] });
  const tbs = (...parts: readonly Uint8Array[]) => sequence(...parts);

  test.each<[string, Uint8Array]>([
    ['a serial of zero', tbs(v3, integer(0), algorithm, name, validity, name, spki)],
    ['a negative serial', tbs(v3, element(2, Uint8Array.of(0x80)), algorithm, name, validity, name, spki)],
    ['a serial of 21 octets', tbs(v3, element(2, Uint8Array.of(1), new Uint8Array(20)), algorithm, name, validity, name, spki)],
    ['an explicit version 1', tbs(explicit(0, integer(0)), serial, algorithm, name, validity, name, spki)],
    ['version 4', tbs(explicit(0, integer(3)), serial, algorithm, name, validity, name, spki)],
    ['extensions in version 1', tbs(serial, algorithm, name, validity, name, spki, extensions(san))],
    ['another signature algorithm inside', tbs(v3, serial, signatureAlgorithmFor('p384'), name, validity, name, spki)],
    ['notAfter before notBefore', tbs(v3, serial, algorithm, name, sequence(utcOrGeneralizedTime(NOW), utcOrGeneralizedTime(new Date(NOW.getTime() - 1000))), name, spki)],
    ['an empty list of extensions', tbs(v3, serial, algorithm, name, validity, name, spki, extensions())],
    ['an extension twice', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(san, san))],
    ['an empty subject without a critical subjectAltName', tbs(v3, serial, algorithm, name, validity, sequence(), spki, extensions(san))],
    ['an explicit criticality of false', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(sequence(oid('2.5.29.56'), boolean(false), octetString(nullValue()))))],
    ['a path length without cA', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.19', 'critical', sequence(integer(0)))))],
    ['keyUsage without a bit', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.15', 'critical', element(3, Uint8Array.of(0)))))],
    ['an empty subjectAltName', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.17', 'nonCritical', sequence())))],
    ['NUL in a DNS name', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.17', 'nonCritical', sequence(element(0x82, Buffer.from('a\0b'))))))],
    ['an address of five octets', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.17', 'nonCritical', sequence(element(0x87, new Uint8Array(5))))))],
    ['garbage after the extensions', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(san), nullValue())],
    ['garbage after an extension value', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(encodeExtension('2.5.29.56', 'nonCritical', Uint8Array.of(5, 0, 0))))],
    ['a missing key', tbs(v3, serial, algorithm, name, validity, name)],
    ['65 extensions', tbs(v3, serial, algorithm, name, validity, name, spki, extensions(...Array.from({ length: 65 }, (_, i) => encodeExtension(`1.2.3.${i}`, 'nonCritical', nullValue()))))],
  ])('%s', (_, malformed) => {
    expect(refusal(() => parseCertificate(signTbs(ca, malformed))).code).toBe('ERR_CERTIFICATE_INVALID');
  });

  test('data after the certificate, and one larger than the limit', () => {
    const der = makeLeaf(ca);
    expect(refusal(() => parseCertificate(new Uint8Array([...der, 0]))).code).toBe('ERR_CERTIFICATE_INVALID');
    expect(refusal(() => parseCertificate(sequence(new Uint8Array(70_000)))).message).toContain('longer than 65536 octets');
  });

  test('while the same fields in order are accepted, also as version 1', () => {
    expect(parseCertificate(signTbs(ca, tbs(serial, algorithm, name, validity, name, spki))).version).toBe(1);
    expect(parseCertificate(signTbs(ca, tbs(v3, serial, algorithm, name, validity, sequence(), spki, extensions(encodeSubjectAltName({ uris: ['a:b'] }, 'critical'))))).subject).toEqual([]);
  });
});

test('an unknown critical extension is listed, an unknown other one is not', () => {
  const tbs = encodeTbsCertificate({ ...tbsFields(), extensions: [encodeExtension('1.2.3.4', 'critical', nullValue()), encodeExtension('1.2.3.5', 'nonCritical', nullValue())] });
  expect(parseCertificate(signTbs(ca, tbs)).unknownCriticalExtensions).toEqual(['1.2.3.4']);
});

test('a signature algorithm off the list never verifies, whatever the key', () => {
  const rsa = makeCa('rsa2048');
  const sha1 = sequence(oid('1.2.840.113549.1.1.5'), nullValue());
  const certificate = parseCertificate(signTbs(rsa, encodeTbsCertificate({ ...tbsFields(), signatureAlgorithm: sha1 }), sha1));
  expect(verifyCertificateSignature(certificate, rsa.certificate.spki)).toBe(false);
  const noParameters = sequence(oid('1.2.840.113549.1.1.11'));
  const bare = parseCertificate(signTbs(rsa, encodeTbsCertificate({ ...tbsFields(), signatureAlgorithm: noParameters }), noParameters));
  expect(verifyCertificateSignature(bare, rsa.certificate.spki)).toBe(false);
});

// RFC 8410 §3 and §6, RFC 9881 §2: neither NULL nor anything else behind the OID.
test.each([['ed25519', '1.3.101.112'], ['ml-dsa-44', '2.16.840.1.101.3.4.3.17'], ['ml-dsa-65', '2.16.840.1.101.3.4.3.18'], ['ml-dsa-87', '2.16.840.1.101.3.4.3.19']] as const)('%s is written without parameters, as a key and in a signature', (algorithm, expected) => {
  const bare = sequence(oid(expected));
  expect(signatureAlgorithmFor(algorithm)).toEqual(bare);
  expect(new DerReader(spkiOf(generateKeyPairSync(algorithm as 'ed25519').publicKey)).enter().raw()).toEqual(bare);
});

describe('keys', () => {
  test.each<[string, Uint8Array, string]>([
    ['RSA of 1024 bits', sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(sequence(integer(new Uint8Array(128).fill(0xff)), integer(65537)))), 'ERR_KEY_ALGORITHM'],
    ['an unknown algorithm', sequence(sequence(oid('1.2.3.4')), bitString(new Uint8Array(32))), 'ERR_KEY_ALGORITHM'],
    ['an unknown curve', sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.3.132.0.10')), bitString(new Uint8Array(65))), 'ERR_KEY_ALGORITHM'],
    ['a compressed point', sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')), bitString(Uint8Array.of(2, ...new Uint8Array(32)))), 'ERR_DER_INVALID'],
    ['Ed25519 with parameters', sequence(sequence(oid('1.3.101.112'), nullValue()), bitString(new Uint8Array(32))), 'ERR_DER_INVALID'],
    ['ML-DSA-65 with parameters', sequence(sequence(oid('2.16.840.1.101.3.4.3.18'), nullValue()), bitString(new Uint8Array(1952))), 'ERR_DER_INVALID'],
    ['ML-DSA-65 of 1951 octets', sequence(sequence(oid('2.16.840.1.101.3.4.3.18')), bitString(new Uint8Array(1951))), 'ERR_DER_INVALID'],
    ['Ed25519 of 31 octets', sequence(sequence(oid('1.3.101.112')), bitString(new Uint8Array(31))), 'ERR_DER_INVALID'],
    ['an RSA exponent of 3', sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(sequence(integer(new Uint8Array(256).fill(0xff)), integer(3)))), 'ERR_KEY_ALGORITHM'],
  ])('%s is refused', (_, spki, code) => {
    expect(refusal(() => keyAlgorithmOfSpki(spki)).code).toBe(code);
  });
});

test('any octets are read or refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (octets) => {
      for (const input of [octets, sequence(octets), assembleSigned(sequence(octets), ca.signatureAlgorithm, octets)]) {
        try {
          parseCertificate(input);
        } catch (error) {
          expect(error).toBeInstanceOf(CaError);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('a certificate with one bit flipped is refused or no longer verifies', () => {
  const der = makeLeaf(ca);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: der.length * 8 - 1 }), (bit) => {
      const flipped = Uint8Array.from(der);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      try {
        expect(verifyCertificateSignature(parseCertificate(flipped), ca.certificate.spki)).toBe(false);
      } catch (error) {
        if (!(error instanceof CaError)) throw error;
      }
    }),
    { numRuns: 300 },
  );
});

test('a CA certificate says so', () => {
  const tbs = encodeTbsCertificate({ ...tbsFields(), extensions: [encodeBasicConstraints({ ca: true, pathLen: 0 }), encodeKeyUsage(['keyCertSign', 'cRLSign', 'decipherOnly'])] });
  expect(parseCertificate(signTbs(ca, tbs))).toMatchObject({ basicConstraints: { ca: true, pathLen: 0 }, keyUsage: new Set(['keyCertSign', 'cRLSign', 'decipherOnly']) });
});

function tbsFields() {
  return {
    serial: Uint8Array.of(1),
    issuerName: ca.certificate.subjectNameDer,
    subject: [[{ type: 'CN', value: 'x' }]],
    notBefore: NOW,
    notAfter: new Date(NOW.getTime() + DAY),
    spki: spkiOf(leafKey),
    signatureAlgorithm: ca.signatureAlgorithm,
    extensions: new Array<Uint8Array>(),
  };
}

test('names and serials of any shape survive the round trip', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 15 }).filter((value) => !/\p{Cc}/u.test(value));
  fc.assert(
    fc.property(text, fc.uint8Array({ minLength: 1, maxLength: 19 }).filter((octets) => octets.some((octet) => octet > 0)), (value, serial) => {
      const subject = [[{ type: 'CN', value }]];
      const certificate = parseCertificate(assembleSigned(encodeTbsCertificate({ ...tbsFields(), subject, serial }), ca.signatureAlgorithm, new Uint8Array(70)));
      expect(certificate.subject).toEqual(subject);
      expect(BigInt(`0x${certificate.serial}`)).toBe(BigInt(`0x${Buffer.from(serial).toString('hex')}`));
      expect(certificate.subjectNameDer).toEqual(encodeName(subject));
    }),
    { numRuns: 100 },
  );
});
