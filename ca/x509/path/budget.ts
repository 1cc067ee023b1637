/** How much work one verification may cost. Whoever sends certificates chooses them, so all of it is bounded. */

export interface PathLimits {
  /** Certificates from the one asked about to the anchor, both counted. */
  readonly certificates: number;
  /** Certificates given beside the one asked about. */
  readonly intermediates: number;
  /** Signatures of certificates checked. */
  readonly signatures: number;
  /** Certificates tried as the next one of a path. */
  readonly candidates: number;
  /** Paths that reached an anchor and were validated. */
  readonly paths: number;
  /** Names compared with name constraints. */
  readonly comparisons: number;
}

export const defaultLimits: PathLimits = { certificates: 8, intermediates: 64, signatures: 64, candidates: 512, paths: 32, comparisons: 100_000 };

/** Thrown where a limit is met; the search turns it into `ERR_PATH_LIMIT`. */
export class BudgetSpent extends Error {}

export class Budget {
  readonly #left: Record<keyof typeof words, number>;

  constructor({ signatures, candidates, paths, comparisons }: PathLimits) {
    this.#left = { signatures, candidates, paths, comparisons };
  }

  spend(what: keyof typeof words, count = 1): void {
    this.#left[what] -= count;
    if (this.#left[what] < 0) throw new BudgetSpent(words[what]);
  }
}

const words = {
  signatures: 'more signatures would have to be checked than the limit',
  candidates: 'more possible issuers would have to be tried than the limit',
  paths: 'more paths would have to be validated than the limit',
  comparisons: 'more names would have to be compared with name constraints than the limit',
} as const;
