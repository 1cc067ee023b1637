/** A `Signer` on a key that never leaves its token; hashed here, signed there. */
import { hash, randomBytes } from 'node:crypto';
import type { PrivateKey, PublicKey, Session } from 'graphene-pk11';
import { CaError } from '../errors.ts';
import type { KeyAlgorithm, Signer } from '../ports.ts';
import { keyAlgorithmOfSpki } from '../x509/algorithm.ts';
import { DerReader, TAG, bitString, integer, nullValue, octetString, oid, sequence } from '../x509/der.ts';
import { Token } from './token.ts';
import { keyUriName, parseKeyUri } from './uri.ts';
import type { KeyUri, TokenOptions } from './uri.ts';

export interface TokenSigner extends Signer {
  readonly uri: KeyUri;
  /** Ends the session with the token; signing opens another. */
  close(): void;
}

/** @throws CaError `ERR_KEY_URI`, `ERR_KEY_TOKEN`, `ERR_KEY_PASSPHRASE`, `ERR_KEY_ALGORITHM` */
export async function openTokenSigner(text: string, options: TokenOptions = {}): Promise<TokenSigner> {
  const uri = parseKeyUri(text);
  const token = await Token.open(uri, options);
  const spki = await token.use((session) => {
    const { privateKey, publicKey } = token.find(session);
    if (privateKey === undefined) throw new CaError('ERR_KEY_TOKEN', `there is no private key ${keyUriName(uri)} on the token; make one with sallyport init --key-uri or with pkcs11-tool`);
    return spkiOfToken(token, { privateKey, publicKey }, uri);
  });
  return signerOn(token, uri, spki);
}

/** The key that the URI names; made on the token, not to be extracted, when there is none. */
export async function openOrMakeTokenSigner(text: string, algorithm: KeyAlgorithm, options: TokenOptions = {}): Promise<TokenSigner> {
  const uri = parseKeyUri(text);
  const generation = generations[algorithm];
  if (generation === undefined) throw new CaError('ERR_KEY_ALGORITHM', `tokens make no ${algorithm} keys here; use one of ${Object.keys(generations).join(', ')}`);
  const token = await Token.open(uri, options);
  await token.use((session) => (token.find(session).privateKey === undefined ? makeKey(session, uri, generation) : undefined));
  const signer = await openTokenSigner(text, options);
  token.close();
  if (signer.algorithm !== algorithm) throw new CaError('ERR_KEY_ALGORITHM', `${keyUriName(uri)} is a ${signer.algorithm} key, not ${algorithm}; say so, or name another key`);
  return signer;
}

interface Generation {
  readonly mechanism: string;
  readonly publicTemplate: object;
}

// RFC 5480 §2.1.1.1 curves, as CKA_EC_PARAMS holds them.
const P256 = oid('1.2.840.10045.3.1.7');
const P384 = oid('1.3.132.0.34');
const rsa = (modulusBits: number): Generation => ({ mechanism: 'RSA_PKCS_KEY_PAIR_GEN', publicTemplate: { modulusBits, publicExponent: Buffer.from([1, 0, 1]) } });

const generations: Partial<Readonly<Record<KeyAlgorithm, Generation>>> = {
  p256: { mechanism: 'ECDSA_KEY_PAIR_GEN', publicTemplate: { paramsECDSA: Buffer.from(P256) } },
  p384: { mechanism: 'ECDSA_KEY_PAIR_GEN', publicTemplate: { paramsECDSA: Buffer.from(P384) } },
  rsa3072: rsa(3072),
  rsa4096: rsa(4096),
};

function makeKey(session: Session, uri: KeyUri, { mechanism, publicTemplate }: Generation): Promise<void> {
  const name = { token: true, label: uri.object ?? 'sallyport', id: Buffer.from(uri.id ?? randomBytes(8)) };
  return new Promise((resolve, reject) => {
    session.generateKeyPair(
      mechanism,
      { ...name, ...publicTemplate, verify: true },
      { ...name, private: true, sensitive: true, extractable: false, sign: true },
      (error: Error | null) => (error === null || error === undefined ? resolve() : reject(error)),
    );
  });
}

function spkiOfToken(token: Token, { privateKey, publicKey }: { readonly privateKey: PrivateKey; readonly publicKey: PublicKey | undefined }, uri: KeyUri): Uint8Array {
  const { KeyType } = token.graphene;
  // The private object has modulus and exponent too, but the point of an elliptic curve is with the public one alone.
  const from = publicKey ?? privateKey;
  const read = (name: 'modulus' | 'publicExponent' | 'paramsECDSA' | 'pointEC'): Uint8Array => {
    try {
      return (from.getAttribute({ [name]: null })[name] as Buffer | null) ?? new Uint8Array();
    } catch (cause) {
      throw new CaError('ERR_KEY_TOKEN', `the token does not give the public key of ${keyUriName(uri)}; put its public key object beside it`, { cause });
    }
  };
  const type = Number(privateKey.getAttribute({ keyType: null }).keyType);
  let spki: Uint8Array;
  if (type === Number(KeyType.RSA)) spki = sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(sequence(integer(read('modulus')), integer(read('publicExponent')))));
  else if (type === Number(KeyType.EC)) spki = sequence(sequence(oid('1.2.840.10045.2.1'), read('paramsECDSA')), bitString(pointOf(read('pointEC'))));
  else throw new CaError('ERR_KEY_ALGORITHM', `${keyUriName(uri)} is of a kind that is not supported on tokens; use P-256, P-384 or RSA`);
  keyAlgorithmOfSpki(spki);
  return spki;
}

/** PKCS#11 §2.3.3 wants the point in an OCTET STRING; some tokens give it bare. */
function pointOf(attribute: Uint8Array): Uint8Array {
  if (attribute[0] !== TAG.octetString) return attribute;
  try {
    const reader = new DerReader(attribute);
    const point = reader.octetString();
    reader.finish();
    return point;
  } catch {
    return attribute;
  }
}

function signerOn(token: Token, uri: KeyUri, spki: Uint8Array): TokenSigner {
  const algorithm = keyAlgorithmOfSpki(spki);
  const prepare = preparations[algorithm];
  if (prepare === undefined) throw new CaError('ERR_KEY_ALGORITHM', `${algorithm} keys on tokens are not supported; use P-256, P-384 or RSA`);
  const { mechanism, input, output } = prepare;
  // Handles are those of one session.
  const known = new WeakMap<Session, PrivateKey>();
  return {
    uri,
    spki,
    algorithm,
    sign: async (data) => {
      const prepared = input(data);
      const signature = await token.use((session) => {
        const privateKey = known.get(session) ?? token.find(session).privateKey;
        if (privateKey === undefined) throw new CaError('ERR_KEY_TOKEN', `${keyUriName(uri)} is no longer on the token; restore it`);
        known.set(session, privateKey);
        return once(session, mechanism, privateKey, prepared);
      });
      return output(signature);
    },
    close: () => token.close(),
  };
}

function once(session: Session, mechanism: string, key: PrivateKey, data: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    session.createSign(mechanism, key).once(Buffer.from(data), (error: Error | null, signature: Buffer) => (error === null || error === undefined ? resolve(new Uint8Array(signature)) : reject(error)));
  });
}

interface Preparation {
  readonly mechanism: string;
  /** What the token is asked to sign. */
  readonly input: (data: Uint8Array) => Uint8Array;
  /** The form X.509 carries. */
  readonly output: (signature: Uint8Array) => Uint8Array;
}

/** RFC 8017 §9.2: DigestInfo, which CKM_RSA_PKCS pads and signs. */
const digestInfo = (data: Uint8Array): Uint8Array => sequence(sequence(oid('2.16.840.1.101.3.4.2.1'), nullValue()), octetString(hash('sha256', data, 'buffer')));
/** RFC 3279 §2.2.3: Ecdsa-Sig-Value of the two halves that CKM_ECDSA gives. */
const ecdsaValue = (signature: Uint8Array): Uint8Array => sequence(integer(signature.subarray(0, signature.length / 2)), integer(signature.subarray(signature.length / 2)));
const unchanged = (signature: Uint8Array): Uint8Array => signature;
const rsaPreparation: Preparation = { mechanism: 'RSA_PKCS', input: digestInfo, output: unchanged };

const preparations: Partial<Readonly<Record<KeyAlgorithm, Preparation>>> = {
  p256: { mechanism: 'ECDSA', input: (data) => hash('sha256', data, 'buffer'), output: ecdsaValue },
  p384: { mechanism: 'ECDSA', input: (data) => hash('sha384', data, 'buffer'), output: ecdsaValue },
  rsa2048: rsaPreparation,
  rsa3072: rsaPreparation,
  rsa4096: rsaPreparation,
};
