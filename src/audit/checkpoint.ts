/**
 * Signed checkpoints: the C2SP signed-note form (https://c2sp.org/signed-note) holding a
 * tlog-checkpoint (https://c2sp.org/tlog-checkpoint), signed with an Ed25519 log key. Any witness or
 * monitor that speaks these forms can read ours.
 */
import { createPublicKey, hash, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import type { MerkleHash } from './merkle.ts';

export interface Checkpoint {
  /** Name of the log; also the name of the key that signs. */
  readonly origin: string;
  readonly size: number;
  readonly root: MerkleHash;
}

export interface CheckpointSigner {
  readonly origin: string;
  /** `name+hash+base64`, what a verifier is configured with. */
  readonly verifierKey: string;
  /** The signed note. */
  sign(tree: { size: number; root: MerkleHash }): string;
}

export type CheckpointVerdict = { readonly ok: true; readonly checkpoint: Checkpoint } | { readonly ok: false; readonly problem: string };

// signed-note: algorithm identifier of Ed25519 in key hashes and verifier keys.
const ed25519 = 0x01;
const keyHashLength = 4;
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** `origin` must not be empty and holds neither white space nor a plus sign (signed-note: key names). */
export const createCheckpointSigner = (options: { origin: string; privateKey: KeyObject }): CheckpointSigner => {
  const { origin, privateKey } = options;
  if (!isKeyName(origin)) throw new SallyportError('ERR_AUDIT_KEY', 'the name of the audit log must not be empty or contain white space or a plus sign; choose another name', { facts: { origin } });
  if (privateKey.type !== 'private' || privateKey.asymmetricKeyType !== 'ed25519') {
    throw new SallyportError('ERR_AUDIT_KEY', 'the audit log signs with an Ed25519 private key; create one with `sallyport init` or restore keys/audit.key.pem');
  }
  const publicKey = rawPublicKey(createPublicKey(privateKey));
  const keyHash = keyHashOf(origin, publicKey);
  return {
    origin,
    verifierKey: verifierKeyText(origin, publicKey),
    sign: ({ size, root }) => {
      const text = checkpointText({ origin, size, root });
      const signature = sign(null, Buffer.from(text, 'utf8'), privateKey);
      return `${text}\n\u2014 ${origin} ${Buffer.concat([keyHash, signature]).toString('base64')}\n`;
    },
  };
};

/** The text of a verifier key for a public log key. */
export const verifierKeyOf = (origin: string, publicKey: KeyObject): string => verifierKeyText(origin, rawPublicKey(publicKey));

/** Checks signature and form of a note. Signatures by other keys (witnesses) are passed over, as signed-note demands. */
export const verifyCheckpoint = (note: string, verifierKey: string): CheckpointVerdict => {
  const text = verifyNote(note, verifierKey);
  if (!text.ok) return text;
  const checkpoint = parseCheckpoint(text.text);
  if (checkpoint === undefined) return { ok: false, problem: 'the signed text is not a checkpoint' };
  // tlog-checkpoint: the origin is the name of the log, and our key carries the same name.
  if (checkpoint.origin !== nameOfVerifierKey(verifierKey)) return { ok: false, problem: 'the checkpoint is of another log' };
  return { ok: true, checkpoint };
};

/** The text of a note once one signature by `verifierKey` has proved right. */
export const verifyNote = (note: string, verifierKey: string): { readonly ok: true; readonly text: string } | { readonly ok: false; readonly problem: string } => {
  const key = parseVerifierKey(verifierKey);
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n')) return { ok: false, problem: 'not a signed note' };
  const text = note.slice(0, split + 1);
  let found = false;
  for (const line of note.slice(split + 2, -1).split('\n')) {
    const parts = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    if (parts === null) return { ok: false, problem: 'malformed signature line' };
    const octets = Buffer.from(parts[2] ?? '', 'base64');
    if (parts[1] !== key.name || Buffer.compare(octets.subarray(0, keyHashLength), key.hash) !== 0) continue;
    if (!verify(null, Buffer.from(text, 'utf8'), key.publicKey, octets.subarray(keyHashLength))) return { ok: false, problem: 'the signature does not verify' };
    found = true;
  }
  return found ? { ok: true, text } : { ok: false, problem: 'no signature by the log key' };
};

/** The checkpoint in a text or note, unverified: three lines, then optional extension lines. */
export const parseCheckpoint = (text: string): Checkpoint | undefined => {
  const [origin, size, root] = text.split('\n');
  if (origin === undefined || origin === '' || size === undefined || root === undefined) return undefined;
  // tlog-checkpoint: ASCII decimal without leading zeroes; standard Base64.
  if (!/^(0|[1-9][0-9]{0,15})$/.test(size) || !/^[A-Za-z0-9+/]{43}=$/.test(root)) return undefined;
  const octets = new Uint8Array(Buffer.from(root, 'base64'));
  return Number.isSafeInteger(Number(size)) ? { origin, size: Number(size), root: octets } : undefined;
};

const checkpointText = (checkpoint: Checkpoint): string => `${checkpoint.origin}\n${checkpoint.size}\n${Buffer.from(checkpoint.root).toString('base64')}\n`;

const verifierKeyText = (name: string, publicKey: Uint8Array): string =>
  `${name}+${keyHashOf(name, publicKey).toString('hex')}+${Buffer.from([ed25519, ...publicKey]).toString('base64')}`;

const parseVerifierKey = (text: string): { readonly name: string; readonly hash: Uint8Array; readonly publicKey: KeyObject } => {
  const parts = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text.trim());
  const octets = Buffer.from(parts?.[3] ?? '', 'base64');
  const name = parts?.[1] ?? '';
  if (parts === null || octets.length !== 33 || octets[0] !== ed25519 || keyHashOf(name, octets.subarray(1)).toString('hex') !== parts[2]) {
    throw new SallyportError('ERR_AUDIT_KEY', 'the verifier key is not of the form name+hash+base64 with an Ed25519 key; copy it again from `sallyport audit verify --json` or an export');
  }
  const publicKey = createPublicKey({ key: Buffer.concat([spkiPrefix, octets.subarray(1)]), format: 'der', type: 'spki' });
  return { name, hash: Buffer.from(parts[2] ?? '', 'hex'), publicKey };
};

const nameOfVerifierKey = (text: string): string => text.trim().split('+')[0] ?? '';

const keyHashOf = (name: string, publicKey: Uint8Array): Buffer =>
  hash('sha256', Buffer.concat([Buffer.from(`${name}\n`, 'utf8'), Buffer.of(ed25519), publicKey]), 'buffer').subarray(0, keyHashLength);

const rawPublicKey = (key: KeyObject): Uint8Array => {
  if (key.asymmetricKeyType !== 'ed25519') throw new SallyportError('ERR_AUDIT_KEY', 'the audit log key is not an Ed25519 key; restore keys/audit.key.pem');
  return key.export({ format: 'der', type: 'spki' }).subarray(spkiPrefix.length);
};

const isKeyName = (name: string): boolean => name !== '' && !/[\s+]/u.test(name);
