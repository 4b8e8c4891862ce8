import { expect, test } from 'vitest';
import { MAX_ATTEMPT_LINES, attemptLog } from '../../src/worker/attempt_log.ts';

test('an attempt writes a thousand lines, one that says that there are more, and nothing else', async () => {
  const written: unknown[][] = [];
  const log = attemptLog(async (...line) => void written.push(line));
  await Promise.all(Array.from({ length: 1_500 }, (_, index) => log('info', `line ${index}`, { index })));
  expect(MAX_ATTEMPT_LINES).toBe(1_000);
  expect(written).toHaveLength(1_001);
  expect(written[999]).toEqual(['info', 'line 999', { index: 999 }]);
  expect(written[1_000]).toEqual(['warning', expect.stringContaining('not kept'), { code: 'LOG_TRUNCATED', maxLines: 1_000 }]);
  // Each attempt has its own.
  await attemptLog(async (...line) => void written.push(line))('info', 'next');
  expect(written.at(-1)).toEqual(['info', 'next', undefined]);
});
