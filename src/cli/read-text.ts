import { readFile } from 'node:fs/promises';
import { SallyportError } from '../errors.ts';

/** A file an argument names. */
export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): check its name and mode`, { facts: { file }, cause });
  }
}
