/** The suite that the embedded server can prove: `npm test`. Suites that need Debian packages: vitest.system.config.ts. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/system/**', 'test/chaos/**', 'test/dates/**'],
    globalSetup: ['test/helpers/server.ts'],
    setupFiles: ['test/helpers/setup.ts'],
    // What is awaited comes within moments; a machine that is busy, or waits for its disk, may take longer.
    expect: { poll: { timeout: 20_000 } },
    pool: 'forks',
    // Files share three processes, since a process of its own costs each of them more than a second of loading.
    isolate: false,
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
  },
});
