import { readFile } from 'node:fs/promises';
import { SallyportError } from '../errors.ts';

/** A file an argument names. */
export async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): check its name and mode`, { facts: { file }, cause });
  }
}

export const readText = async (file: string): Promise<string> => (await readBytes(file)).toString('utf8');
