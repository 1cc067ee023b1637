/** Chains of certificates with anything wrong in them, signed with a few keys that are made once. */
import { signWith, signatureAlgorithmFor, keyAlgorithmOf, spkiOf } from '../../../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate } from '../../../../ca/x509/certificate.ts';
import { encodeTbsCrl, parseCrl } from '../../../../ca/x509/crl.ts';
import { contextTag, element, explicit, implicit, integer, oid, sequence } from '../../../../ca/x509/der.ts';
import {
  EXTENSION,
  encodeAuthorityKeyIdentifier,
  encodeBasicConstraints,
  encodeExtendedKeyUsage,
  encodeExtension,
  encodeKeyUsage,
  encodeSubjectAltName,
  encodeSubjectKeyIdentifier,
  keyIdentifierOf,
} from '../../../../ca/x509/extension.ts';
import { encodeName } from '../../../../ca/x509/name.ts';
import { verifyPath } from '../../../../ca/x509/path/verify-path.ts';
import { newSerial, makeKey } from '../authority-fixture.ts';
import type { KeyObject } from 'node:crypto';
import type { Certificate } from '../../../../ca/x509/certificate.ts';
import type { Crl, TbsCrlFields } from '../../../../ca/x509/crl.ts';
import type { Criticality, GeneralNamesInput, KeyUsage } from '../../../../ca/x509/extension.ts';
import type { DistinguishedName } from '../../../../ca/x509/name.ts';
import type { PathOptions } from '../../../../ca/x509/path/verify-path.ts';

export const AT = new Date('2026-11-21T12:00:00Z');
export const FROM = new Date('2026-01-01T00:00:00Z');
export const UNTIL = new Date('2027-01-01T00:00:00Z');

const keys = Array.from({ length: 8 }, () => makeKey('p256'));
/** One of eight P-256 keys. */
export const keyNumber = (number: number): KeyObject => keys[number % keys.length] ?? makeKey('p256');

export interface Issued {
  readonly certificate: Certificate;
  readonly key: KeyObject;
}

export interface CertificateParts {
  readonly issuer?: Issued | undefined;
  readonly subject?: DistinguishedName | string;
  readonly key?: KeyObject;
  /** Another key than the issuer's. */
  readonly signedWith?: KeyObject;
  readonly issuerName?: DistinguishedName;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Null leaves an extension out. */
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLen?: number } | null;
  readonly keyUsage?: readonly KeyUsage[] | null;
  readonly extendedKeyUsage?: readonly string[] | null;
  readonly names?: GeneralNamesInput | null;
  readonly keyIdentifiers?: 'present' | 'absent';
  readonly authorityKeyIdentifier?: Uint8Array;
  /** Complete DER Extensions. */
  readonly extensions?: readonly Uint8Array[];
}

export const named = (commonName: string): DistinguishedName => [[{ type: 'O', value: 'Acme' }], [{ type: 'CN', value: commonName }]];

const issue = (parts: CertificateParts, usual: readonly Uint8Array[]): Issued => {
  const key = parts.key ?? keyNumber(7);
  const subject = typeof parts.subject === 'string' ? named(parts.subject) : (parts.subject ?? named('agent-7'));
  const signer = parts.signedWith ?? parts.issuer?.key ?? key;
  const signatureAlgorithm = signatureAlgorithmFor(keyAlgorithmOf(signer));
  const spki = spkiOf(key);
  const issuerSpki = parts.issuer === undefined ? spki : parts.issuer.certificate.spki;
  const tbs = encodeTbsCertificate({
    serial: newSerial(),
    issuerName: parts.issuerName === undefined ? (parts.issuer?.certificate.subjectNameDer ?? encodeName(subject)) : encodeName(parts.issuerName),
    subject,
    notBefore: parts.notBefore ?? FROM,
    notAfter: parts.notAfter ?? UNTIL,
    spki,
    signatureAlgorithm,
    extensions: [
      ...usual,
      ...(parts.keyIdentifiers === 'absent' ? [] : [encodeSubjectKeyIdentifier(keyIdentifierOf(spki)), encodeAuthorityKeyIdentifier(parts.authorityKeyIdentifier ?? keyIdentifierOf(issuerSpki))]),
      ...(parts.extensions ?? []),
    ],
  });
  return { certificate: parseCertificate(assembleSigned(tbs, signatureAlgorithm, signWith(signer, tbs))), key };
};

const optional = <T>(value: T | null | undefined, usual: T, encode: (value: T) => Uint8Array): readonly Uint8Array[] => (value === null ? [] : [encode(value ?? usual)]);

/** A CA, self-signed without an issuer. */
export const authority = (subject: DistinguishedName | string, parts: CertificateParts = {}): Issued =>
  issue({ ...parts, subject }, [
    ...optional(parts.basicConstraints, { ca: true }, encodeBasicConstraints),
    ...optional(parts.keyUsage, ['keyCertSign', 'cRLSign'], encodeKeyUsage),
    ...(parts.extendedKeyUsage ? [encodeExtendedKeyUsage(parts.extendedKeyUsage)] : []),
  ]);

export const leaf = (issuer: Issued | undefined, parts: CertificateParts = {}): Issued =>
  issue({ ...parts, issuer }, [
    ...optional(parts.basicConstraints, { ca: false }, encodeBasicConstraints),
    ...optional(parts.keyUsage, ['digitalSignature'], encodeKeyUsage),
    ...optional(parts.extendedKeyUsage, ['clientAuth'], encodeExtendedKeyUsage),
    ...optional(parts.names, { uris: ['spiffe://acme.test/agent/agent-7'] }, (names) => encodeSubjectAltName(names)),
  ]);

export const crlOf = (issuer: Issued, fields: Partial<TbsCrlFields> & { readonly signedWith?: KeyObject } = {}): Crl => {
  const { signedWith = issuer.key, ...rest } = fields;
  const signatureAlgorithm = signatureAlgorithmFor(keyAlgorithmOf(signedWith));
  const tbs = encodeTbsCrl({
    issuerName: issuer.certificate.subjectNameDer,
    signatureAlgorithm,
    thisUpdate: new Date(AT.getTime() - 60_000),
    nextUpdate: new Date(AT.getTime() + 86_400_000),
    crlNumber: 1n,
    authorityKeyIdentifier: keyIdentifierOf(issuer.certificate.spki),
    entries: [],
    ...rest,
  });
  return parseCrl(assembleSigned(tbs, signatureAlgorithm, signWith(signedWith, tbs)));
};

/** Root, issuing CA and leaf with nothing wrong. */
export const root = authority('Root', { key: keyNumber(0) });
export const issuing = authority('Issuing', { issuer: root, key: keyNumber(1), basicConstraints: { ca: true, pathLen: 0 } });

/** `ok`, or the code; without a word about status unless `status` is given. */
export const judge = (certificate: Certificate, options: Partial<PathOptions> = {}): string => {
  const verdict = verifyPath(certificate, { anchors: [root.certificate], intermediates: [issuing.certificate], at: AT, purpose: 'client', ...(options.status === undefined ? { onUnknownStatus: 'allow' } : {}), ...options });
  return verdict.ok ? 'ok' : verdict.code;
};

export type Base =
  | { readonly kind: 'email' | 'dns' | 'uri'; readonly base: string }
  | { readonly kind: 'ip'; readonly base: readonly number[] }
  | { readonly kind: 'directory'; readonly base: DistinguishedName }
  | { readonly kind: 'other'; readonly base?: undefined };

/** nameConstraints of every kind of name. */
export const constraints = (lists: { readonly permitted?: readonly Base[]; readonly excluded?: readonly Base[] }, criticality: Criticality = 'critical'): Uint8Array => {
  const list = (number: number, bases: readonly Base[] | undefined) => (bases === undefined ? [] : [implicit(number, sequence(...bases.map((base) => sequence(generalName(base)))))]);
  return encodeExtension(EXTENSION.nameConstraints, criticality, sequence(...list(0, lists.permitted), ...list(1, lists.excluded)));
};

export const generalName = (name: Base): Uint8Array => {
  switch (name.kind) {
    case 'email':
      return element(contextTag(1, 'primitive'), Buffer.from(name.base));
    case 'dns':
      return element(contextTag(2, 'primitive'), Buffer.from(name.base));
    case 'uri':
      return element(contextTag(6, 'primitive'), Buffer.from(name.base));
    case 'ip':
      return element(contextTag(7, 'primitive'), Uint8Array.from(name.base));
    case 'directory':
      return explicit(4, encodeName(name.base));
    case 'other':
      return element(contextTag(0), oid('1.3.6.1.4.1.311.20.2.3'), explicit(0, integer(1)));
  }
};

export const policies = (oids: readonly string[], criticality: Criticality = 'nonCritical'): Uint8Array => encodeExtension(EXTENSION.certificatePolicies, criticality, sequence(...oids.map((one) => sequence(oid(one)))));

export const policyMappings = (pairs: readonly (readonly [string, string])[]): Uint8Array => encodeExtension(EXTENSION.policyMappings, 'critical', sequence(...pairs.map(([from, to]) => sequence(oid(from), oid(to)))));

export const policyConstraints = (skips: { readonly require?: number; readonly inhibit?: number }): Uint8Array =>
  encodeExtension(EXTENSION.policyConstraints, 'critical', sequence(...(skips.require === undefined ? [] : [implicit(0, integer(skips.require))]), ...(skips.inhibit === undefined ? [] : [implicit(1, integer(skips.inhibit))])));

export const inhibitAnyPolicy = (skip: number): Uint8Array => encodeExtension(EXTENSION.inhibitAnyPolicy, 'critical', integer(skip));
