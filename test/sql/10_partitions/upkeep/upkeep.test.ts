/** Upkeep of partitions: ANALYZE of whole tables, freezing, indexes built concurrently. */
import { describe, expect, test } from 'vitest';
import { databaseAt, freezeClock, lines, manageReadings } from '../../../helpers/partitions.ts';

const analyze = (argument = '') => `select analyzed from partitions.analyze(${argument}) as analyzed where analyzed::text = 'readings'`;

test('a table is analyzed as a whole when it has got or lost a partition, and every three months', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, `retention => '6 months'`);
  await db.admin.query(
    `select partitions.maintain(); insert into readings (ts, value) select '2026-11-21', i % 7 from generate_series(1, 1000) as i`,
  );
  expect(await lines(db, analyze())).toEqual(['readings']);
  expect(await lines(db, `select n_distinct from pg_stats where tablename = 'readings' and attname = 'value'`)).toEqual(['7']);
  expect(await lines(db, analyze())).toEqual([]);

  await db.admin.query(`select partitions.create('readings', '2026-10-01')`);
  expect(await lines(db, analyze())).toEqual(['readings']);
  await db.admin.query('drop table readings_y2026m10');
  expect(await lines(db, analyze())).toEqual(['readings']);
  expect(await lines(db, analyze())).toEqual([]);
  expect(await lines(db, analyze(`'readings'`))).toEqual(['readings']);
  await freezeClock(db, '2027-02-22');
  expect(await lines(db, analyze())).toEqual(['readings']);
  await expect(db.admin.query(analyze(`'pg_class'`))).rejects.toMatchObject({ code: 'WF002' });
});

test('a partition is to be frozen when it has ended, until it was', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'behind => 2');
  await db.admin.query('select partitions.maintain()');
  const statements = () => lines(db, `select partitions.freeze_statements('readings')`);
  const all = ['vacuum (freeze) public.readings_y2026m09', 'vacuum (freeze) public.readings_y2026m10'];
  expect(await statements()).toEqual(all);
  expect(await statements()).toEqual(all);
  await db.admin.query(all[0]!);
  expect(await statements()).toEqual([all[1]]);
  await db.admin.query(all[1]!);
  expect(await statements()).toEqual([]);
  expect(
    await lines(db, `select relation, done_at >= asked_at from partitions.upkeep where parent = 'readings'::regclass order by 1`),
  ).toEqual(['readings_y2026m09 true', 'readings_y2026m10 true']);
  await freezeClock(db, '2026-12-01 12:00+00');
  expect(await statements()).toEqual([]);
  await freezeClock(db, '2026-12-02 00:00:01+00');
  expect(await statements()).toEqual(['vacuum (freeze) public.readings_y2026m11']);
  await db.admin.query('drop table readings_y2026m09');
  await statements();
  expect(await lines(db, `select relation from partitions.upkeep where parent = 'readings'::regclass order by 1`)).toEqual([
    'readings_y2026m10',
    'readings_y2026m11',
  ]);
});

describe('the statements for an index are refused', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await db.admin.query(`create table taken (); alter table taken owner to flowgres_owner; create index other on workflow_events (seq)`);
  test.each([
    ['of no table', `null, 'i', '(id)'`, 'WF002'],
    ['of a plain table', `'taken', 'i', '(id)'`, 'WF009'],
    ['without a name', `'readings', null, '(id)'`, 'WF009'],
    ['without a definition', `'readings', 'i', ' '`, 'WF009'],
    ['under a name that is a table', `'readings', 'taken', '(id)'`, 'WF003'],
    ['under the name of another index', `'readings', 'other', '(id)'`, 'WF003'],
    ['under a name that is too long', `'readings', 'an_index_with_a_name_that_leaves_no_room_for_the_partition', '(id)'`, 'WF009'],
  ])('%s', async (_what, values, code) => {
    await expect(db.admin.query(`select partitions.build_index(${values})`)).rejects.toMatchObject({ code });
  });
});
