import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const stories = readdirSync(new URL('../examples', import.meta.url), { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);

it('finds the package built, as the examples import it by its name', () => {
  expect(existsSync(new URL('../dist/src/index.js', import.meta.url)), 'run npm run build').toBe(true);
});

it('has a story for every way in', () => {
  expect(stories).toEqual(['agent-with-identity-fetch', 'certificate-authority-alone', 'express-app', 'fastify-app', 'hono-app', 'in-process-sdk-v1', 'in-process-sdk-v2', 'keys-in-a-kms', 'protect-a-fetch-handler', 'protect-your-own-server']);
});

it.concurrent.each(stories.map((story) => [story]))('%s does what it says and leaves nothing behind', { timeout: 60_000 }, async (story) => {
  const place = await mkdtemp(join(tmpdir(), 'sallyport-examples-'));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [`examples/${story}/main.ts`], { cwd: root, env: { ...process.env, TMPDIR: place } });
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(await readdir(place)).toEqual([]);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
});
