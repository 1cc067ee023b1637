import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // Tests start hundreds of processes, which compile the same sources.
    env: { NODE_COMPILE_CACHE: join(tmpdir(), 'sallyport-test-compile-cache') },
    pool: 'forks',
    // One more than cores of a small machine: tests wait for children and timers more than they compute.
    maxWorkers: 3,
  },
});
