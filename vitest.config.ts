import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    // Real processes and sockets on a machine that others use too; a test that needed its second try is reported as flaky.
    retry: process.env['CI'] === undefined ? 0 : 1,
  },
});
