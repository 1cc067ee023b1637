import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { signatureAlgorithmFor } from '../../../ca/x509/algorithm.ts';
import { assembleSigned, parseCertificate } from '../../../ca/x509/certificate.ts';
import { CrlEntryBuffer, checkCrlFreshness, parseCrl, verifyCrl } from '../../../ca/x509/crl.ts';
import { sequence } from '../../../ca/x509/der.ts';
import { encodeBasicConstraints, encodeKeyUsage, keyIdentifierOf } from '../../../ca/x509/extension.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { serialToHex } from '../../../ca/x509/serial.ts';
import { ALGORITHMS, DAY, NOW, makeCa, makeCrl, makeLeaf, newSerial } from './authority-fixture.ts';
import { certtool, hasCerttool, openssl, scratch } from './openssl.ts';
import { refusal } from './refusal.ts';
import type { RevocationReason } from '../../../ca/ports.ts';

const put = scratch();
const ca = makeCa('p256');
const EVERY_REASON: readonly RevocationReason[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
];
const atNow = String(NOW.getTime() / 1000);

describe.each(ALGORITHMS)('a CRL signed with %s', (algorithm) => {
  const issuer = makeCa(algorithm);
  const revokedSerial = newSerial();
  const entries = [{ serial: revokedSerial, revokedAt: new Date(NOW.getTime() - DAY), reason: 'keyCompromise' as const }];
  const der = makeCrl(issuer, { entries, crlNumber: 2n ** 152n });
  const pem = encodePem('X509 CRL', der);

  test('is accepted by us and finds the revoked serial only', () => {
    const crl = parseCrl(pem);
    verifyCrl(crl, issuer.certificate, { at: NOW });
    expect(crl).toMatchObject({ version: 2, crlNumber: 2n ** 152n, entryCount: 1, thisUpdate: NOW, authorityKeyIdentifier: issuer.certificate.subjectKeyIdentifier });
    expect(crl.find(serialToHex(revokedSerial))).toEqual({ revokedAt: new Date(NOW.getTime() - DAY), reason: 'keyCompromise' });
    expect(crl.find(serialToHex(newSerial()))).toBeUndefined();
    expect(refusal(() => verifyCrl(crl, makeCa(algorithm, { extensions: [] }).certificate, { at: NOW })).code).toBe('ERR_CRL_ISSUER');
  });

  test.skipIf(algorithm === 'ml-dsa-65')('is enforced by openssl verify -crl_check', () => {
    const root = put(`root-${algorithm}.pem`, encodePem('CERTIFICATE', issuer.certificate.der));
    const crlFile = put(`crl-${algorithm}.pem`, pem);
    const verify = (name: string, leaf: Uint8Array) =>
      openssl('verify', '-x509_strict', '-crl_check', '-attime', atNow, '-CAfile', root, '-CRLfile', crlFile, put(name, encodePem('CERTIFICATE', leaf)));
    expect(verify(`good-${algorithm}.pem`, makeLeaf(issuer))).toContain(': OK');
    expect(() => verify(`revoked-${algorithm}.pem`, makeLeaf(issuer, { serial: revokedSerial }))).toThrow('certificate revoked');
    expect(openssl('crl', '-in', crlFile, '-noout', '-text', '-CAfile', root)).toMatch(/Reason Code: \n\s+Key Compromise/);
  });

  test.skipIf(algorithm === 'ml-dsa-65' || !hasCerttool)('is read by certtool', () => {
    const text = certtool('--crl-info', '--infile', put(`gnutls-${algorithm}.pem`, pem));
    expect(text).toContain('Revoked certificates (1):');
    expect(text).toContain(`Serial Number (hex): ${serialToHex(revokedSerial)}`);
  });
});

describe('writing', () => {
  test('every reason, both serial forms and both time forms come back, and OpenSSL reads the same', () => {
    const entries = EVERY_REASON.map((reason, i) => ({ serial: i % 2 === 0 ? Uint8Array.of(0x80 + i, 1) : `0${i}aa`, revokedAt: new Date(Date.UTC(2049, 11, 28 + i, 23, 59, i)), reason }));
    const crl = parseCrl(makeCrl(ca, { entries }));
    const seen: unknown[] = [];
    crl.forEachEntry((der, offset, length, revokedAt, reason) => seen.push([Buffer.from(der.subarray(offset, offset + length)).toString('hex'), revokedAt * 1000, reason]));
    expect(seen).toEqual(entries.map(({ serial, revokedAt, reason }) => [typeof serial === 'string' ? serial : serialToHex(serial), revokedAt.getTime(), reason]));
    const text = openssl('crl', '-in', put('reasons.pem', encodePem('X509 CRL', crl.der)), '-noout', '-text');
    expect(text.match(/Serial Number: \w+/g)?.map((line) => line.slice(15).toLowerCase())).toEqual(seen.map((entry) => (Array.isArray(entry) ? entry[0] : '')));
    expect(text).toContain('Revocation Date: Dec 31 23:59:03 2049 GMT');
    expect(text).toContain('Revocation Date: Jan  1 23:59:04 2050 GMT');
    for (const words of ['Key Compromise', 'CA Compromise', 'Affiliation Changed', 'Superseded', 'Cessation Of Operation', 'Certificate Hold', 'Privilege Withdrawn', 'AA Compromise']) expect(text).toContain(words);
    // RFC 5280 §5.3.1: unspecified is written by leaving the extension out.
    expect(text.match(/CRL entry extensions/g)).toHaveLength(EVERY_REASON.length - 1);
  });

  test('nothing revoked leaves the list out', () => {
    const crl = parseCrl(makeCrl(ca));
    expect(crl.entryCount).toBe(0);
    expect(openssl('crl', '-in', put('empty.pem', encodePem('X509 CRL', crl.der)), '-noout', '-text')).toContain('No Revoked Certificates.');
    verifyCrl(crl, ca.certificate, { at: NOW });
  });

  test('a partition names its distribution point, critically', () => {
    const crl = parseCrl(makeCrl(ca, { idp: { uris: ['http://example.test/p1.crl'], only: 'userCertificates' } }));
    expect(crl.issuingDistributionPoint).toMatchObject({ uris: ['http://example.test/p1.crl'], onlyUserCertificates: true, onlyCaCertificates: false });
    expect(openssl('crl', '-in', put('idp.pem', encodePem('X509 CRL', crl.der)), '-noout', '-text')).toMatch(/Issuing Distribution Point: critical\s+Full Name:\s+URI:http:\/\/example.test\/p1.crl\s+Only User Certificates/);
  });

  test('a buffer filled page by page gives the same octets as a list', () => {
    const entries = Array.from({ length: 300 }, (_, i) => ({ serial: newSerial(), revokedAt: new Date(NOW.getTime() - i * 12_345_678), reason: EVERY_REASON[i % 9] ?? 'unspecified' }));
    const buffer = new CrlEntryBuffer();
    for (const entry of entries) buffer.add(entry);
    expect(buffer.count).toBe(300);
    expect(Buffer.compare(parseCrl(makeCrl(ca, { entries: buffer })).tbs, parseCrl(makeCrl(ca, { entries })).tbs)).toBe(0);
  });

  test('mistakes of the program are told apart from bad input', () => {
    expect(() => makeCrl(ca, { nextUpdate: NOW })).toThrow(RangeError);
    expect(() => makeCrl(ca, { crlNumber: 2n ** 160n })).toThrow(RangeError);
    const entry = { revokedAt: NOW, reason: 'unspecified' as const };
    for (const serial of ['abc', 'ABCD', 'zz']) expect(() => makeCrl(ca, { entries: [{ ...entry, serial }] })).toThrow(TypeError);
    for (const serial of ['', 'ff'.repeat(20), new Uint8Array(0), new Uint8Array(21).fill(1)]) expect(() => makeCrl(ca, { entries: [{ ...entry, serial }] })).toThrow(RangeError);
    expect(() => makeCrl(ca, { entries: [{ serial: '01', revokedAt: new Date(Number.NaN), reason: 'unspecified' }] })).toThrow(RangeError);
  });
});

describe('an issuer is refused with ERR_CRL_ISSUER', () => {
  const crl = parseCrl(makeCrl(ca));
  test.each([
    ['another name', makeCa('p256', { name: [[{ type: 'CN', value: 'Other CA' }]] }).certificate, 'the CRL was issued under another name; fetch the one of this issuer'],
    ['another key of the name', makeCa('p256').certificate, 'the CRL was signed with another key of this issuer; give the certificate of that key'],
  ])('with %s', (_, issuer, message) => {
    expect(refusal(() => verifyCrl(crl, issuer, { at: NOW }))).toEqual({ code: 'ERR_CRL_ISSUER', message });
  });

  test.each([
    ['without cRLSign', [encodeBasicConstraints({ ca: true }), encodeKeyUsage(['keyCertSign'])], 'the issuer may not sign CRLs: its keyUsage lacks cRLSign'],
    ['that is not a CA', [encodeBasicConstraints({ ca: false }), encodeKeyUsage(['cRLSign'])], 'the issuer is not a CA; use the CRL of the CA itself'],
  ])('%s', (_, extensions, message) => {
    const issuer = makeCa('p256', { extensions });
    expect(refusal(() => verifyCrl(parseCrl(makeCrl(issuer)), issuer.certificate, { at: NOW }))).toEqual({ code: 'ERR_CRL_ISSUER', message });
  });

  test('while its name may differ in case and blanks, and keyUsage may be absent', () => {
    const issuer = makeCa('p256', { name: [[{ type: 'CN', value: 'TEST  ca' }]], extensions: [] });
    verifyCrl(parseCrl(makeCrl(issuer, { issuerName: ca.certificate.subjectNameDer })), issuer.certificate, { at: NOW });
  });
});

test('a forged signature is refused with ERR_CRL_SIGNATURE before anything is said about its age', () => {
  const crl = parseCrl(makeCrl(makeCa('p256'), { authorityKeyIdentifier: keyIdentifierOf(ca.certificate.spki) }));
  expect(refusal(() => verifyCrl(crl, ca.certificate, { at: new Date(NOW.getTime() + 9 * DAY) })).code).toBe('ERR_CRL_SIGNATURE');
  const wrongAlgorithm = makeCrl(ca, { signatureAlgorithm: signatureAlgorithmFor('ed25519') });
  expect(refusal(() => parseCrl(wrongAlgorithm)).code).toBe('ERR_CRL_INVALID');
  const consistent = assembleSigned(parseCrl(makeCrl({ ...ca, signatureAlgorithm: signatureAlgorithmFor('ed25519') })).tbs, signatureAlgorithmFor('ed25519'), new Uint8Array(64));
  expect(refusal(() => verifyCrl(parseCrl(consistent), ca.certificate, { at: NOW })).code).toBe('ERR_CRL_SIGNATURE');
});

describe('freshness, to the second', () => {
  const crl = parseCrl(makeCrl(ca));
  const at = (milliseconds: number) => new Date(NOW.getTime() + milliseconds);
  test.each([
    ['one second before thisUpdate', { at: at(-1000) }, 'ERR_CRL_STALE'],
    ['at thisUpdate', { at: at(0) }, 'accepted'],
    ['one second before nextUpdate', { at: at(DAY - 1000) }, 'accepted'],
    ['at nextUpdate', { at: at(DAY) }, 'ERR_CRL_STALE'],
    ['at the maximum age', { at: at(3600_000), maxAgeMs: 3600_000 }, 'accepted'],
    ['past the maximum age', { at: at(3600_001), maxAgeMs: 3600_000 }, 'ERR_CRL_STALE'],
    ['at nextUpdate, within the tolerance', { at: at(DAY), toleranceMs: 1000 }, 'accepted'],
    ['past nextUpdate and tolerance', { at: at(DAY + 1000), toleranceMs: 1000 }, 'ERR_CRL_STALE'],
    ['before thisUpdate, within the tolerance', { at: at(-1000), toleranceMs: 1000 }, 'accepted'],
  ])('%s', (_, options, code) => {
    expect(refusal(() => checkCrlFreshness(crl, options)).code).toBe(code);
    expect(refusal(() => verifyCrl(crl, ca.certificate, options)).code).toBe(code);
  });

  test('a moment that is no moment is a mistake of the program, not a fresh CRL', () => {
    expect(() => checkCrlFreshness(crl, { at: new Date(Number.NaN) })).toThrow(TypeError);
  });
});

test('a delta CRL is taken only where one is asked for, and may remove entries', () => {
  const delta = parseCrl(makeCrl(ca, { crlNumber: 8, baseCrlNumber: 7 }));
  expect(delta.baseCrlNumber).toBe(7n);
  expect(refusal(() => verifyCrl(delta, ca.certificate, { at: NOW }))).toEqual({ code: 'ERR_CRL_SCOPE', message: 'the CRL is a delta CRL; fetch the complete one' });
  verifyCrl(delta, ca.certificate, { at: NOW, kind: 'delta' });
  expect(refusal(() => verifyCrl(parseCrl(makeCrl(ca)), ca.certificate, { at: NOW, kind: 'delta' })).code).toBe('ERR_CRL_SCOPE');
});

test('the CRL that openssl ca makes is read', () => {
  const root = put('openssl-root.pem', encodePem('CERTIFICATE', ca.certificate.der));
  const key = put('openssl-root.key', ca.key.export({ type: 'pkcs8', format: 'pem' }).toString());
  const index = put('index.txt', 'R\t301231000000Z\t261120000000Z,keyCompromise\t1F2E\tunknown\t/CN=a\nR\t301231000000Z\t261120000000Z\t80\tunknown\t/CN=b\n');
  const config = put('ca.cnf', `[ca]\ndefault_ca=d\n[d]\ndatabase=${index}\ncrlnumber=${put('crlnumber', '1A\n')}\ndefault_md=sha256\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n`);
  const crl = parseCrl(openssl('ca', '-gencrl', '-config', config, '-cert', root, '-keyfile', key, '-crldays', '1'));
  verifyCrl(crl, ca.certificate, { at: crl.thisUpdate });
  expect(crl.crlNumber).toBe(0x1an);
  expect(crl.find('1f2e')).toEqual({ revokedAt: new Date('2026-11-20T00:00:00Z'), reason: 'keyCompromise' });
  expect(crl.find('80')?.reason).toBe('unspecified');
});

test('a hundred thousand entries are written, walked and stopped at without trouble', () => {
  const entries = Array.from({ length: 100_000 }, (_, i) => ({ serial: (i + 2 ** 40).toString(16).padStart(38, '1'), revokedAt: NOW, reason: 'superseded' as const }));
  const crl = parseCrl(makeCrl(ca, { entries }));
  let count = 0;
  crl.forEachEntry((_, __, length) => {
    if (length === 19) count++;
  });
  expect(count).toBe(100_000);
  expect(crl.find(entries[99_999]?.serial ?? '')?.reason).toBe('superseded');
  const cursor = crl.entries();
  for (let i = 0; i < 10; i++) expect(cursor.next()).toBe(true);
  expect(Buffer.from(cursor.der.subarray(cursor.serialOffset, cursor.serialOffset + cursor.serialLength)).toString('hex')).toBe(entries[9]?.serial);
});

test('any octets are read or refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => {
      for (const input of [octets, sequence(octets), assembleSigned(sequence(octets), ca.signatureAlgorithm, octets)]) {
        try {
          parseCrl(input);
        } catch (error) {
          expect(error).toBeInstanceOf(CaError);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('a CRL with one bit flipped is refused', () => {
  const der = makeCrl(ca, { entries: [{ serial: newSerial(), revokedAt: NOW, reason: 'keyCompromise' }] });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: der.length * 8 - 1 }), (bit) => {
      const flipped = Uint8Array.from(der);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(refusal(() => verifyCrl(parseCrl(flipped), ca.certificate, { at: NOW })).code).not.toBe('accepted');
    }),
    { numRuns: 300 },
  );
});

test('entries of any kind survive the round trip', () => {
  const entry = fc.record({
    serial: fc.uint8Array({ minLength: 1, maxLength: 19 }),
    second: fc.integer({ min: -631_152_000, max: 4_102_444_800 }),
    reason: fc.constantFrom(...EVERY_REASON),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), (list) => {
      const entries = list.map(({ serial, second, reason }) => ({ serial, revokedAt: new Date(second * 1000), reason }));
      const seen: unknown[] = [];
      parseCrl(makeCrl(ca, { entries })).forEachEntry((der, offset, length, revokedAt, reason) => seen.push([serialToHex(der.subarray(offset, offset + length)), revokedAt, reason]));
      expect(seen).toEqual(list.map(({ serial, second, reason }) => [serialToHex(serial), second, reason]));
    }),
    { numRuns: 100 },
  );
});

test('a certificate given as its own CRL is refused', () => {
  expect(refusal(() => parseCrl(makeLeaf(ca))).code).toBe('ERR_CRL_INVALID');
  expect(refusal(() => parseCertificate(makeCrl(ca))).code).toBe('ERR_CERTIFICATE_INVALID');
});
