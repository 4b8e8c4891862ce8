import type pg from 'pg';
import { expect, test } from 'vitest';
import { RateLimiter } from '../../src/limits/rate_limit.ts';

test('who is refused is refused again without a question until there can be something, and not at once', async () => {
  let asked = 0;
  const pool = {
    async query() {
      asked += 1;
      return { rows: [{ granted: 0, retry_after_ms: 100 }] };
    },
  } as unknown as pg.Pool;
  const limiter = new RateLimiter(pool);
  const rate = { perSecond: 10, burst: 1 };
  const take = () => limiter.spend('a', rate).catch((error: { extensions: { code: string; details: unknown } }) => error.extensions);
  const startedAt = performance.now();
  const first = take();
  await new Promise((resolve) => setImmediate(resolve));
  const answers = await Promise.all([first, take(), take()]);
  expect(performance.now() - startedAt).toBeGreaterThan(90);
  expect(answers).toEqual(Array(3).fill(expect.objectContaining({ code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } })));
  expect(asked).toBe(1);
});
