/** The clock of the engine: it runs, and it stands still only at the time that a test sets. */
import { expect, test } from 'vitest';
import { asAnonymous, createTestDatabase } from '../../helpers/database.ts';

const db = await createTestDatabase();

test('the clock runs', async () => {
  const { rows } = await db.admin.query("select engine.now() - clock_timestamp() < interval '1 s' as close");
  expect(rows).toEqual([{ close: true }]);
});

test('PostgreSQL goes by the same clock as the tests', async () => {
  const { rows } = await db.admin.query<{ now: Date }>('select clock_timestamp() as now');
  expect(Math.abs(rows[0]!.now.getTime() - Date.now())).toBeLessThan(60_000);
});

test('the clock stands still at the time that a test sets', async () => {
  await db.admin.query(`insert into private.test_mode (frozen_at) values ('2026-02-28 23:59:59+00')`);
  const { rows } = await db.admin.query('select engine.now()');
  expect(rows).toEqual([{ now: new Date('2026-02-28T23:59:59Z') }]);
  await db.admin.query('delete from private.test_mode');
});

test('nobody outside reads the engine', async () => {
  await expect(asAnonymous(db).query('select engine.now()')).rejects.toMatchObject({ code: '42501' });
});
