import { describe, expect, it } from 'vitest';
import { lintCertificate, lintRules, lintTbs, requireClean } from '../../ca/lint.ts';
import type { LintContext } from '../../ca/lint.ts';
import { createProfile, ocspProfile } from '../../ca/profile.ts';
import { signWith, signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate } from '../../ca/x509/certificate.ts';
import type { TbsCertificateFields } from '../../ca/x509/certificate.ts';
import { DerReader, element, integer, nullValue, sequence } from '../../ca/x509/der.ts';
import {
  EXTENSION,
  encodeAuthorityInformationAccess,
  encodeAuthorityKeyIdentifier,
  encodeBasicConstraints,
  encodeCrlDistributionPoints,
  encodeExtendedKeyUsage,
  encodeExtension,
  encodeKeyUsage,
  encodeNameConstraints,
  encodeNoRevAvail,
  encodeOcspNoCheck,
  encodeSubjectAltName,
  encodeSubjectKeyIdentifier,
  keyIdentifierOf,
} from '../../ca/x509/extension.ts';
import { encodeName } from '../../ca/x509/name.ts';
import { codeOfRefusal, newKey } from '../support/authority.ts';

const rootKey = newKey();
const subjectKey = newKey();
const spki = spkiOf(subjectKey);
const serial = Uint8Array.from({ length: 19 }, (_, i) => i + 1);
const caName = [[{ type: 'CN', value: 'Acme Root CA' }]];
const decade = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2055-01-01T00:00:00Z') };

type Parts = Record<string, Uint8Array | undefined>;
const caParts: Parts = {
  basic: encodeBasicConstraints({ ca: true, pathLen: 1 }),
  usage: encodeKeyUsage(['keyCertSign', 'cRLSign']),
  ski: encodeSubjectKeyIdentifier(keyIdentifierOf(spkiOf(rootKey))),
  aki: encodeAuthorityKeyIdentifier(keyIdentifierOf(spkiOf(rootKey))),
};
const fieldsOfRoot: TbsCertificateFields = {
  serial,
  issuerName: encodeName(caName),
  subject: caName,
  ...decade,
  spki: spkiOf(rootKey),
  signatureAlgorithm: signatureAlgorithmFor('p256'),
  extensions: [],
};
const leafParts: Parts = {
  basic: encodeBasicConstraints({ ca: false }),
  usage: encodeKeyUsage(['digitalSignature']),
  eku: encodeExtendedKeyUsage(['clientAuth']),
  ski: encodeSubjectKeyIdentifier(keyIdentifierOf(spki)),
  aki: encodeAuthorityKeyIdentifier(keyIdentifierOf(spkiOf(rootKey))),
  san: encodeSubjectAltName({ uris: ['spiffe://acme.internal/agent/agent-7'] }),
};
const granted = { subject: [[{ type: 'OU', value: 'analytics' }], [{ type: 'CN', value: 'agent-7' }]], uris: ['spiffe://acme.internal/agent/agent-7'], dnsNames: [], ipAddresses: [] };
const fieldsOfLeaf: TbsCertificateFields = {
  ...fieldsOfRoot,
  subject: granted.subject,
  notBefore: new Date('2026-11-21T11:59:00Z'),
  notAfter: new Date('2026-11-22T11:59:59Z'),
  spki,
};

const tbsOf = (fields: TbsCertificateFields, parts: Parts): Uint8Array => encodeTbsCertificate({ ...fields, extensions: Object.values(parts).filter((part) => part !== undefined) });
const signed = (tbs: Uint8Array): Uint8Array => assembleSigned(tbs, signatureAlgorithmFor('p256'), signWith(rootKey, tbs));

const root = parseCertificate(signed(tbsOf(fieldsOfRoot, caParts)));
const agent = createProfile('agent', { kind: 'agent', maxTtl: '24h' });
const context: LintContext = { issuer: root, profile: agent };

interface Row {
  readonly name: string;
  readonly rule: string;
  readonly fields?: Partial<TbsCertificateFields>;
  readonly parts?: Parts;
  readonly context?: Partial<LintContext>;
}

const leafRows: readonly Row[] = [
  { name: 'a serial of 18 octets', rule: 'serial', fields: { serial: serial.subarray(1) } },
  { name: 'a serial of 20 octets', rule: 'serial', fields: { serial: Uint8Array.of(1, ...serial) } },
  { name: 'another issuer name', rule: 'issuerName', fields: { issuerName: encodeName([[{ type: 'CN', value: 'Acme root CA' }]]) } },
  { name: 'an empty issuer name', rule: 'issuerNameNotEmpty', fields: { issuerName: sequence() } },
  { name: "an algorithm that is not the issuer's", rule: 'signatureAlgorithm', fields: { signatureAlgorithm: signatureAlgorithmFor('p384') } },
  { name: "an end one second after the issuer's", rule: 'withinIssuer', fields: { notBefore: new Date('2054-12-31T12:00:01Z'), notAfter: new Date('2055-01-01T00:00:01Z') } },
  { name: "a start one second before the issuer's", rule: 'withinIssuer', fields: { notBefore: new Date('2025-12-31T23:59:59Z'), notAfter: new Date('2026-01-01T00:00:00Z') } },
  { name: 'a foreign subjectKeyIdentifier', rule: 'subjectKeyIdentifier', parts: { ski: encodeSubjectKeyIdentifier(new Uint8Array(20)) } },
  { name: 'no subjectKeyIdentifier', rule: 'subjectKeyIdentifier', parts: { ski: undefined } },
  { name: 'a foreign authorityKeyIdentifier', rule: 'authorityKeyIdentifier', parts: { aki: encodeAuthorityKeyIdentifier(keyIdentifierOf(spki)) } },
  { name: 'no authorityKeyIdentifier', rule: 'authorityKeyIdentifier', parts: { aki: undefined } },
  { name: 'no basicConstraints', rule: 'basicConstraintsCritical', parts: { basic: undefined } },
  { name: 'basicConstraints that are not critical', rule: 'basicConstraintsCritical', parts: { basic: encodeExtension(EXTENSION.basicConstraints, 'nonCritical', sequence()) } },
  { name: 'no keyUsage', rule: 'keyUsageCritical', parts: { usage: undefined } },
  { name: 'an extension nobody asked for', rule: 'noForeignExtension', parts: { more: encodeExtension('1.2.3.4', 'nonCritical', nullValue()) } },
  { name: 'a critical distribution point', rule: 'identifiersNotCritical', parts: { cdp: critical(encodeCrlDistributionPoints(['http://a/crl'])) } },
  { name: 'a distribution point over ldap', rule: 'distributionPoint', parts: { cdp: encodeCrlDistributionPoints(['ldap://a/crl']) } },
  { name: 'an OCSP address over ldap', rule: 'authorityInformationAccess', parts: { aia: encodeAuthorityInformationAccess({ caIssuers: ['http://a'], ocsp: ['ldap://a'] }) } },
  { name: 'nocheck on an agent', rule: 'ocspNoCheck', parts: { nocheck: encodeOcspNoCheck() } },
  { name: 'a responder without nocheck', rule: 'ocspNoCheck', context: { profile: ocspProfile } },
  { name: 'critical nocheck', rule: 'identifiersNotCritical', parts: { nocheck: critical(encodeOcspNoCheck()) } },
  { name: 'a responder with a name', rule: 'responderAlone', context: { profile: ocspProfile } },
  { name: 'a responder whose status could be asked for', rule: 'responderAlone', context: { profile: ocspProfile }, parts: { san: undefined, cdp: encodeCrlDistributionPoints(['http://a/crl']) } },
  { name: 'a responder for something else too', rule: 'extendedKeyUsage', context: { profile: ocspProfile }, parts: { eku: encodeExtendedKeyUsage(['OCSPSigning', 'clientAuth']) } },
  { name: 'authorityInformationAccess without caIssuers', rule: 'authorityInformationAccess', parts: { aia: encodeAuthorityInformationAccess({ ocsp: ['http://a'] }) } },
  { name: 'cA TRUE', rule: 'caFalse', parts: { basic: encodeBasicConstraints({ ca: true }) } },
  { name: 'keyEncipherment besides', rule: 'digitalSignatureOnly', parts: { usage: encodeKeyUsage(['digitalSignature', 'keyEncipherment']) } },
  { name: 'keyCertSign', rule: 'digitalSignatureOnly', parts: { usage: encodeKeyUsage(['keyCertSign']) } },
  { name: 'no extendedKeyUsage', rule: 'extendedKeyUsage', parts: { eku: undefined } },
  { name: 'serverAuth on an agent', rule: 'extendedKeyUsage', parts: { eku: encodeExtendedKeyUsage(['serverAuth']) } },
  { name: 'serverAuth besides on an agent', rule: 'extendedKeyUsage', parts: { eku: encodeExtendedKeyUsage(['clientAuth', 'serverAuth']) } },
  { name: 'no subjectAltName', rule: 'subjectAltName', parts: { san: undefined } },
  { name: 'a critical subjectAltName beside a subject', rule: 'subjectAltNameCritical', parts: { san: encodeSubjectAltName({ uris: granted.uris }, 'critical') } },
  { name: 'two URIs', rule: 'spiffeId', parts: { san: encodeSubjectAltName({ uris: [...granted.uris, 'spiffe://acme.internal/agent/b'] }) } },
  { name: 'a URI that is no SPIFFE ID', rule: 'spiffeId', parts: { san: encodeSubjectAltName({ uris: ['https://acme.internal/agent/agent-7'] }) } },
  { name: 'a SPIFFE ID of something else', rule: 'spiffeId', parts: { san: encodeSubjectAltName({ uris: ['spiffe://acme.internal/agent'] }) } },
  { name: 'a SPIFFE ID of a person on an agent', rule: 'spiffeId', parts: { san: encodeSubjectAltName({ uris: ['spiffe://acme.internal/user/agent-7'] }) } },
  { name: 'a DNS name on an agent', rule: 'spiffeId', parts: { san: encodeSubjectAltName({ uris: granted.uris, dnsNames: ['a'] }) } },
  { name: 'an email address', rule: 'noOtherNames', parts: { san: encodeSubjectAltName({ uris: granted.uris, emails: ['a@b'] }) } },
  { name: 'a server with a URI', rule: 'serverNames', context: { profile: createProfile('server', { kind: 'server' }) } },
  { name: 'another OU than granted', rule: 'asGranted', context: { granted: { ...granted, subject: [[{ type: 'OU', value: 'platform' }], [{ type: 'CN', value: 'agent-7' }]] } } },
  { name: 'another URI than granted', rule: 'asGranted', context: { granted: { ...granted, uris: ['spiffe://acme.internal/agent/agent-8'] } } },
  { name: 'one second more than the longest lifetime', rule: 'lifetime', fields: { notAfter: new Date('2026-11-22T12:00:00Z') } },
  { name: 'a subject attribute of 65 characters', rule: 'attributeLength', fields: { subject: [[{ type: 'L', value: 'x'.repeat(65) }]] } },
  { name: 'noRevAvail with a distribution point', rule: 'noRevAvailAlone', parts: { none: encodeNoRevAvail(), cdp: encodeCrlDistributionPoints(['http://a/crl']) } },
  { name: 'noRevAvail against the profile', rule: 'noRevAvailByProfile', parts: { none: encodeNoRevAvail() } },
  { name: 'no noRevAvail against the profile', rule: 'noRevAvailByProfile', context: { profile: createProfile('short', { kind: 'agent', status: 'noRevAvail' }) } },
  { name: 'nameConstraints', rule: 'noNameConstraints', parts: { nc: encodeNameConstraints({ permittedDnsNames: ['a'] }) } },
];

const caRows: readonly Row[] = [
  { name: 'cA FALSE', rule: 'caTrue', parts: { basic: encodeBasicConstraints({ ca: false }) } },
  { name: 'a root with pathLen 0', rule: 'pathLen', parts: { basic: encodeBasicConstraints({ ca: true, pathLen: 0 }) } },
  { name: 'a root without pathLen', rule: 'pathLen', parts: { basic: encodeBasicConstraints({ ca: true }) } },
  { name: 'an issuing CA with pathLen 1', rule: 'pathLen', context: { profile: 'issuing' } },
  { name: 'digitalSignature besides', rule: 'caKeyUsage', parts: { usage: encodeKeyUsage(['digitalSignature', 'keyCertSign', 'cRLSign']) } },
  { name: 'no cRLSign', rule: 'caKeyUsage', parts: { usage: encodeKeyUsage(['keyCertSign']) } },
  { name: 'an empty subject', rule: 'caSubject', fields: { subject: [] }, parts: { san: encodeSubjectAltName({ dnsNames: ['a'] }, 'critical') } },
  { name: 'a root that is not self-issued', rule: 'selfIssued', fields: { subject: [[{ type: 'CN', value: 'Other' }]] } },
  { name: 'extendedKeyUsage on a CA', rule: 'caWithoutNames', parts: { eku: encodeExtendedKeyUsage(['clientAuth']) } },
  { name: 'nameConstraints that are not critical', rule: 'nameConstraintsCritical', parts: { nc: encodeExtension(EXTENSION.nameConstraints, 'nonCritical', sequence()) } },
];

const rulesOf = (tbs: Uint8Array, of: LintContext): string[] => lintTbs(tbs, of).map(({ rule }) => rule);

describe('lint', () => {
  it('finds nothing in what we mean to issue', () => {
    expect(lintTbs(tbsOf(fieldsOfLeaf, leafParts), { ...context, granted })).toEqual([]);
    expect(lintCertificate(signed(tbsOf(fieldsOfLeaf, leafParts)), { ...context, granted })).toEqual([]);
    expect(lintCertificate(root.der, { issuer: root, profile: 'root' })).toEqual([]);
    expect(lintTbs(tbsOf(fieldsOfRoot, caParts), { issuer: undefined, profile: 'root' })).toEqual([]);
  });
  it("finds nothing in the responder's own certificate", () => {
    const { san: _, ...others } = leafParts;
    const parts = { ...others, eku: encodeExtendedKeyUsage(['OCSPSigning']), nocheck: encodeOcspNoCheck() };
    expect(lintTbs(tbsOf(fieldsOfLeaf, parts), { ...context, profile: ocspProfile })).toEqual([]);
  });
  it('allows exactly the longest lifetime', () => {
    expect(rulesOf(tbsOf({ ...fieldsOfLeaf, notAfter: new Date('2026-11-22T11:59:59Z') }, leafParts), context)).toEqual([]);
  });
  it.each(leafRows)('finds $name', ({ rule, fields, parts, context: other }) => {
    expect(rulesOf(tbsOf({ ...fieldsOfLeaf, ...fields }, { ...leafParts, ...parts }), { ...context, ...other })).toContain(rule);
  });
  it.each(caRows)('finds $name', ({ rule, fields, parts, context: other }) => {
    expect(rulesOf(tbsOf({ ...fieldsOfRoot, ...fields }, { ...caParts, ...parts }), { issuer: root, profile: 'root', ...other })).toContain(rule);
  });

  it('finds UTCTime after 2049 and GeneralizedTime before', () => {
    const late = tbsOf({ ...fieldsOfRoot, notBefore: new Date('2026-01-01T00:00:00Z') }, caParts);
    expect(rulesOf(late, { issuer: root, profile: 'root' })).toEqual([]);
    const early = element(0x18, Buffer.from('20261121115900Z'));
    const utc = element(0x17, Buffer.from('261121115900Z'));
    const tbs = replaced(tbsOf(fieldsOfLeaf, leafParts), utc, early);
    expect(rulesOf(tbs, context)).toContain('timeForm');
  });
  it('finds version 1, and version 2, which with extensions is not even readable', () => {
    const withoutExtensions = tbsOf(fieldsOfLeaf, {});
    const start = new DerReader(withoutExtensions).enter().offset;
    // a0 03 02 01 02
    expect(lintCertificate(signed(element(0x30, withoutExtensions.subarray(start + 5))), context).map(({ rule }) => rule)).toContain('version');
    expect(rulesOf(replaced(tbsOf(fieldsOfLeaf, leafParts), element(0xa0, integer(2)), element(0xa0, integer(1))), context)).toEqual(['readable']);
  });
  it('finds an extension given twice', () => {
    expect(rulesOf(tbsOf(fieldsOfLeaf, { ...leafParts, again: leafParts['eku'] }), context)).toEqual(['readable']);
  });
  it('finds octets that are no certificate', () => {
    for (const octets of [new Uint8Array(0), Uint8Array.of(0x30, 0), new Uint8Array(100)]) expect(rulesOf(octets, context)).toEqual(['readable']);
  });
  it('finds, after signing, other octets than intended and a signature of somebody else', () => {
    const tbs = tbsOf(fieldsOfLeaf, leafParts);
    const other = tbsOf({ ...fieldsOfLeaf, serial: serial.toReversed() }, leafParts);
    expect(lintCertificate(signed(other), { ...context, intended: tbs }).map(({ rule }) => rule)).toEqual(['asIntended']);
    const forged = assembleSigned(tbs, signatureAlgorithmFor('p256'), signWith(subjectKey, tbs));
    expect(lintCertificate(forged, { ...context, intended: tbs }).map(({ rule }) => rule)).toEqual(['signature']);
  });
  it('says every broken rule in ERR_CA_LINT', async () => {
    const findings = lintTbs(tbsOf(fieldsOfLeaf, { ...leafParts, san: undefined, eku: undefined }), context);
    expect(await codeOfRefusal(() => requireClean(findings))).toBe('ERR_CA_LINT');
    expect(() => requireClean(findings)).toThrow(/extendedKeyUsage \(RFC 5280 §4\.2\.1\.12.*subjectAltName \(RFC 5280 §4\.2\.1\.6\)/);
  });
  it('has a row for every rule that octets of ours can break', () => {
    // Tested above, or (the second and third) broken only in octets the strict parser does not read.
    const elsewhere = new Set(['version', 'wholeSeconds', 'keyAlgorithm', 'timeForm']);
    const rows = new Set([...leafRows, ...caRows].map(({ rule }) => rule));
    expect(lintRules.map(({ name }) => name).filter((name) => !rows.has(name) && !elsewhere.has(name))).toEqual([]);
    expect(new Set(lintRules.map(({ name }) => name)).size).toBe(lintRules.length);
  });
});

/** The same extension, marked critical. */
function critical(extension: Uint8Array): Uint8Array {
  const content = extension.subarray(2);
  const oidLength = (content[1] ?? 0) + 2;
  return sequence(content.subarray(0, oidLength), Uint8Array.of(1, 1, 0xff), content.subarray(oidLength));
}

/** Octets with one part put in another's place, the outer length mended. */
function replaced(tbs: Uint8Array, part: Uint8Array, by: Uint8Array): Uint8Array {
  const octets = Buffer.from(tbs);
  const at = octets.indexOf(part);
  const content = Buffer.concat([octets.subarray(0, at), by, octets.subarray(at + part.length)]);
  const header = 4;
  // Both headers have two octets of length; a longer time lengthens the Validity around it too.
  const grown = by.length - part.length;
  if (grown !== 0) content[at - 1] = (content[at - 1] ?? 0) + grown;
  return element(0x30, content.subarray(header));
}
