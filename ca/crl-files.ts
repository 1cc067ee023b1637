/** CRLs as files below `crl/`, kept equal to those in the store, for who serves or copies files. */
import { mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crlPath } from './crl-scope.ts';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import type { CrlScope } from './ports.ts';
import { readCrlList } from './x509/crl.ts';

type Kind = 'complete' | 'delta';

const chunkOctets = 1024 * 1024;

export class CrlFiles {
  readonly #directory: string;
  readonly #issuer: string;
  /** What was written or read here last, and how the file looked then. */
  readonly #known = new Map<string, { readonly number: bigint; readonly size: number; readonly mtimeMs: number }>();

  constructor(directory: string, issuer: string) {
    this.#directory = directory;
    this.#issuer = issuer;
  }

  /** Number of the CRL in the file; 0 when there is none, or none of ours: it is replaced. */
  async numberOf(scope: CrlScope, kind: Kind = 'complete'): Promise<bigint> {
    const path = this.#path(scope, kind);
    const looks = await stat(path).catch(() => undefined);
    if (looks === undefined) return 0n;
    const known = this.#known.get(path);
    if (known?.size === looks.size && known.mtimeMs === looks.mtimeMs) return known.number;
    let number = 0n;
    try {
      number = readCrlList(new Uint8Array(await readFile(path))).crlNumber ?? 0n;
    } catch (error) {
      if (!(error instanceof CaError) && !(error instanceof Error && 'syscall' in error)) throw error;
    }
    this.#known.set(path, { number, size: looks.size, mtimeMs: looks.mtimeMs });
    return number;
  }

  /** Whole or not at all; what is read back must be what was to be written. The file before stays until `ready` resolves, and when it rejects. */
  async write(scope: CrlScope, kind: Kind, crl: { readonly crlNumber: bigint; readonly der: Uint8Array }, ready?: () => Promise<void>): Promise<void> {
    const path = this.#path(scope, kind);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeDurably(path, crl.der, {
      verify: async (temporary) => {
        await checkHolds(temporary, crl.der);
        await ready?.();
      },
    });
    const { size, mtimeMs } = await stat(path);
    this.#known.set(path, { number: crl.crlNumber, size, mtimeMs });
  }

  async remove(scope: CrlScope, kind: Kind): Promise<void> {
    await rm(this.#path(scope, kind), { force: true });
  }

  #path(scope: CrlScope, kind: Kind): string {
    return join(this.#directory, crlPath(this.#issuer, scope, kind));
  }
}

/** In pieces, with the event loop free between them. */
const checkHolds = async (path: string, expected: Uint8Array): Promise<void> => {
  const file = await open(path, 'r');
  try {
    const chunk = Buffer.allocUnsafe(chunkOctets);
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0 && at === expected.length) return;
      if (bytesRead === 0 || !chunk.subarray(0, bytesRead).equals(expected.subarray(at, at + bytesRead))) {
        throw new CaError('ERR_CRL_INVALID', 'the disk does not give back the CRL that was written; check it, the CRL before stays in place', { facts: { path } });
      }
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
};
