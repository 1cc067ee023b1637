import type { IssuerId, SerialHex } from '../../ca/ports.ts';
import type { Principal } from '../identity/principal.ts';

/** A certificate that is in no session but may have left something at an upstream. */
interface Caller {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  readonly principalId: string;
}

/** The oldest is forgotten first: what it left ends for idleness instead. */
const remembered = 100_000;

/** Certificates that sent modern requests, which belong to no session. */
export class SessionlessCallers {
  readonly #callers = new Map<string, Caller>();

  seen({ issuerId, serial, id }: Principal): void {
    const key = `${issuerId}:${serial}`;
    if (this.#callers.has(key)) return;
    this.#callers.set(key, { issuerId, serial, principalId: id });
    if (this.#callers.size <= remembered) return;
    for (const oldest of this.#callers.keys()) {
      this.#callers.delete(oldest);
      return;
    }
  }

  /** @returns the principal whose certificate it was */
  forget(issuerId: IssuerId, serial: SerialHex): string | undefined {
    const key = `${issuerId}:${serial}`;
    const known = this.#callers.get(key);
    this.#callers.delete(key);
    return known?.principalId;
  }

  certificates(): readonly Caller[] {
    return [...this.#callers.values()];
  }
}
