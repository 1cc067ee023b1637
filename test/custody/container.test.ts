import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContainerWriter, openContainer } from '../../src/custody/container.ts';
import { SallyportError } from '../../src/errors.ts';
import { systemRandomness } from '../../src/system.ts';

const passphrase = 'correct horse battery staple';
let directory: string;
beforeAll(async () => (directory = await mkdtemp(join(tmpdir(), 'sallyport-container-'))));
afterAll(() => rm(directory, { recursive: true, force: true }));

const sealed = async (...parts: readonly Uint8Array[]): Promise<Buffer> => {
  const path = join(directory, 'sealed');
  const file = await open(path, 'w');
  const writer = await ContainerWriter.begin(file, { passphrase, randomness: systemRandomness, logN: 10 });
  for (const part of parts) await writer.write(part);
  await writer.end();
  await file.close();
  return readFile(path);
};

const opened = async (octets: Uint8Array, word = passphrase): Promise<Buffer> => {
  const path = join(directory, 'opened');
  await writeFile(path, octets);
  const file = await open(path, 'r');
  try {
    const frames: Buffer[] = [];
    for await (const frame of openContainer(file, { passphrase: word })) frames.push(frame);
    return Buffer.concat(frames);
  } finally {
    await file.close();
  }
};

const codeOf = async (octets: Uint8Array, word?: string): Promise<string> => {
  const error: unknown = await opened(octets, word).catch((caught: unknown) => caught);
  return error instanceof SallyportError ? error.code : 'opened';
};

const frame = 64 * 1024;

describe('a container', () => {
  it.each([0, 1, frame - 1, frame, frame + 1, 3 * frame])('gives back %d octets', async (length) => {
    const content = randomBytes(length);
    expect((await opened(await sealed(content))).equals(content)).toBe(true);
  });

  it('gives back what came in parts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(2 * frame), { maxLength: 4 }), async (lengths) => {
        const parts = lengths.map((length) => randomBytes(length));
        expect((await opened(await sealed(...parts))).equals(Buffer.concat(parts))).toBe(true);
      }),
      { numRuns: 15 },
    );
  });

  it('tells a wrong passphrase', async () => {
    await expect(opened(await sealed(Buffer.from('x')), 'correct horse battery stapler')).rejects.toMatchObject({ code: 'ERR_BACKUP_PASSPHRASE', message: 'the backup does not open with this passphrase; check it' });
  });

  it('refuses any change of any octet', async () => {
    const whole = await sealed(randomBytes(frame + 100));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const changed = Buffer.from(whole);
        changed[at] = (changed[at] ?? 0) ^ change;
        expect(await codeOf(changed)).toMatch(/^ERR_BACKUP_(INVALID|ALTERED|TRUNCATED)$/);
      }),
      { numRuns: 60 },
    );
  });

  it('refuses any shortening, also one between two frames', async () => {
    const whole = await sealed(randomBytes(2 * frame));
    const betweenFrames = 92 + 4 + frame + 16;
    expect(await codeOf(whole.subarray(0, betweenFrames))).toBe('ERR_BACKUP_TRUNCATED');
    expect(await codeOf(whole.subarray(0, 92))).toBe('ERR_BACKUP_TRUNCATED');
    expect(await codeOf(whole.subarray(0, 91))).toBe('ERR_BACKUP_TRUNCATED');
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 16, max: whole.length - 1 }), async (length) => {
        expect(await codeOf(whole.subarray(0, length))).toBe('ERR_BACKUP_TRUNCATED');
      }),
      { numRuns: 25 },
    );
  });

  it('refuses frames that changed places, were dropped, or follow the end', async () => {
    const whole = await sealed(randomBytes(3 * frame));
    const each = 4 + frame + 16;
    const [head, a, b, rest] = [whole.subarray(0, 92), whole.subarray(92, 92 + each), whole.subarray(92 + each, 92 + 2 * each), whole.subarray(92 + 2 * each)];
    expect((await opened(Buffer.concat([head, a, b, rest]))).length).toBe(3 * frame);
    expect(await codeOf(Buffer.concat([head, b, a, rest]))).toBe('ERR_BACKUP_ALTERED');
    expect(await codeOf(Buffer.concat([head, a, rest]))).toBe('ERR_BACKUP_ALTERED');
    expect(await codeOf(Buffer.concat([whole, Buffer.from([0])]))).toBe('ERR_BACKUP_ALTERED');
    // The same key and salt with another content would need the same nonce: frames of two backups do not mix.
    const other = await sealed(randomBytes(3 * frame));
    expect(await codeOf(Buffer.concat([head, other.subarray(92)]))).toBe('ERR_BACKUP_ALTERED');
  });

  it('says of another file that it is no backup', async () => {
    expect(await codeOf(Buffer.from('SQLite format 3\0and so on, for as many octets as a header has, which is ninety-two or more'))).toBe('ERR_BACKUP_INVALID');
    expect(await codeOf(Buffer.alloc(0))).toBe('ERR_BACKUP_INVALID');
  });
});
