/**
 * Sealed texts: what the gateway hands out and wants back unchanged, from the same peer, without
 * keeping it. Event ids, cursors, request states and task ids of an upstream leave the gateway in this
 * form only.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import type { Clock, Randomness } from '../../ca/ports.ts';

export interface SealerOptions {
  /** 32 octets. Every gateway that must open the texts needs the same one. */
  readonly key: Uint8Array;
  /** Keys that open but no longer seal, for the time of a rotation. */
  readonly previousKeys?: readonly Uint8Array[];
  readonly randomness: Randomness;
  /** With a clock, sealing takes another key every day, derived from the same one. */
  readonly clock?: Clock;
}

/** Whose a sealed value is: a principal, whatever certificate or session it uses, on one upstream. */
export interface Owner {
  readonly principalId: string;
  readonly upstream: string;
}

/** The binding of what belongs to an owner, and there to a method, a name or whatever else is given. */
export const ownedBy = ({ principalId, upstream }: Owner, ...more: readonly string[]): string => JSON.stringify([principalId, upstream, ...more]);

/**
 * AES-256-GCM over a value, bound to a kind and a binding. A text opens only with the key, the kind
 * and the binding it was sealed with, and only letter by letter as it was given out.
 */
export class Sealer {
  readonly #keys: readonly Uint8Array[];
  readonly #randomness: Randomness;
  /** Keys in use, by salt, the oldest first. */
  readonly #derived = new Map<string, Buffer>();
  readonly #clock: Clock | undefined;
  #salt: Buffer;
  #sealed = 0;
  #sealsUntil = Number.POSITIVE_INFINITY;

  constructor(options: SealerOptions) {
    this.#keys = [options.key, ...(options.previousKeys ?? [])].map((key) => Uint8Array.from(key));
    if (this.#keys.some((key) => key.length !== keyLength)) throw new TypeError('a sealing key must have 32 octets');
    this.#randomness = options.randomness;
    this.#clock = options.clock;
    this.#salt = this.#newSalt();
  }

  seal(kind: string, binding: string, value: string): string {
    // NIST SP 800-38D §8.3: at most 2^32 random nonces for a key; we stay four times below.
    if (this.#sealed >= maxSealed || this.#now() >= this.#sealsUntil) {
      this.#salt = this.#newSalt();
      this.#sealed = 0;
    }
    this.#sealed += 1;
    const text = sealWith(this.#keyFor(0, this.#salt), this.#randomness.bytes(nonceLength), { data: associatedData(kind, binding), value });
    return Buffer.concat([this.#salt, text]).toString('base64url');
  }

  /**
   * As `seal`, but one kind, binding and value always give the same text, for what clients compare.
   * The nonce is a pseudo-random function of all that is encrypted or authenticated, as in SIV modes
   * (RFC 5297 §2): it repeats only where everything repeats, and then the text is the same and tells
   * nothing new. Two different values meet in one nonce as rarely as two random nonces do, and this key is
   * apart from every key whose nonces are random.
   */
  sealStable(kind: string, binding: string, value: string): string {
    const data = associatedData(kind, binding);
    // The length is in front already: `data` delimits itself, so no two pairs of data and value are one text.
    const nonce = createHmac('sha256', this.#keyFor(0, noSalt, 'nonce')).update(data).update(value, 'utf8').digest().subarray(0, nonceLength);
    return sealWith(this.#keyFor(0, noSalt, 'stable'), nonce, { data, value }).toString('base64url');
  }

  /** The value, or undefined when anything about the text, the kind, the binding or the key is off. */
  open(kind: string, binding: string, sealed: string): string | undefined {
    const bytes = Buffer.from(sealed, 'base64url');
    // Node reads base64url leniently; only the one spelling that was given out is ours.
    if (bytes.length < saltLength + nonceLength + tagLength || bytes.toString('base64url') !== sealed) return undefined;
    for (let index = 0; index < this.#keys.length; index += 1) {
      const value = openWith(this.#keyFor(index, bytes.subarray(0, saltLength)), associatedData(kind, binding), bytes.subarray(saltLength));
      if (value !== undefined) return value;
    }
    return undefined;
  }

  /**
   * As `open`, for texts of `sealStable`. A text that is none takes as long as one of somebody else: whether it
   * could be one is no reason to do less.
   */
  openStable(kind: string, binding: string, sealed: string): string | undefined {
    const given = Buffer.from(sealed, 'base64url');
    const isOurs = given.length >= nonceLength + tagLength && given.toString('base64url') === sealed;
    const bytes = isOurs ? given : nobodys;
    let value: string | undefined;
    for (let index = 0; index < this.#keys.length; index += 1) value ??= openWith(this.#keyFor(index, noSalt, 'stable'), associatedData(kind, binding), bytes);
    return isOurs ? value : undefined;
  }

  #now(): number {
    return this.#clock?.now().getTime() ?? 0;
  }

  /** The key of one salt: processes that share a master key never share a space of random nonces. */
  #keyFor(index: number, salt: Buffer, use: 'sealing' | 'stable' | 'nonce' = 'sealing'): Buffer {
    const name = `${index}:${use}:${salt.toString('latin1')}`;
    const known = this.#derived.get(name);
    if (known !== undefined) return known;
    const derived = Buffer.from(hkdfSync('sha256', this.#keys[index] ?? new Uint8Array(), salt, `sallyport ${use} 1`, keyLength));
    // Salts of forged texts come here too, so the least recent go first and the memory is bounded.
    for (const oldest of this.#derived.keys()) {
      if (this.#derived.size < maxDerived) break;
      this.#derived.delete(oldest);
    }
    this.#derived.set(name, derived);
    return derived;
  }

  #newSalt(): Buffer {
    if (this.#clock !== undefined) this.#sealsUntil = this.#now() + keyLifetimeMs;
    return Buffer.from(this.#randomness.bytes(saltLength));
  }
}

const keyLength = 32;
const saltLength = 16;
const nonceLength = 12;
const tagLength = 16;
const maxSealed = 2 ** 30;
const keyLifetimeMs = 86_400_000;
const maxDerived = 64;

/** Of the keys that all processes with one master key share: their nonces are computed, and their use tells them apart. */
const noSalt = Buffer.alloc(0);

/** As long as the id of a task usually is, and opened by no key but by an accident of 1 in 2^128. */
const nobodys = Buffer.alloc(80);

/** Nonce, text and tag. */
const sealWith = (key: Buffer, nonce: Uint8Array, { data, value }: { data: Buffer; value: string }): Buffer => {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(data);
  const text = cipher.update(value, 'utf8');
  return Buffer.concat([nonce, text, cipher.final(), cipher.getAuthTag()]);
};

const openWith = (key: Buffer, data: Buffer, bytes: Buffer): string | undefined => {
  const tagStart = bytes.length - tagLength;
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceLength), { authTagLength: tagLength });
  decipher.setAAD(data).setAuthTag(bytes.subarray(tagStart));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(nonceLength, tagStart)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
};

/** Lengths first, so that no two pairs of kind and binding give the same octets. */
const associatedData = (kind: string, binding: string): Buffer => {
  const first = Buffer.from(kind, 'utf8');
  const second = Buffer.from(binding, 'utf8');
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32BE(first.length, 0);
  lengths.writeUInt32BE(second.length, 4);
  return Buffer.concat([lengths, first, second]);
};
