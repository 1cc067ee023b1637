/** Signed answers that are kept to be given again, within so many octets; what was not asked for longest goes first. */
export interface OcspAnswer {
  /** DER OCSPResponse. */
  readonly der: Uint8Array;
  /** Of an answer that may be given to others too, for a while. */
  readonly shared?: OcspShared | undefined;
}

export interface OcspShared {
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Entity tag. */
  readonly tag: string;
}

interface Kept {
  readonly answer: OcspAnswer & { readonly shared: OcspShared };
  /** The status it states, as text. */
  readonly says: string;
  readonly refreshAt: number;
}

export class KeptAnswers {
  readonly #kept = new Map<string, Kept>();
  readonly #maxOctets: number;
  #octets = 0;

  constructor(maxOctets: number) {
    this.#maxOctets = maxOctets;
  }

  /** The answer for a CertID, if it says what is true and is not due to be made again. */
  find(id: string, { says, at }: { readonly says: string; readonly at: number }): OcspAnswer | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined || kept.says !== says || at >= kept.refreshAt || at < kept.answer.shared.thisUpdate.getTime()) return undefined;
    // The most recently asked for stands last.
    this.#kept.delete(id);
    this.#kept.set(id, kept);
    return kept.answer;
  }

  keep(id: string, kept: Kept): void {
    this.#remove(id);
    this.#kept.set(id, kept);
    this.#octets += kept.answer.der.length;
    for (const oldest of this.#kept.keys()) {
      if (this.#octets <= this.#maxOctets) break;
      this.#remove(oldest);
    }
  }

  clear(): void {
    this.#kept.clear();
    this.#octets = 0;
  }

  #remove(id: string): void {
    this.#octets -= this.#kept.get(id)?.answer.der.length ?? 0;
    this.#kept.delete(id);
  }
}
