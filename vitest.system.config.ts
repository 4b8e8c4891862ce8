/** Suites that need packages of the system: `npm run test:system`. One whose package is absent says that it was not run. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/system/**/*.test.ts'],
    setupFiles: ['test/helpers/setup.ts'],
    // What is awaited comes within moments; a machine that is busy, or waits for its disk, may take longer.
    expect: { poll: { timeout: 20_000 } },
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 90_000,
    hookTimeout: 90_000,
  },
});
