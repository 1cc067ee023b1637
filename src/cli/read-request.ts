import { CaError } from '../../ca/errors.ts';
import { parseCsr } from '../../ca/x509/csr.ts';
import type { Csr } from '../../ca/x509/csr.ts';
import { readBytes } from './read-text.ts';

/** A certificate signing request that an argument names, PEM or DER. */
export async function readRequest(file: string): Promise<Csr> {
  const bytes = await readBytes(file);
  try {
    // A SEQUENCE begins DER.
    return bytes[0] === 0x30 ? parseCsr(new Uint8Array(bytes)) : parseCsr(bytes.toString('utf8'));
  } catch (cause) {
    throw cause instanceof CaError ? new CaError(cause.code, `${file} is not a certificate signing request (${cause.message}): make one with openssl req -new`, { facts: { file }, cause }) : cause;
  }
}
