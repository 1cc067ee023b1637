/** Bounds what a file may cost that says itself how much work its passphrase takes. */
import { CaError } from '../errors.ts';

/** Each about three seconds on one core; OWASP's 600,000 and Java's 10,000 fit many times. */
const MAX_PBKDF2 = 10_000_000;
const MAX_PKCS12 = 3_000_000;
const MAX_SCRYPT_OCTETS = 256 * 1024 * 1024;
const MAX_SCRYPT_RUNS = 16;

/** One for each file. */
export class WorkBudget {
  #pbkdf2 = MAX_PBKDF2;
  #pkcs12 = MAX_PKCS12;
  #scryptRuns = MAX_SCRYPT_RUNS;

  pbkdf2(iterations: number): void {
    this.#pbkdf2 -= iterations;
    if (iterations < 1 || this.#pbkdf2 < 0) throw tooMuch(iterations);
  }

  /** PBKDF1 costs the same. */
  pkcs12(iterations: number): void {
    this.#pkcs12 -= iterations;
    if (iterations < 1 || this.#pkcs12 < 0) throw tooMuch(iterations);
  }

  scrypt({ cost, blockSize, parallelization }: { readonly cost: number; readonly blockSize: number; readonly parallelization: number }): void {
    this.#scryptRuns -= parallelization;
    const powerOfTwo = cost > 1 && cost <= 2 ** 30 && (cost & (cost - 1)) === 0;
    if (!powerOfTwo || blockSize < 1 || parallelization < 1 || this.#scryptRuns < 0 || 128 * cost * blockSize > MAX_SCRYPT_OCTETS) throw tooMuch(cost);
  }
}

const tooMuch = (iterations: number): CaError =>
  new CaError('ERR_KEY_UNREADABLE', 'opening the key would take more work than the limit; write it anew with fewer iterations, for instance with openssl pkcs8 -topk8', { facts: { iterations } });
