/** How a parser says that octets are not what they should be. */
import { CaError } from '../errors.ts';
import type { CaErrorCode } from '../errors.ts';

/** `ERR_DER_INVALID` at an octet of the buffer being read. */
export function invalid(what: string, offset: number, cause?: unknown): CaError {
  return new CaError('ERR_DER_INVALID', `${what} at octet ${offset}`, cause === undefined ? { facts: { offset } } : { facts: { offset }, cause });
}

/**
 * Runs a parser and turns `ERR_DER_INVALID` into the code of the structure being read, so that a
 * caller sees which document was refused and, in `cause`, at which octet.
 */
export function decodeAs<T>(code: CaErrorCode, structure: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof CaError && error.code === 'ERR_DER_INVALID') {
      throw new CaError(code, `the ${structure} is malformed: ${error.message}`, { facts: error.facts, cause: error });
    }
    throw error;
  }
}
