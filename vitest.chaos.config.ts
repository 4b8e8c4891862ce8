/** The chaos suite, `npm run chaos`: a small installation with everything going wrong at once, for four minutes. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/chaos/**/*.test.ts'], pool: 'forks', maxWorkers: 1, reporters: ['default'], disableConsoleIntercept: true },
});
