/** A CA and its certificates, requests and CRLs, made with the code under test and judged by others. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { signWith, signatureAlgorithmFor, spkiOf } from '../../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate } from '../../../ca/x509/certificate.ts';
import { encodeTbsCrl } from '../../../ca/x509/crl.ts';
import {
  encodeAuthorityKeyIdentifier,
  encodeBasicConstraints,
  encodeCrlDistributionPoints,
  encodeExtendedKeyUsage,
  encodeKeyUsage,
  encodeSubjectAltName,
  encodeSubjectKeyIdentifier,
  keyIdentifierOf,
} from '../../../ca/x509/extension.ts';
import { encodeName } from '../../../ca/x509/name.ts';
import { generateSerial } from '../../../ca/x509/serial.ts';
import type { KeyObject } from 'node:crypto';
import type { KeyAlgorithm } from '../../../ca/ports.ts';
import type { Certificate } from '../../../ca/x509/certificate.ts';
import type { TbsCrlFields } from '../../../ca/x509/crl.ts';
import type { DistinguishedName } from '../../../ca/x509/name.ts';

export const ALGORITHMS = ['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-65'] as const satisfies readonly KeyAlgorithm[];
export const NOW = new Date('2026-11-21T12:00:00Z');
export const DAY = 86_400_000;
/** Long, because certtool judges by the clock of the machine. Crosses 2050, where the form of times changes. */
export const VALID = { from: new Date('2020-01-01T00:00:00Z'), to: new Date('2055-01-01T00:00:00Z') } as const;
export const AGENT_NAME: DistinguishedName = [
  [{ type: 'O', value: 'Acmé' }],
  [
    { type: 'OU', value: 'analytics' },
    { type: 'OU', value: 'platform' },
  ],
  [{ type: 'CN', value: 'agent-7' }],
];

export function makeKey(algorithm: KeyAlgorithm): KeyObject {
  switch (algorithm) {
    case 'p256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    case 'p384':
      return generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    case 'ed25519':
      return generateKeyPairSync('ed25519').privateKey;
    case 'ml-dsa-44':
      return generateKeyPairSync('ml-dsa-44').privateKey;
    case 'ml-dsa-65':
      return generateKeyPairSync('ml-dsa-65').privateKey;
    case 'ml-dsa-87':
      return generateKeyPairSync('ml-dsa-87').privateKey;
    default:
      return generateKeyPairSync('rsa', { modulusLength: Number(algorithm.slice(3)) }).privateKey;
  }
}

export interface Fixture {
  readonly key: KeyObject;
  readonly algorithm: KeyAlgorithm;
  readonly signatureAlgorithm: Uint8Array;
  readonly certificate: Certificate;
}

export function newSerial(): Uint8Array {
  return generateSerial({ bytes: (length) => randomBytes(length) });
}

/** A self-signed CA; `extensions` replaces keyUsage and basicConstraints. */
export function makeCa(algorithm: KeyAlgorithm, options: { name?: DistinguishedName; extensions?: readonly Uint8Array[] } = {}): Fixture {
  const key = makeKey(algorithm);
  const spki = spkiOf(key);
  const signatureAlgorithm = signatureAlgorithmFor(algorithm);
  const subject = options.name ?? [[{ type: 'CN', value: 'Test CA' }]];
  const tbs = encodeTbsCertificate({
    serial: newSerial(),
    issuerName: encodeName(subject),
    subject,
    notBefore: VALID.from,
    notAfter: VALID.to,
    spki,
    signatureAlgorithm,
    extensions: [
      ...(options.extensions ?? [encodeBasicConstraints({ ca: true }), encodeKeyUsage(['keyCertSign', 'cRLSign'])]),
      encodeSubjectKeyIdentifier(keyIdentifierOf(spki)),
    ],
  });
  return { key, algorithm, signatureAlgorithm, certificate: parseCertificate(assembleSigned(tbs, signatureAlgorithm, signWith(key, tbs))) };
}

/** An agent's certificate under `ca`. `extensions` are added to the usual ones. */
export function makeLeaf(ca: Fixture, options: { spki?: Uint8Array; serial?: Uint8Array; isCa?: boolean; extensions?: readonly Uint8Array[] } = {}): Uint8Array {
  const spki = options.spki ?? spkiOf(makeKey('p256'));
  const tbs = encodeTbsCertificate({
    serial: options.serial ?? newSerial(),
    issuerName: ca.certificate.subjectNameDer,
    subject: AGENT_NAME,
    notBefore: VALID.from,
    notAfter: VALID.to,
    spki,
    signatureAlgorithm: ca.signatureAlgorithm,
    extensions: [
      encodeBasicConstraints({ ca: options.isCa ?? false }),
      encodeKeyUsage(['digitalSignature']),
      encodeExtendedKeyUsage(['clientAuth']),
      encodeSubjectKeyIdentifier(keyIdentifierOf(spki)),
      encodeAuthorityKeyIdentifier(keyIdentifierOf(ca.certificate.spki)),
      encodeSubjectAltName({ uris: ['spiffe://example.test/agent/agent-7'] }),
      ...(options.extensions ?? [encodeCrlDistributionPoints(['http://example.test/issuing.crl'])]),
    ],
  });
  return assembleSigned(tbs, ca.signatureAlgorithm, signWith(ca.key, tbs));
}

export function makeCrl(ca: Fixture, fields: Partial<TbsCrlFields> = {}): Uint8Array {
  return signTbs(
    ca,
    encodeTbsCrl({
      issuerName: ca.certificate.subjectNameDer,
      signatureAlgorithm: ca.signatureAlgorithm,
      thisUpdate: NOW,
      nextUpdate: new Date(NOW.getTime() + DAY),
      crlNumber: 1n,
      authorityKeyIdentifier: keyIdentifierOf(ca.certificate.spki),
      entries: [],
      ...fields,
    }),
  );
}

/** Signs octets that no encoder of ours would make. */
export function signTbs(ca: Fixture, tbs: Uint8Array, outerAlgorithm = ca.signatureAlgorithm): Uint8Array {
  return assembleSigned(tbs, outerAlgorithm, signWith(ca.key, tbs));
}
