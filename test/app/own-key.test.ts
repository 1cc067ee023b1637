import { chmod, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { sealingKeyOf } from '../../src/app/own-key.ts';
import { systemRandomness as randomness } from '../../src/system.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sallyport-own-key-'));
  await mkdir(join(directory, 'keys'), { mode: 0o700 });
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it('is made once, and is the same for everyone who asks at once and later', async () => {
  const world = { passphrase: undefined, randomness };
  const keys = await Promise.all([1, 2, 3].map(() => sealingKeyOf(directory, world)));
  expect(keys[0]).toHaveLength(32);
  for (const key of [...keys, await sealingKeyOf(directory, world)]) expect(key).toStrictEqual(keys[0]);
  expect((await stat(join(directory, 'keys', 'sealing.key.pem'))).mode & 0o777).toBe(0o600);
});

it('needs the passphrase it was made with', async () => {
  await sealingKeyOf(directory, { passphrase: 'correct horse', randomness });
  await expect(sealingKeyOf(directory, { passphrase: 'battery staple', randomness })).rejects.toMatchObject({ code: 'ERR_KEY_PASSPHRASE' });
});

it('is refused when others may read it', async () => {
  const world = { passphrase: undefined, randomness };
  await sealingKeyOf(directory, world);
  await chmod(join(directory, 'keys', 'sealing.key.pem'), 0o644);
  await expect(sealingKeyOf(directory, world)).rejects.toMatchObject({ code: 'ERR_KEY_MODE' });
});
