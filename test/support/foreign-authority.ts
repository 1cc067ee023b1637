/** CAs as enterprises make them: no pathLen, short serials, further usages. */
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { keyAlgorithmOf, signWith, signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { encodeTbsCrl } from '../../ca/x509/crl.ts';
import type { TbsCrlFields } from '../../ca/x509/crl.ts';
import { encodeAuthorityKeyIdentifier, encodeBasicConstraints, encodeExtendedKeyUsage, encodeKeyUsage, encodeNameConstraints, encodeSubjectKeyIdentifier } from '../../ca/x509/extension.ts';
import type { KeyUsage, NameConstraintsInput } from '../../ca/x509/extension.ts';
import { encodeName } from '../../ca/x509/name.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { serialBytes } from './pki.ts';

export interface ForeignOptions {
  readonly ca?: boolean;
  readonly pathLen?: number;
  readonly keyUsage?: readonly KeyUsage[];
  readonly extendedKeyUsage?: readonly string[];
  readonly nameConstraints?: NameConstraintsInput;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

export interface ForeignAuthority {
  readonly certificate: Certificate;
  readonly key: KeyObject;
  readonly pem: string;
  readonly keyPem: string;
  crl(number: number, entries?: TbsCrlFields['entries'], times?: { readonly thisUpdate?: Date; readonly nextUpdate?: Date }): string;
}

/** Key identifiers of eight octets, so that none is what would be derived here. */
const keyIdentifier = (spki: Uint8Array): Uint8Array => spki.slice(-8);

export const foreignAuthority = (name: string, by: ForeignAuthority | undefined, options: ForeignOptions = {}): ForeignAuthority => {
  const { ca = true, pathLen, keyUsage = ['keyCertSign', 'cRLSign', 'digitalSignature'], extendedKeyUsage, nameConstraints, notBefore, notAfter } = options;
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const spki = spkiOf(key);
  const signer = by?.key ?? key;
  const algorithm = signatureAlgorithmFor(keyAlgorithmOf(signer));
  const subject = [[{ type: 'DC', value: 'example' }], [{ type: 'CN', value: name }]] as const;
  const tbs = encodeTbsCertificate({
    serial: serialBytes().subarray(0, 8), issuerName: by?.certificate.subjectNameDer ?? encodeName(subject), subject, notBefore: notBefore ?? new Date('2020-01-01T00:00:00Z'), notAfter: notAfter ?? new Date('2045-01-01T00:00:00Z'),
    spki, signatureAlgorithm: algorithm,
    extensions: [
      encodeBasicConstraints(pathLen === undefined ? { ca } : { ca, pathLen }),
      ...(keyUsage.length === 0 ? [] : [encodeKeyUsage(keyUsage)]),
      ...(extendedKeyUsage === undefined ? [] : [encodeExtendedKeyUsage(extendedKeyUsage)]),
      encodeSubjectKeyIdentifier(keyIdentifier(spki)),
      ...(by === undefined ? [] : [encodeAuthorityKeyIdentifier(keyIdentifier(by.certificate.spki))]),
      ...(nameConstraints === undefined ? [] : [encodeNameConstraints(nameConstraints)]),
    ],
  });
  const certificate = parseCertificate(assembleSigned(tbs, algorithm, signWith(signer, tbs)));
  const own = signatureAlgorithmFor(keyAlgorithmOf(key));
  return {
    key,
    certificate,
    pem: encodePem('CERTIFICATE', certificate.der),
    keyPem: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    crl: (number, entries = [], { thisUpdate = seconds(Date.now() - 60_000), nextUpdate = seconds(Date.now() + 86_400_000) } = {}) => {
      const list = encodeTbsCrl({ issuerName: certificate.subjectNameDer, signatureAlgorithm: own, crlNumber: number, thisUpdate, nextUpdate, authorityKeyIdentifier: keyIdentifier(spki), entries });
      return encodePem('X509 CRL', assembleSigned(list, own, signWith(key, list)));
    },
  };
};

const seconds = (millis: number): Date => new Date(Math.floor(millis / 1_000) * 1_000);
