/** The suites that touch time, at dates that are unlike others: `npm run test:dates`. Without a C compiler they are not run. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/dates/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 1_800_000,
    reporters: ['default'],
    disableConsoleIntercept: true,
  },
});
