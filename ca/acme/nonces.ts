/**
 * Nonces (RFC 8555 §6.5) that every node can check and none has to keep: time, random octets and a MAC.
 * Only spent ones are kept, in the store, until they expire; so nobody can fill a memory by asking for them.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Clock, Randomness } from '../ports.ts';
import { fromBase64url, toBase64url } from './base64url.ts';

const lifetimeMs = 30 * 60_000;
const octets = { time: 6, random: 10, mac: 16 };
const total = octets.time + octets.random + octets.mac;

export class Nonces {
  readonly #key: Uint8Array;
  readonly #clock: Clock;
  readonly #randomness: Randomness;

  constructor(key: Uint8Array, world: { readonly clock: Clock; readonly randomness: Randomness }) {
    this.#key = key;
    this.#clock = world.clock;
    this.#randomness = world.randomness;
  }

  next(): string {
    const head = Buffer.alloc(octets.time + octets.random);
    head.writeUIntBE(this.#clock.now().getTime(), 0, octets.time);
    head.set(this.#randomness.bytes(octets.random), octets.time);
    return toBase64url(Buffer.concat([head, this.#mac(head)]));
  }

  /** When it expires, if it is one of ours and has not; whether it was spent the store knows. */
  expiryOf(text: string): Date | undefined {
    const nonce = fromBase64url(text, total);
    if (nonce?.length !== total) return undefined;
    const head = nonce.subarray(0, octets.time + octets.random);
    if (!timingSafeEqual(this.#mac(head), nonce.subarray(head.length))) return undefined;
    const expiry = Buffer.from(head).readUIntBE(0, octets.time) + lifetimeMs;
    const now = this.#clock.now().getTime();
    // Another node's clock may be ahead of ours, though not by a lifetime.
    return now < expiry && expiry - now <= 2 * lifetimeMs ? new Date(expiry) : undefined;
  }

  #mac(head: Uint8Array): Uint8Array {
    return createHmac('sha256', this.#key).update(head).digest().subarray(0, octets.mac);
  }
}
