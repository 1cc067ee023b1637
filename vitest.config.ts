import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/**
 * The first exchanges modules for others, so nothing may have been read before it. SoftHSM2 reads where its tokens
 * are when a process first loads it, and never again.
 */
const alone = ['test/bridge/renewal-crash.test.ts', 'test/ca/pkcs11/signer.test.ts', 'test/cli/token-keys.test.ts'];

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Tests start hundreds of processes, which compile the same sources.
    env: { NODE_COMPILE_CACHE: join(tmpdir(), 'sallyport-test-compile-cache') },
    pool: 'forks',
    // One more than cores of a small machine: tests wait for children and timers more than they compute.
    maxWorkers: 3,
    projects: [
      // One process reads the sources once for all its files: a third of the time of the whole suite.
      { extends: true, test: { name: 'together', include: ['test/**/*.test.ts'], exclude: alone, isolate: false } },
      { extends: true, test: { name: 'alone', include: alone } },
    ],
  },
});
