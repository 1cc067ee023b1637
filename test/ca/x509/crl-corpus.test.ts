/** CRLs that must not be used, each built from good parts with one thing wrong: the same rules as the BoringSSL vectors. */
import { describe, expect, test } from 'vitest';
import { signatureAlgorithmFor, spkiOf } from '../../../ca/x509/algorithm.ts';
import { encodeTbsCertificate, parseCertificate } from '../../../ca/x509/certificate.ts';
import { checkCrlCovers, crlCovers, parseCrl, verifyCrl } from '../../../ca/x509/crl.ts';
import { boolean, contextTag, element, enumerated, explicit, implicit, integer, nullValue, octetString, oid, sequence, utcOrGeneralizedTime } from '../../../ca/x509/der.ts';
import { encodeCrlDistributionPoints, encodeCrlNumber, encodeExtension, encodeIssuingDistributionPoint, encodeReasonCode } from '../../../ca/x509/extension.ts';
import { encodeUri } from '../../../ca/x509/general-name.ts';
import { DAY, NOW, makeCa, makeCrl, makeKey, makeLeaf, signTbs } from './authority-fixture.ts';
import { refusal } from './refusal.ts';

const ca = makeCa('p256');
const serial = Uint8Array.of(0x12, 0x34);
const leaf = parseCertificate(makeLeaf(ca, { serial }));
const time = (days: number) => utcOrGeneralizedTime(new Date(NOW.getTime() + days * DAY));
const GARBAGE = sequence(integer(7), nullValue());
const REVOKED = sequence(integer(serial), time(-1));

interface Parts {
  version: readonly Uint8Array[];
  algorithm: Uint8Array;
  issuer: Uint8Array;
  thisUpdate: Uint8Array;
  nextUpdate: readonly Uint8Array[];
  entries: readonly Uint8Array[];
  extensions: readonly Uint8Array[];
  after: readonly Uint8Array[];
}

/** The good CRL, with some of its parts replaced. */
function tbs(changes: Partial<Parts> = {}): Uint8Array {
  const parts: Parts = {
    version: [integer(1)],
    algorithm: ca.signatureAlgorithm,
    issuer: ca.certificate.subjectNameDer,
    thisUpdate: time(-1),
    nextUpdate: [time(1)],
    entries: [sequence(REVOKED)],
    extensions: [explicit(0, sequence(encodeCrlNumber(1)))],
    after: [],
    ...changes,
  };
  return sequence(...parts.version, parts.algorithm, parts.issuer, parts.thisUpdate, ...parts.nextUpdate, ...parts.entries, ...parts.extensions, ...parts.after);
}

function judge(der: Uint8Array, options: { maxAgeMs?: number } = {}): string {
  let found = 'good';
  const { code } = refusal(() => {
    const crl = parseCrl(der);
    verifyCrl(crl, ca.certificate, { at: NOW, ...options });
    checkCrlCovers(crl, leaf);
    if (crl.find(leaf.serial) !== undefined) found = 'revoked';
  });
  return code === 'accepted' ? found : code;
}

const extensions = (...list: readonly Uint8Array[]) => [explicit(0, sequence(...list))];
const entryWith = (...list: readonly Uint8Array[]) => [sequence(REVOKED, sequence(integer(9), time(-1), sequence(...list)))];
const idp = (...fields: readonly Uint8Array[]) => extensions(encodeExtension('2.5.29.28', 'critical', sequence(...fields)));
const fullName = (...uris: readonly string[]) => explicit(0, element(contextTag(0), ...uris.map(encodeUri)));
const flag = (number: number) => implicit(number, boolean(true));
const utf16 = (text: string) => element(0x17, Buffer.from(text));

describe('usable', () => {
  test.each<[string, Uint8Array, string]>([
    ['as it is', tbs(), 'revoked'],
    ['without the leaf', tbs({ entries: [sequence(sequence(integer(9), time(-1)))] }), 'good'],
    ['with nothing revoked', tbs({ entries: [] }), 'good'],
    ['version 1', tbs({ version: [], extensions: [] }), 'revoked'],
    ['an unknown extension that is not critical', tbs({ extensions: extensions(encodeExtension('1.2.3.4', 'nonCritical', nullValue())) }), 'revoked'],
    ['an unknown entry extension that is not critical', tbs({ entries: entryWith(encodeExtension('1.2.3.4', 'nonCritical', nullValue())) }), 'revoked'],
    ['an invalidityDate', tbs({ entries: entryWith(encodeReasonCode('superseded'), encodeExtension('2.5.29.24', 'nonCritical', time(-2))) }), 'revoked'],
    ['a critical reasonCode', tbs({ entries: entryWith(encodeExtension('2.5.29.21', 'critical', enumerated(1))) }), 'revoked'],
    ['a long entry', tbs({ entries: entryWith(encodeExtension('1.2.3.4', 'nonCritical', octetString(new Uint8Array(300)))) }), 'revoked'],
    ['GeneralizedTime before 2050', tbs({ thisUpdate: element(0x18, Buffer.from('20261120000000Z')) }), 'revoked'],
    ['the scope of the leaf', tbs({ extensions: idp(fullName('http://example.test/issuing.crl'), flag(1)) }), 'revoked'],
    ['one of two places is that of the leaf', tbs({ extensions: idp(fullName('http://example.test/other.crl', 'http://example.test/issuing.crl')) }), 'revoked'],
  ])('%s', (_, encoded, verdict) => {
    expect(judge(signTbs(ca, encoded))).toBe(verdict);
  });

  test('without nextUpdate only under a maximum age', () => {
    const der = signTbs(ca, tbs({ nextUpdate: [] }));
    expect(judge(der, { maxAgeMs: DAY })).toBe('revoked');
    expect(judge(der, { maxAgeMs: DAY - 1 })).toBe('ERR_CRL_STALE');
    expect(judge(der)).toBe('ERR_CRL_STALE');
  });
});

describe('malformed', () => {
  test.each<[string, Uint8Array]>([
    ['garbage for a version', tbs({ version: [nullValue()] })],
    ['an explicit version 1', tbs({ version: [integer(0)], extensions: [] })],
    ['version 3', tbs({ version: [integer(2)] })],
    ['garbage for the algorithm', tbs({ algorithm: integer(1) })],
    ['an algorithm with two parameters', tbs({ algorithm: sequence(oid('1.2.840.10045.4.3.2'), nullValue(), nullValue()) })],
    ['another algorithm inside than outside', tbs({ algorithm: signatureAlgorithmFor('p384') })],
    ['garbage for the issuer', tbs({ issuer: GARBAGE })],
    ['an empty issuer', tbs({ issuer: sequence() })],
    ['garbage for thisUpdate', tbs({ thisUpdate: utf16('not a date 12') })],
    ['garbage after thisUpdate', tbs({ nextUpdate: [integer(1), time(1)] })],
    ['nextUpdate before thisUpdate', tbs({ nextUpdate: [time(-2)] })],
    ['garbage after nextUpdate', tbs({ nextUpdate: [time(1), integer(1)] })],
    ['an empty list of entries', tbs({ entries: [sequence()] })],
    ['garbage for an entry', tbs({ entries: [sequence(REVOKED, nullValue())] })],
    ['an empty entry', tbs({ entries: [sequence(REVOKED, sequence())] })],
    ['garbage for a serial', tbs({ entries: [sequence(REVOKED, sequence(octetString(serial), time(-1)))] })],
    ['a negative serial', tbs({ entries: [sequence(REVOKED, sequence(element(2, Uint8Array.of(0xff)), time(-1)))] })],
    ['a padded serial', tbs({ entries: [sequence(REVOKED, sequence(element(2, Uint8Array.of(0, 1)), time(-1)))] })],
    ['an empty serial', tbs({ entries: [sequence(REVOKED, sequence(element(2), time(-1)))] })],
    ['a serial of 21 octets', tbs({ entries: [sequence(REVOKED, sequence(element(2, new Uint8Array(21).fill(1)), time(-1)))] })],
    ['a serial longer than its entry', tbs({ entries: [sequence(REVOKED, element(0x30, Uint8Array.of(2, 9, 1)))] })],
    ['no revocation date', tbs({ entries: [sequence(REVOKED, sequence(integer(9)))] })],
    ['garbage for a revocation date', tbs({ entries: [sequence(REVOKED, sequence(integer(9), utf16('261332000000Z')))] })],
    ['garbage after a revocation date', tbs({ entries: [sequence(REVOKED, sequence(integer(9), time(-1), integer(1)))] })],
    ['garbage after the entry extensions', tbs({ entries: [sequence(REVOKED, sequence(integer(9), time(-1), sequence(encodeReasonCode('superseded')), integer(1)))] })],
    ['empty entry extensions', tbs({ entries: entryWith() })],
    ['an entry extension twice', tbs({ entries: entryWith(encodeReasonCode('superseded'), encodeReasonCode('superseded')) })],
    ['an undefined reason', tbs({ entries: entryWith(encodeExtension('2.5.29.21', 'nonCritical', enumerated(7))) })],
    ['a reason that is an INTEGER', tbs({ entries: entryWith(encodeExtension('2.5.29.21', 'nonCritical', integer(1))) })],
    ['removeFromCRL in a complete CRL', tbs({ entries: entryWith(encodeExtension('2.5.29.21', 'nonCritical', enumerated(8))) })],
    ['an unknown critical entry extension', tbs({ entries: entryWith(encodeExtension('1.2.3.4', 'critical', nullValue())) })],
    ['an entry of another issuer', tbs({ entries: entryWith(encodeExtension('2.5.29.29', 'nonCritical', sequence(explicit(4, ca.certificate.subjectNameDer)))) })],
    ['entry extensions in version 1', tbs({ version: [], extensions: [], entries: entryWith(encodeReasonCode('superseded')) })],
    ['extensions in version 1', tbs({ version: [] })],
    ['garbage after the entries', tbs({ entries: [sequence(REVOKED), integer(1)] })],
    ['empty extensions', tbs({ extensions: extensions() })],
    ['an extension twice', tbs({ extensions: extensions(encodeCrlNumber(1), encodeCrlNumber(2)) })],
    ['garbage after the extensions', tbs({ after: [nullValue()] })],
    ['garbage beside the extensions', tbs({ extensions: [explicit(0, sequence(encodeCrlNumber(1)), nullValue())] })],
    ['an unknown critical extension', tbs({ extensions: extensions(encodeExtension('1.2.3.4', 'critical', nullValue())) })],
    ['a negative CRL number', tbs({ extensions: extensions(encodeExtension('2.5.29.20', 'nonCritical', element(2, Uint8Array.of(0xff)))) })],
    ['a CRL number of 21 octets', tbs({ extensions: extensions(encodeExtension('2.5.29.20', 'nonCritical', element(2, new Uint8Array(21).fill(1)))) })],
    ['an empty issuingDistributionPoint', tbs({ extensions: idp() })],
    ['a scope of users and of CAs', tbs({ extensions: idp(flag(1), flag(2)) })],
    ['an explicit FALSE in the scope', tbs({ extensions: idp(implicit(1, boolean(false)), flag(4)) })],
    ['data after the choice of a place', tbs({ extensions: idp(explicit(0, element(contextTag(0), encodeUri('http://a/b')), nullValue())) })],
    ['a place without a name', tbs({ extensions: idp(explicit(0, element(contextTag(0)))) })],
    ['scope fields out of order', tbs({ extensions: idp(flag(4), flag(1)) })],
  ])('%s is refused with ERR_CRL_INVALID', (_, encoded) => {
    expect(judge(signTbs(ca, encoded))).toBe('ERR_CRL_INVALID');
  });

  test('garbage around the signature, in its algorithm, and after the whole', () => {
    const signature = element(3, new Uint8Array(72));
    for (const der of [
      sequence(tbs(), ca.signatureAlgorithm, signature, nullValue()),
      sequence(tbs(), ca.signatureAlgorithm, octetString(new Uint8Array(72))),
      sequence(tbs(), ca.signatureAlgorithm, element(3, Uint8Array.of(1, 2))),
      sequence(tbs(), ca.signatureAlgorithm),
      sequence(tbs(), integer(1), signature),
      sequence(integer(1), ca.signatureAlgorithm, signature),
      new Uint8Array([...signTbs(ca, tbs()), 0]),
    ]) {
      expect(judge(der)).toBe('ERR_CRL_INVALID');
    }
  });
});

describe('not for this use', () => {
  test.each<[string, Uint8Array, string]>([
    ['another issuer', tbs({ issuer: makeCa('p256', { name: [[{ type: 'CN', value: 'Other' }]] }).certificate.subjectNameDer }), 'ERR_CRL_ISSUER'],
    ['another place', tbs({ extensions: idp(fullName('http://example.test/ISSUING.CRL')) }), 'ERR_CRL_SCOPE'],
    ['a place relative to the issuer', tbs({ extensions: idp(explicit(0, element(contextTag(1), sequence(oid('2.5.4.3'), element(0x0c, Buffer.from('a')))))) }), 'ERR_CRL_SCOPE'],
    ['CA certificates only', tbs({ extensions: idp(flag(2)) }), 'ERR_CRL_SCOPE'],
    ['CA certificates only, at the right place', tbs({ extensions: idp(fullName('http://example.test/issuing.crl'), flag(2)) }), 'ERR_CRL_SCOPE'],
    ['attribute certificates only', tbs({ extensions: idp(flag(5)) }), 'ERR_CRL_SCOPE'],
    ['some reasons only', tbs({ extensions: idp(element(contextTag(3, 'primitive'), Uint8Array.of(6, 0x40))) }), 'ERR_CRL_SCOPE'],
    ['indirect', tbs({ extensions: idp(fullName('http://example.test/issuing.crl'), flag(4)) }), 'ERR_CRL_SCOPE'],
    ['a delta', tbs({ extensions: extensions(encodeCrlNumber(2), encodeExtension('2.5.29.27', 'critical', integer(1))) }), 'ERR_CRL_SCOPE'],
    ['from the future', tbs({ thisUpdate: time(0.5), nextUpdate: [time(2)] }), 'ERR_CRL_STALE'],
    ['past nextUpdate', tbs({ thisUpdate: time(-2), nextUpdate: [time(-1)] }), 'ERR_CRL_STALE'],
  ])('%s', (_, encoded, code) => {
    expect(judge(signTbs(ca, encoded))).toBe(code);
  });

  test('signed by another key', () => {
    expect(judge(signTbs(makeCa('p256'), tbs()))).toBe('ERR_CRL_SIGNATURE');
  });
});

describe('certificates that a CRL says nothing about', () => {
  const userCrl = parseCrl(makeCrl(ca, { idp: { only: 'userCertificates' } }));
  const placeCrl = parseCrl(makeCrl(ca, { idp: { uris: ['http://example.test/issuing.crl'] } }));
  const plainCrl = parseCrl(makeCrl(ca));
  const point = (...fields: readonly Uint8Array[]) => encodeExtension('2.5.29.31', 'nonCritical', sequence(sequence(...fields)));
  const withPoints = (...list: readonly Uint8Array[]) => parseCertificate(makeLeaf(ca, { extensions: list }));
  const place = fullName('http://example.test/issuing.crl');

  test('a CA under a CRL for users, while CAs are under a CRL for CAs', () => {
    const caCertificate = parseCertificate(makeLeaf(ca, { isCa: true }));
    expect(refusal(() => checkCrlCovers(userCrl, caCertificate)).message).toBe('the CRL covers end-entity certificates only, and this is a CA');
    expect(crlCovers(parseCrl(makeCrl(ca, { idp: { only: 'caCertificates' } })), caCertificate)).toBe(true);
    expect(crlCovers(userCrl, leaf)).toBe(true);
  });

  test('a version 1 certificate under a CRL for one kind', () => {
    const full = encodeTbsCertificate({
      serial,
      issuerName: ca.certificate.subjectNameDer,
      subject: [[{ type: 'CN', value: 'old' }]],
      notBefore: NOW,
      notAfter: new Date(NOW.getTime() + DAY),
      spki: spkiOf(makeKey('p256')),
      signatureAlgorithm: ca.signatureAlgorithm,
      extensions: [],
    });
    // Without its explicit version (five octets after the header) it is version 1.
    const old = parseCertificate(signTbs(ca, sequence(full.subarray(full.length > 257 ? 9 : 8))));
    expect(old.version).toBe(1);
    expect(refusal(() => checkCrlCovers(userCrl, old)).code).toBe('ERR_CRL_SCOPE');
    expect(crlCovers(plainCrl, old)).toBe(true);
  });

  test('one whose points lead to foreign or partial CRLs only', () => {
    const foreign = withPoints(point(place, element(contextTag(2), explicit(4, ca.certificate.subjectNameDer))));
    const partial = withPoints(point(place, element(contextTag(1, 'primitive'), Uint8Array.of(6, 0x40))));
    expect(refusal(() => checkCrlCovers(plainCrl, foreign)).code).toBe('ERR_CRL_SCOPE');
    expect(refusal(() => checkCrlCovers(plainCrl, partial)).code).toBe('ERR_CRL_SCOPE');
  });

  test('one without points, when the CRL belongs to a place', () => {
    expect(refusal(() => checkCrlCovers(placeCrl, withPoints())).message).toBe('the CRL belongs to another distribution point than the certificate');
    expect(crlCovers(plainCrl, withPoints())).toBe(true);
    expect(crlCovers(placeCrl, withPoints(encodeCrlDistributionPoints(['http://example.test/x.crl', 'http://example.test/issuing.crl'])))).toBe(true);
  });

  test('one of another issuer', () => {
    const other = makeCa('p256', { name: [[{ type: 'CN', value: 'Other' }]] });
    expect(refusal(() => checkCrlCovers(plainCrl, parseCertificate(makeLeaf(other)))).code).toBe('ERR_CRL_ISSUER');
  });

  test('the writer of partitions makes the same extension as the one judged here', () => {
    expect(encodeIssuingDistributionPoint({ uris: ['http://example.test/issuing.crl'] })).toEqual(encodeExtension('2.5.29.28', 'critical', sequence(place)));
  });
});
