/** A certificate hierarchy for tests, made in a few milliseconds, with every wrong certificate one may need. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { RevocationReason } from '../../ca/ports.ts';
import { keyAlgorithmOf, signWith, signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate, parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { encodeTbsCrl } from '../../ca/x509/crl.ts';
import type { TbsCrlFields } from '../../ca/x509/crl.ts';
import {
  EXTENDED_KEY_USAGE, encodeAuthorityKeyIdentifier, encodeBasicConstraints, encodeCrlDistributionPoints, encodeExtendedKeyUsage, encodeKeyUsage,
  encodeSubjectAltName, encodeSubjectKeyIdentifier, keyIdentifierOf,
} from '../../ca/x509/extension.ts';
import type { GeneralNamesInput, KeyUsage } from '../../ca/x509/extension.ts';
import { encodeName } from '../../ca/x509/name.ts';
import type { DistinguishedName } from '../../ca/x509/name.ts';
import { encodePem } from '../../ca/x509/pem.ts';

export interface TestIdentity {
  readonly certificate: Certificate;
  readonly key: KeyObject;
  readonly keyPem: string;
  /** The certificate alone. */
  readonly certPem: string;
  /** The certificate and its issuing CAs below the root. */
  readonly chainPem: string;
}

export interface LeafOptions {
  readonly commonName?: string;
  readonly organizationalUnits?: readonly string[];
  readonly serial?: Uint8Array;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Default: one URI `spiffe://test.internal/agent/<commonName>`. `{}` leaves the extension out. */
  readonly names?: GeneralNamesInput;
  /** Default digitalSignature; an empty list leaves the extension out. */
  readonly keyUsage?: readonly KeyUsage[];
  /** Default clientAuth; an empty list leaves the extension out. */
  readonly extendedKeyUsage?: readonly string[];
  readonly ca?: boolean;
  readonly authorityKeyIdentifier?: 'issuer' | 'absent';
  readonly distributionPoints?: readonly string[];
  /** Complete DER Extensions. */
  readonly furtherExtensions?: readonly Uint8Array[];
}

export interface TestCa extends TestIdentity {
  leaf(options?: LeafOptions): TestIdentity;
  server(hosts?: readonly string[]): TestIdentity;
  /** A CA below this one. */
  subordinate(commonName: string, options?: { readonly notAfter?: Date }): TestCa;
  /** DER of a CRL signed by this CA. */
  crl(options: {
    readonly entries: TbsCrlFields['entries']; readonly crlNumber?: number; readonly thisUpdate?: Date; readonly nextUpdate?: Date; readonly idp?: TbsCrlFields['idp']; readonly baseCrlNumber?: number;
  }): Uint8Array;
}

export interface TestPki {
  readonly root: TestCa;
  readonly issuing: TestCa;
}

export const createTestPki = (name = 'Test'): TestPki => {
  const root = createCa(`${name} Root`, undefined);
  return { root, issuing: root.subordinate(`${name} Issuing`) };
};

export const serialBytes = (): Uint8Array => Uint8Array.from([1 + ((randomBytes(1)[0] ?? 0) % 0x7f), ...randomBytes(18)]);

export const revokedEntry = (of: TestIdentity, reason: RevocationReason = 'keyCompromise') =>
  ({ serial: of.certificate.serial, revokedAt: new Date(Date.now() - 1000), reason });

const DAY_MS = 86_400_000;
const seconds = (ms: number): Date => new Date(Math.floor(ms / 1000) * 1000);

const createCa = (commonName: string, parent: { readonly ca: TestIdentity; readonly chain: string } | undefined, notAfter?: Date): TestCa => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject: DistinguishedName = [[{ type: 'O', value: 'Test' }], [{ type: 'CN', value: commonName }]];
  const spki = spkiOf(privateKey);
  const certificate = sign({
    subject, spki, signer: parent?.ca.key ?? privateKey, issuerName: parent?.ca.certificate.subjectNameDer ?? encodeName(subject),
    serial: serialBytes(), notBefore: seconds(Date.now() - DAY_MS), notAfter: notAfter ?? seconds(Date.now() + 3650 * DAY_MS),
    extensions: [
      encodeBasicConstraints({ ca: true, pathLen: parent === undefined ? 1 : 0 }),
      encodeKeyUsage(['keyCertSign', 'cRLSign']),
      encodeSubjectKeyIdentifier(keyIdentifierOf(spki)),
      encodeAuthorityKeyIdentifier(keyIdentifierOf(parent?.ca.certificate.spki ?? spki)),
    ],
  });
  const certPem = encodePem('CERTIFICATE', certificate.der);
  // The root is not sent: whoever trusts it has it.
  const chain = parent === undefined ? '' : certPem + parent.chain;
  const self: TestCa = {
    certificate, key: privateKey, keyPem: pemOf(privateKey), certPem, chainPem: chain === '' ? certPem : chain,
    leaf: (options = {}) => createLeaf({ ca: self, chain }, options),
    server: (hosts = ['localhost']) =>
      createLeaf({ ca: self, chain }, { commonName: hosts[0] ?? 'localhost', names: { dnsNames: hosts, ipAddresses: ['127.0.0.1'] }, extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] }),
    subordinate: (name, options = {}) => createCa(name, { ca: self, chain }, options.notAfter),
    crl: (options) => {
      const algorithm = signatureAlgorithmFor(keyAlgorithmOf(privateKey));
      const tbs = encodeTbsCrl({
        issuerName: certificate.subjectNameDer, signatureAlgorithm: algorithm, crlNumber: options.crlNumber ?? 1,
        thisUpdate: options.thisUpdate ?? seconds(Date.now() - 60_000), nextUpdate: options.nextUpdate ?? seconds(Date.now() + DAY_MS),
        authorityKeyIdentifier: keyIdentifierOf(spki), entries: options.entries, idp: options.idp, baseCrlNumber: options.baseCrlNumber,
      });
      return assembleSigned(tbs, algorithm, signWith(privateKey, tbs));
    },
  };
  return self;
};

const createLeaf = ({ ca, chain }: { readonly ca: TestIdentity; readonly chain: string }, options: LeafOptions): TestIdentity => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const commonName = options.commonName ?? 'agent-7';
  const spki = spkiOf(privateKey);
  const names = options.names ?? { uris: [`spiffe://test.internal/agent/${commonName}`] };
  const keyUsage = options.keyUsage ?? ['digitalSignature'];
  const extendedKeyUsage = options.extendedKeyUsage ?? [EXTENDED_KEY_USAGE.clientAuth];
  const certificate = sign({
    subject: [[{ type: 'O', value: 'Test' }], ...(options.organizationalUnits ?? []).map((value) => [{ type: 'OU', value }]), [{ type: 'CN', value: commonName }]],
    spki, signer: ca.key, issuerName: ca.certificate.subjectNameDer, serial: options.serial ?? serialBytes(),
    notBefore: options.notBefore ?? seconds(Date.now() - 60_000), notAfter: options.notAfter ?? seconds(Date.now() + DAY_MS),
    extensions: [
      encodeBasicConstraints({ ca: options.ca ?? false }),
      ...(keyUsage.length === 0 ? [] : [encodeKeyUsage(keyUsage)]),
      ...(extendedKeyUsage.length === 0 ? [] : [encodeExtendedKeyUsage(extendedKeyUsage)]),
      ...(Object.keys(names).length === 0 ? [] : [encodeSubjectAltName(names)]),
      encodeSubjectKeyIdentifier(keyIdentifierOf(spki)),
      ...(options.authorityKeyIdentifier === 'absent' ? [] : [encodeAuthorityKeyIdentifier(keyIdentifierOf(ca.certificate.spki))]),
      ...(options.distributionPoints === undefined ? [] : [encodeCrlDistributionPoints(options.distributionPoints)]),
      ...(options.furtherExtensions ?? []),
    ],
  });
  const certPem = encodePem('CERTIFICATE', certificate.der);
  return { certificate, key: privateKey, keyPem: pemOf(privateKey), certPem, chainPem: certPem + chain };
};

interface ToSign {
  readonly subject: DistinguishedName;
  readonly spki: Uint8Array;
  readonly signer: KeyObject;
  readonly issuerName: Uint8Array;
  readonly serial: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly Uint8Array[];
}

const sign = ({ signer, ...fields }: ToSign): Certificate => {
  const signatureAlgorithm = signatureAlgorithmFor(keyAlgorithmOf(signer));
  const tbs = encodeTbsCertificate({ ...fields, signatureAlgorithm });
  return parseCertificate(assembleSigned(tbs, signatureAlgorithm, signWith(signer, tbs)));
};

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
