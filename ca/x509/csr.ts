/** Certification requests (RFC 2986, PKCS #10): made on the agent's machine, read strictly by the CA. */
import { hash } from 'node:crypto';
import { CaError } from '../errors.ts';
import { keyAlgorithmOf, signWith, signatureAlgorithmFor, spkiOf, verifySignature, verifySignatureAside } from './algorithm.ts';
import type { SignatureToVerify } from './algorithm.ts';
import { DerReader, TAG, contextTag, decodeAs, element, integer, invalid, oid, sequence, set } from './der.ts';
import {
  EXTENSION,
  encodeSubjectAltName,
  extensionValue,
  parseBasicConstraints,
  parseExtendedKeyUsage,
  parseKeyUsage,
  parseSubjectAltName,
  readExtensions,
} from './extension.ts';
import { encodeName, readName } from './name.ts';
import { derOf } from './pem.ts';
import { assembleSigned, checkSpki, readSigned } from './signed.ts';
import type { KeyObject } from 'node:crypto';
import type { Signer } from '../ports.ts';
import type { BasicConstraints, GeneralNamesInput, KeyUsage } from './extension.ts';
import type { DistinguishedName } from './name.ts';

/** What a request asks to be certified. Of all this only the key is taken; the rest is compared. */
export interface CsrContents extends GeneralNamesInput {
  readonly subject: DistinguishedName;
}

export interface CsrOptions extends GeneralNamesInput {
  /** Short for a subject of one CN. */
  readonly commonName?: string;
  readonly subject?: DistinguishedName;
}

export interface RequestedExtensions {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Alternative names of other kinds, complete DER. */
  readonly otherNames: readonly Uint8Array[];
  readonly basicConstraints: BasicConstraints | undefined;
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** OIDs of everything asked for, the above included. */
  readonly oids: readonly string[];
}

/** A request as it was read; `verifyCsr` checks that its sender holds the key. */
export interface Csr {
  readonly der: Uint8Array;
  /** CertificationRequestInfo: the signed octets. */
  readonly info: Uint8Array;
  readonly subjectNameDer: Uint8Array;
  readonly subject: DistinguishedName;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Lower-case hex SHA-256 of `spki`. */
  readonly spkiHash: string;
  readonly requested: RequestedExtensions;
  /** OIDs of attributes other than the extension request. */
  readonly otherAttributes: readonly string[];
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** Longest request read. */
export const MAX_CSR_OCTETS = 16 * 1024;
const MAX_ATTRIBUTES = 16;
/** PKCS #9 extensionRequest. */
const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';

/** Request signed by a key that may live elsewhere. */
export async function encodeCsr(contents: CsrContents, signer: Signer): Promise<Uint8Array> {
  const info = encodeInfo(contents, signer.spki);
  return assembleSigned(info, signatureAlgorithmFor(signer.algorithm), await signer.sign(info));
}

/** Request signed by a private key in this process. */
export function createCsr(privateKey: KeyObject, options: CsrOptions = {}): Uint8Array {
  if (options.commonName !== undefined && options.subject !== undefined) throw new TypeError('give either commonName or subject');
  const subject = options.subject ?? (options.commonName === undefined ? [] : [[{ type: 'CN', value: options.commonName }]]);
  const info = encodeInfo({ ...options, subject }, spkiOf(privateKey));
  return assembleSigned(info, signatureAlgorithmFor(keyAlgorithmOf(privateKey)), signWith(privateKey, info));
}

/** DER, or PEM with one `CERTIFICATE REQUEST` block. Refuses with `ERR_CSR_INVALID` or `ERR_PEM_INVALID`. */
export function parseCsr(input: Uint8Array | string): Csr {
  // Base64 with line ends is 4/3 of the octets; explanatory text is not worth more than as much again.
  if (input.length > MAX_CSR_OCTETS * 3) throw new CaError('ERR_CSR_INVALID', `the certificate request is longer than ${MAX_CSR_OCTETS} octets; send the request alone`);
  const der = derOf(input, 'CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST');
  return decodeAs('ERR_CSR_INVALID', 'certificate request', () => readCsr(der));
}

/** Proof of possession (RFC 2986 §4.2). Refuses with `ERR_CSR_SIGNATURE`. */
export function verifyCsr(csr: Csr): void {
  if (!verifySignature(proofOf(csr))) throw unproven(csr);
}

/** The same on a thread of the pool. */
export async function verifyCsrAside(csr: Csr): Promise<void> {
  if (!(await verifySignatureAside(proofOf(csr)))) throw unproven(csr);
}

const proofOf = (csr: Csr): SignatureToVerify => ({ spki: csr.spki, algorithm: csr.signatureAlgorithm, data: csr.info, signature: csr.signature });

const unproven = ({ spkiHash }: Csr): CaError =>
  new CaError('ERR_CSR_SIGNATURE', 'the certificate request is not signed by the key it asks to certify; make it again with that key', { facts: { spkiHash } });

function encodeInfo(contents: CsrContents, spki: Uint8Array): Uint8Array {
  const names = [contents.uris, contents.dnsNames, contents.emails, contents.ipAddresses];
  const wantsNames = names.some((list) => list !== undefined && list.length > 0);
  const attributes = wantsNames ? [sequence(oid(EXTENSION_REQUEST), set(sequence(encodeSubjectAltName(contents))))] : [];
  // RFC 2986 §4.1: attributes [0] IMPLICIT SET OF, present even when empty.
  return sequence(integer(0), encodeName(contents.subject), spki, element(contextTag(0), ...attributes));
}

function readCsr(der: Uint8Array): Csr {
  const { tbs: info, algorithm, signature } = readSigned(der, MAX_CSR_OCTETS);
  const fields = new DerReader(info).enter(TAG.sequence);
  if (fields.smallInteger() !== 0) throw invalid('unknown version', fields.offset);
  const start = fields.offset;
  const subject = readName(fields);
  const subjectNameDer = info.subarray(start, fields.offset);
  const spki = fields.raw(TAG.sequence);
  checkSpki(spki);
  const { requested, otherAttributes } = readAttributes(fields.enter(contextTag(0)));
  fields.finish();
  return { der, info, subjectNameDer, subject, spki, spkiHash: hash('sha256', spki, 'hex'), requested, otherAttributes, signatureAlgorithm: algorithm, signature };
}

function readAttributes(list: DerReader): { requested: RequestedExtensions; otherAttributes: readonly string[] } {
  const seen = new Set<string>();
  let requested = summarize(undefined);
  while (!list.done) {
    const at = list.offset;
    if (seen.size === MAX_ATTRIBUTES) throw invalid('more attributes than the limit', at);
    const attribute = list.enter(TAG.sequence);
    const type = attribute.oid();
    const values = attribute.enter(TAG.set);
    attribute.finish();
    if (seen.has(type)) throw invalid(`attribute ${type} appears twice`, at);
    seen.add(type);
    if (type === EXTENSION_REQUEST) {
      // RFC 2985 §5.4.2: a single value.
      requested = summarize(values);
      values.finish();
    } else {
      if (values.done) throw invalid('attribute without a value', at);
      while (!values.done) values.raw();
    }
  }
  seen.delete(EXTENSION_REQUEST);
  return { requested, otherAttributes: [...seen] };
}

function summarize(values: DerReader | undefined): RequestedExtensions {
  const extensions = values === undefined ? new Map<never, never>() : readExtensions(values);
  const names = extensionValue(extensions, EXTENSION.subjectAltName, parseSubjectAltName);
  return {
    uris: names?.uris ?? [],
    dnsNames: names?.dnsNames ?? [],
    emails: names?.emails ?? [],
    ipAddresses: names?.ipAddresses ?? [],
    otherNames: names?.others ?? [],
    basicConstraints: extensionValue(extensions, EXTENSION.basicConstraints, parseBasicConstraints),
    keyUsage: extensionValue(extensions, EXTENSION.keyUsage, parseKeyUsage),
    extendedKeyUsage: extensionValue(extensions, EXTENSION.extendedKeyUsage, parseExtendedKeyUsage),
    oids: [...extensions.keys()],
  };
}
