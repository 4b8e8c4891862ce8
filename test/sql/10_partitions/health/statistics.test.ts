/** partitions.statistics(): rows and sizes of partitions. */
import { expect, test } from 'vitest';
import { databaseAt, lines, manageReadings } from '../../../helpers/partitions.ts';

test('rows are estimated, or counted when asked', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'premake => 1');
  await db.admin.query(`select partitions.maintain('readings')`);
  await db.admin.query(
    `insert into readings (ts) select '2026-11-21' from generate_series(1, 300); analyze readings; insert into readings (ts) values ('2026-11-21')`,
  );
  const counts = (exact: boolean) => lines(db, `select partition, row_count from partitions.statistics('readings', $1)`, [exact]);
  expect(await counts(false)).toEqual(['readings_y2026m11 300', 'readings_y2026m12 0']);
  expect(await counts(true)).toEqual(['readings_y2026m11 301', 'readings_y2026m12 0']);
});

test('the size is that of the table with its indexes', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'premake => 1');
  await db.admin.query(`select partitions.maintain('readings')`);
  expect(
    await lines(
      db,
      `select size_bytes = pg_total_relation_size(partition::regclass), size_pretty = pg_size_pretty(size_bytes) from partitions.statistics('readings')`,
    ),
  ).toEqual(['true true', 'true true']);
});
