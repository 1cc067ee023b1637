/** The last good copy of what somebody else publishes, on disk, with what a conditional request needs. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makePrivateDirectory, writeDurably } from '../../ca/durable-file.ts';

export interface KeptFacts {
  /** File or URL it came from. */
  readonly from: string;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  /** Unix milliseconds of the last time it was found to be current. */
  readonly checkedAt: number;
}

export class KeptDocument {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  /** Undefined when there is none. The facts are those of exactly these octets, else they are left out. */
  async read(): Promise<{ readonly bytes: Uint8Array; readonly digest: string; readonly facts: KeptFacts | undefined } | undefined> {
    const bytes = await readFile(this.file).catch(missing);
    if (bytes === undefined) return undefined;
    const text = await readFile(`${this.file}.json`, 'utf8').catch(missing);
    const digest = await digestOf(bytes);
    return { bytes, digest, facts: text === undefined ? undefined : factsIn(text, digest) };
  }

  /** On disk when it resolves. Octets first: facts that belong to others are not believed. */
  async write(bytes: Uint8Array, digest: string, facts: KeptFacts): Promise<void> {
    await makePrivateDirectory(dirname(this.file));
    await writeDurably(this.file, bytes);
    await this.note(digest, facts);
  }

  /** The same octets were found to be current once more. */
  async note(digest: string, facts: KeptFacts): Promise<void> {
    await writeDurably(`${this.file}.json`, `${JSON.stringify({ ...facts, sha256: digest })}\n`);
  }
}

const missing = (error: unknown): undefined => {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw error;
};

/** Half a millisecond of hashing. */
const SLICE_OCTETS = 1024 * 1024;

/** Of what may be 64 MiB long: others get their turn meanwhile. */
export const digestOf = async (bytes: Uint8Array): Promise<string> => {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += SLICE_OCTETS) {
    if (at > 0) await nextTurn();
    hash.update(bytes.subarray(at, at + SLICE_OCTETS));
  }
  return hash.digest('hex');
};

const nextTurn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

const factsIn = (text: string, sha256: string): KeptFacts | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { from, etag, lastModified, checkedAt, sha256: of } = value as Record<string, unknown>;
  if (of !== sha256 || typeof from !== 'string' || typeof checkedAt !== 'number') return undefined;
  return { from, checkedAt, etag: typeof etag === 'string' ? etag : undefined, lastModified: typeof lastModified === 'string' ? lastModified : undefined };
};
