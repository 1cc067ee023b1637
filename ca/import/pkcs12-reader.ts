/** PKCS#12 (RFC 7292) as other tools write it: its private keys and certificates, once the MAC holds. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { CaError } from '../errors.ts';
import { DerReader, TAG, contextTag } from '../x509/der.ts';
import { derOfBer } from './ber.ts';
import { bmpPassphrase, derivePkcs12 } from './pkcs12-kdf.ts';
import type { Pkcs12Hash } from './pkcs12-kdf.ts';
import { decryptPrivateKeyInfo, decryptWithPassphrase, derivedKey } from './password-encryption.ts';
import type { UnderPassphrase } from './password-encryption.ts';

export interface Pkcs12Content {
  /** DER PrivateKeyInfo. */
  readonly keys: readonly Uint8Array[];
  /** DER. */
  readonly certificates: readonly Uint8Array[];
}

/** @throws CaError `ERR_KEY_PASSPHRASE`, `ERR_KEY_UNREADABLE`, `ERR_DER_INVALID` */
export async function readPkcs12(input: Uint8Array, under: UnderPassphrase): Promise<Pkcs12Content> {
  const outer = new DerReader(derOfBer(input));
  const pfx = outer.enter();
  outer.finish();
  if (pfx.smallInteger() !== 3) throw unreadable('its version is not 3');
  const safe = contentOf(pfx.enter(), DATA);
  if (pfx.done) throw unreadable('it has no MAC, so that nobody can tell whether it was altered; export it again with one');
  await checkMac(pfx.enter(), safe, under);
  pfx.finish();
  const found: Found = { keys: [], certificates: [], bags: 0 };
  const list = new DerReader(derOfBer(safe)).enter();
  while (!list.done) await readSafe(list.enter(), found, under);
  return found;
}

interface Found {
  readonly keys: Uint8Array[];
  readonly certificates: Uint8Array[];
  bags: number;
}

/** A chain and its key are a handful; each bag may cost a derivation. */
const MAX_BAGS = 100;
const DATA = '1.2.840.113549.1.7.1';
const ENCRYPTED_DATA = '1.2.840.113549.1.7.6';
const BAG = { key: '1.2.840.113549.1.12.10.1.1', shroudedKey: '1.2.840.113549.1.12.10.1.2', certificate: '1.2.840.113549.1.12.10.1.3', safeContents: '1.2.840.113549.1.12.10.1.6' } as const;
const X509_CERTIFICATE = '1.2.840.113549.1.9.22.1';
const PBMAC1 = '1.2.840.113549.1.5.14';

const HASHES = new Map<string, Pkcs12Hash>([
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.4', 'sha224'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);
const HMACS = new Map<string, string>([
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);

/** The OCTET STRING in a ContentInfo of type data. */
function contentOf(info: DerReader, type: string): Uint8Array {
  const dotted = info.oid();
  if (dotted !== type) throw unreadable(dotted === '1.2.840.113549.1.7.2' ? 'it is signed rather than protected by a passphrase; export it again with a passphrase' : 'it does not hold what PKCS#12 prescribes');
  const content = info.enter(contextTag(0));
  info.finish();
  const octets = content.octetString();
  content.finish();
  return octets;
}

async function checkMac(mac: DerReader, content: Uint8Array, under: UnderPassphrase): Promise<void> {
  const digestInfo = mac.enter();
  const algorithm = digestInfo.enter();
  const expected = digestInfo.octetString();
  digestInfo.finish();
  const salt = mac.octetString();
  const iterations = mac.done ? 1 : mac.smallInteger();
  mac.finish();
  const dotted = algorithm.oid();
  let actual: Uint8Array;
  if (dotted === PBMAC1) actual = await pbmac1(algorithm.enter(), content, under);
  else {
    const name = HASHES.get(dotted);
    if (name === undefined) throw unreadable(`its MAC is of a kind that is not supported (${dotted})`);
    const length = { sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 }[name];
    const key = derivePkcs12({ hash: name, purpose: 3, passphrase: bmpPassphrase(under.passphrase), salt, iterations, length }, under.budget);
    actual = createHmac(name, key).update(content).digest();
  }
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) {
    throw new CaError('ERR_KEY_PASSPHRASE', 'it does not open with this passphrase, or was altered; check the passphrase, then export it again');
  }
}

/** RFC 9579. */
async function pbmac1(parameters: DerReader, content: Uint8Array, under: UnderPassphrase): Promise<Uint8Array> {
  const derivation = parameters.enter();
  const scheme = parameters.enter();
  parameters.finish();
  const name = HMACS.get(scheme.oid());
  if (name === undefined) throw unreadable('its MAC is of a kind that is not supported');
  // §4: keyLength is said, and is that of the hash with every writer known.
  const key = await derivedKey(derivation, { sha256: 32, sha384: 48, sha512: 64 }[name] ?? 32, under);
  return createHmac(name, key).update(content).digest();
}

async function readSafe(info: DerReader, found: Found, under: UnderPassphrase): Promise<void> {
  const dotted = info.oid();
  const content = info.enter(contextTag(0));
  info.finish();
  if (dotted === DATA) return readBags(content.octetString(), found, under);
  if (dotted !== ENCRYPTED_DATA) throw unreadable('a part of it is encrypted for a certificate rather than a passphrase; export it again with a passphrase');
  // RFC 5652 §8.
  const encryptedData = content.enter();
  encryptedData.smallInteger();
  const encrypted = encryptedData.enter();
  encrypted.oid();
  const algorithm = encrypted.enter();
  await readBags(await decryptWithPassphrase(algorithm, implicitOctets(encrypted), under), found, under);
}

/** `[0] IMPLICIT OCTET STRING`, in one piece or, from BER, in several. */
function implicitOctets(fields: DerReader): Uint8Array {
  if (fields.peek() === contextTag(0, 'primitive')) return fields.content(contextTag(0, 'primitive'));
  const pieces = fields.enter(contextTag(0));
  const parts: Uint8Array[] = [];
  while (!pieces.done) parts.push(pieces.octetString());
  return Buffer.concat(parts);
}

async function readBags(octets: Uint8Array, found: Found, under: UnderPassphrase): Promise<void> {
  const bags = new DerReader(derOfBer(octets)).enter();
  await readBagList(bags, found, under);
}

async function readBagList(bags: DerReader, found: Found, under: UnderPassphrase): Promise<void> {
  while (!bags.done) {
    if (++found.bags > MAX_BAGS) throw unreadable(`it holds more than ${MAX_BAGS} parts`);
    const bag = bags.enter();
    const kind = bag.oid();
    const value = bag.enter(contextTag(0));
    if (kind === BAG.key) found.keys.push(value.raw(TAG.sequence));
    else if (kind === BAG.shroudedKey) found.keys.push(await decryptPrivateKeyInfo(value.raw(TAG.sequence), under));
    else if (kind === BAG.certificate) {
      const certificate = value.enter();
      if (certificate.oid() === X509_CERTIFICATE) found.certificates.push(certificate.enter(contextTag(0)).octetString());
    } else if (kind === BAG.safeContents) await readBagList(value.enter(), found, under);
    // CRLs, secrets and what comes later are not ours; attributes say nothing that is relied on.
  }
}

const unreadable = (why: string): CaError => new CaError('ERR_KEY_UNREADABLE', `the PKCS#12 file cannot be used: ${why}`);
