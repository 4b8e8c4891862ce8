/** partitions.retire(): what is retired, what is held, and in which order. */
import { describe, expect, test } from 'vitest';
import { connect } from '../../../../src/database/connections.ts';
import type { TestDatabase } from '../../../helpers/database.ts';
import { databaseAt, freezeClock, lines, manageReadings, partitionsOf } from '../../../helpers/partitions.ts';

const retire = (argument = '') => `select action, partition, done, detail from partitions.retire('readings'${argument})`;
const dropped = (month: string) => `drop readings_y2026m${month} true -`;

/** Monthly partitions from 2026-05 on, seen on 2026-11-21. */
async function readingsOfMay(policy: string): Promise<TestDatabase> {
  const db = await databaseAt('2026-05-15');
  await manageReadings(db, policy);
  await db.admin.query(`select partitions.maintain('readings')`);
  await freezeClock(db, '2026-08-15');
  await db.admin.query(`select partitions.maintain('readings')`);
  await freezeClock(db, '2026-11-21');
  await db.admin.query(`select partitions.maintain('readings')`);
  return db;
}

test('what leaves is older than the retention to its last moment', async () => {
  const db = await readingsOfMay(`retention => '3 months'`);
  const planned = ['05', '06', '07'].map((month) => `drop readings_y2026m${month} false -`);
  expect(await lines(db, retire(', dry_run => true'))).toEqual(planned);
  expect(await lines(db, retire())).toEqual([dropped('05'), dropped('06'), dropped('07')]);
  expect(await lines(db, retire())).toEqual([]);
  await freezeClock(db, '2026-12-01 00:00:00+00');
  expect(await lines(db, retire())).toEqual([dropped('08')]);
});

test('without retention nothing leaves, unless an age is given', async () => {
  const db = await readingsOfMay('');
  expect(await lines(db, retire())).toEqual([]);
  expect(await lines(db, retire(`, '5 months'`))).toEqual([dropped('05')]);
});

test('names do not matter: tables that look like partitions stay, partitions that do not leave', async () => {
  const db = await readingsOfMay(`retention => '5 months'`);
  await db.admin.query(`
    create table readings_y2020m01 (like readings);
    create table readings_y2020m01_archive (like readings);
    alter table readings_y2026m05 rename to readings_y2099m01`);
  expect(await lines(db, retire())).toEqual(['drop readings_y2099m01 true -']);
  expect(await lines(db, `select relname from pg_class where relname ~ '^readings_y2020m01' and relkind = 'r' order by 1`)).toEqual([
    'readings_y2020m01',
    'readings_y2020m01_archive',
  ]);
});

test.each(['0', '-2 months', '23 hours', '1001 years'])('an age of %s is refused', async (age) => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await expect(db.admin.query(retire(', $1'), [age])).rejects.toMatchObject({ code: 'WF009' });
});

test('an age without a table is refused, and so is a table that is not managed', async () => {
  const db = await databaseAt('2026-11-21');
  await expect(db.admin.query(`select partitions.retire(older_than => '1 year')`)).rejects.toMatchObject({ code: 'WF009' });
  await expect(db.admin.query(`select partitions.retire('pg_class')`)).rejects.toMatchObject({ code: 'WF002' });
});

test('the current, future and last partitions stay', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await db.admin.query(`select partitions.create('readings', '2026-05-01')`);
  expect(await lines(db, retire(`, '1 day'`))).toEqual(['keep readings_y2026m05 false It is the last partition.']);
  await db.admin.query(`select partitions.maintain('readings')`);
  expect(await lines(db, retire(`, '1 day'`))).toEqual([dropped('05')]);
  expect(await partitionsOf(db, 'readings')).toHaveLength(4);
});

test('detached partitions are kept in schema partitions, and their name is free', async () => {
  const db = await readingsOfMay(`retention => '5 months', on_retire => 'detach'`);
  await db.admin.query(`insert into readings (ts, value) values ('2026-05-05', 7)`);
  expect(await lines(db, retire())).toEqual(['detach readings_y2026m05 true -']);
  expect(await lines(db, 'select value from partitions.readings_y2026m05')).toEqual(['7']);
});

describe('a guard', () => {
  const define = (db: TestDatabase, owner = 'flowgres_owner') =>
    db.admin.query(`
      create function public.hold(a timestamptz, b timestamptz) returns text language sql stable as $$
        select 'Still needed.' where a <= '2026-06-15' and b > '2026-06-15' $$;
      alter function public.hold(timestamptz, timestamptz) owner to ${owner}`);

  test('holds a period back, and only that', async () => {
    const db = await readingsOfMay(`retention => '3 months', guard => 'public.hold'`);
    await define(db);
    expect(await lines(db, retire())).toEqual(['keep readings_y2026m06 false Still needed.', dropped('05'), dropped('07')]);
  });

  test('that is missing, or of another owner, holds everything back', async () => {
    const db = await readingsOfMay(`retention => '5 months', guard => 'public.hold'`);
    const kept = ["keep readings_y2026m05 false There is no guard public.hold(timestamptz, timestamptz) of the table's owner."];
    expect(await lines(db, retire())).toEqual(kept);
    await define(db, 'postgres');
    expect(await lines(db, retire())).toEqual(kept);
  });
});

test('what cannot leave is a row with the reason, and the rest leaves', async () => {
  const db = await readingsOfMay(`retention => '4 months'`);
  await db.admin.query('create view of_may as select * from readings_y2026m05');
  expect(await lines(db, retire())).toEqual([
    'drop readings_y2026m05 false cannot drop table public.readings_y2026m05 because other objects depend on it',
    dropped('06'),
  ]);
});

test('a reader that does not end delays the drop, and inserts hardly', async () => {
  const db = await readingsOfMay(`retention => '5 months'`);
  const [reader, inserter] = await Promise.all([connect(db.adminUrl), connect(db.adminUrl)]);
  await reader.query('begin; select * from readings');
  const retired = lines(db, retire());
  await inserter.query(`set lock_timeout = '2s'`);
  for (let count = 0; count < 200; count += 1) await inserter.query(`insert into readings (ts) values ('2026-11-21')`);
  await reader.query('commit');
  expect(await retired).toEqual([dropped('05')]);
  await Promise.all([reader.end(), inserter.end()]);
});
