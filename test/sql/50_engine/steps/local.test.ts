/** Node random: its values, and its errors for properties that are out of range. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';

const db = await createTestDatabase();
const MOST = Number.MAX_SAFE_INTEGER;

async function draw(
  properties: Record<string, unknown>,
): Promise<{ output?: { value: unknown }; error?: { code: string; message: string } }> {
  const task = { type: 'random@1', properties: { kind: 'number', ...properties }, input: null };
  const { rows } = await db.pool('flowgres_worker').query('select engine.run_local($1) as outcome', [JSON.stringify(task)]);
  return rows[0].outcome;
}

test.each([
  [{ min: 3, max: 3 }, 3],
  [{ min: MOST, max: MOST }, MOST],
  [{ min: -MOST, max: -MOST }, -MOST],
  [{ min: null, max: 0 }, 0],
])('a number from %j is %d', async (properties, value) => {
  expect(await draw(properties)).toEqual({ output: { value } });
});

test('a number is drawn from the widest range at once', async () => {
  const { output } = await draw({ min: -MOST, max: MOST });
  expect(Number.isSafeInteger(output!.value)).toBe(true);
});

test.each([
  ['min', 'ten'],
  ['min', '10'],
  ['min', 1.5],
  ['min', -1e300],
  ['max', MOST + 1],
  ['max', 1e18],
  ['max', [1]],
])('%s %j is refused with the range that is allowed', async (name, value) => {
  expect(await draw({ [name]: value })).toEqual({
    error: {
      code: 'INVALID_ARGUMENT',
      message: `${name} is not a whole number from -9007199254740991 to 9007199254740991`,
      retryable: false,
    },
  });
});

test('min above max is refused', async () => {
  expect(await draw({ min: 2, max: 1 })).toMatchObject({ error: { code: 'INVALID_ARGUMENT', message: 'min is greater than max' } });
});

test('every integer of a type is within reach, and each of a few comes up', async () => {
  const { rows } = await db.admin.query<{ low: string; high: string; seen: number[] }>(
    `select
       min(engine.random_integer(-9223372036854775808, 9223372036854775807)) as low,
       max(engine.random_integer(-9223372036854775808, 9223372036854775807)) as high,
       array(select distinct engine.random_integer(-1, 1)::int from generate_series(1, 200) order by 1) as seen
     from generate_series(1, 200)`,
  );
  expect(rows[0]!.seen).toEqual([-1, 0, 1]);
  expect(BigInt(rows[0]!.low) < 0n && BigInt(rows[0]!.high) > 0n).toBe(true);
});
