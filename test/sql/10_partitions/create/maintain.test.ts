/** partitions.maintain(): missing partitions are made, ahead of need and in holes, once. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { connect } from '../../../../src/database/connections.ts';
import { createTestDatabase } from '../../../helpers/database.ts';
import { databaseAt, freezeClock, lines, manageReadings, partitionsOf } from '../../../helpers/partitions.ts';
import { rounds } from '../../../helpers/rounds.ts';

const maintain = `select action, partition, done, detail from partitions.maintain('readings')`;

test('there are partitions from `behind` periods before now to `premake` whole ones after', async () => {
  const db = await databaseAt('2026-12-31 23:59:59+00');
  await manageReadings(db, 'premake => 2, behind => 1');
  const wanted = ['readings_y2026m11', 'readings_y2026m12', 'readings_y2027m01', 'readings_y2027m02'];

  expect(await lines(db, `select action, partition, done, detail from partitions.maintain('readings', dry_run => true)`)).toEqual(
    wanted.map((name) => `create ${name} false -`),
  );
  expect(await partitionsOf(db, 'readings')).toEqual([]);
  expect(await lines(db, maintain)).toEqual(wanted.map((name) => `create ${name} true -`));
  expect(await lines(db, maintain)).toEqual([]);

  await freezeClock(db, '2027-01-01 00:00:00+00');
  expect(await lines(db, maintain)).toEqual(['create readings_y2027m03 true -']);
});

test('a hole is filled, also where later partitions exist', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'behind => 2');
  await db.admin.query(maintain);
  await db.admin.query('drop table readings_y2026m12, readings_y2026m10');
  expect(await lines(db, maintain)).toEqual(['create readings_y2026m10 true -', 'create readings_y2026m12 true -']);
});

test('what was detached and bound to another time is noticed', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await db.admin.query(maintain);
  await db.admin.query(`
    alter table readings detach partition readings_y2026m12;
    alter table readings_y2026m12 rename to readings_odd;
    alter index readings_y2026m12_pkey rename to readings_odd_pkey;
    alter index readings_y2026m12_value_idx rename to readings_odd_value_idx;
    alter table readings attach partition readings_odd for values from ('2020-01-01') to ('2020-02-01')`);
  expect(await lines(db, maintain)).toEqual(['create readings_y2026m12 true -']);
});

test('a period that retention would take at once is not made', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, `behind => 5, retention => '40 days'`);
  await db.admin.query(maintain);
  expect((await partitionsOf(db, 'readings'))[0]).toMatch(/^readings_y2026m10/);
  expect(await lines(db, `select * from partitions.retire('readings')`)).toEqual([]);
});

test('a failure is a row, and the rest is done', async () => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db, 'premake => 2');
  await db.admin.query('create table readings_y2026m12 ()');
  const failed =
    'create readings_y2026m12 false A table public.readings_y2026m12 exists that is no partition of public.readings for this time.';
  expect(await lines(db, maintain)).toEqual(['create readings_y2026m11 true -', failed, 'create readings_y2027m01 true -']);
  expect(await lines(db, maintain)).toEqual([failed]);
  expect(await lines(db, `select failures, error from partitions.maintenance where parent = 'readings'::regclass`)).toEqual([
    `2 ${failed.split('false ')[1]}`,
  ]);
  await db.admin.query('drop table readings_y2026m12');
  expect(await lines(db, maintain)).toEqual(['create readings_y2026m12 true -']);
  expect(await lines(db, `select failures, error from partitions.maintenance where parent = 'readings'::regclass`)).toEqual(['0 -']);
});

test.each([
  ['is gone', 'drop table readings', /^check - false There is no table \d+\.$/],
  ['got a default partition', 'create table d partition of readings default', 'check - false public.readings has a default partition.'],
  ['got another owner', 'alter table readings owner to postgres', 'check - false public.readings does not belong to flowgres_owner.'],
])('a table that %s is reported, and the others are maintained', async (_case, ddl, row) => {
  const db = await databaseAt('2026-11-21');
  await manageReadings(db);
  await db.admin.query(ddl);
  await db.admin.query('drop table workflow_events_y2026m12');
  const all = await lines(db, 'select action, partition, done, detail from partitions.maintain()');
  expect(all).toEqual(expect.arrayContaining([expect.stringMatching(row), 'create workflow_events_y2026m12 true -']));
});

test('a table that is not managed is an error', async () => {
  const db = await createTestDatabase();
  await expect(db.admin.query(`select partitions.maintain('pg_class')`)).rejects.toMatchObject({ code: 'WF002' });
});

describe('with other sessions', () => {
  test('a reader that does not end holds up neither maintenance nor inserts', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db);
    await db.admin.query(maintain);
    const reader = await connect(db.adminUrl);
    await reader.query('begin; select * from readings');
    await freezeClock(db, '2026-12-01');
    const [rows] = await Promise.all([lines(db, maintain), db.admin.query(`insert into readings (ts) values ('2026-11-21')`)]);
    expect(rows).toEqual(['create readings_y2027m03 true -']);
    await reader.end();
  });

  test('maintenance waits in short attempts, and inserts pass between them', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db);
    const [blocker, inserter] = await Promise.all([connect(db.adminUrl), connect(db.adminUrl)]);
    await db.admin.query(`select partitions.create('readings', '2026-11-21')`);
    await blocker.query('begin; lock table readings in share update exclusive mode');
    const maintenance = lines(db, maintain);
    await inserter.query(`set lock_timeout = '2s'`);
    for (let count = 0; count < 100; count += 1) await inserter.query(`insert into readings (ts) values ('2026-11-21')`);
    await blocker.query('commit');
    expect((await maintenance).every((row) => row.includes('true'))).toBe(true);
    await Promise.all([blocker.end(), inserter.end()]);
  });

  test('of two maintainers one does the work and the other says so', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db);
    const [first, second] = await Promise.all([connect(db.adminUrl), connect(db.adminUrl)]);
    await first.query('begin');
    await first.query(maintain);
    expect((await second.query({ text: maintain, rowMode: 'array' })).rows).toEqual([
      ['skip', null, false, 'Another session holds the maintenance lock of this table.'],
    ]);
    await first.query('commit');
    expect((await second.query(maintain)).rows).toEqual([]);
    await Promise.all([first.end(), second.end()]);
  });

  test('an interrupted detach is finished', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db);
    await db.admin.query(maintain);
    const reader = await connect(db.adminUrl);
    const detacher = await connect(db.adminUrl);
    await reader.query('begin isolation level repeatable read; select * from readings');
    const { rows } = await detacher.query('select pg_backend_pid() as pid');
    const detach = detacher.query('alter table readings detach partition readings_y2027m01 concurrently').catch(() => undefined);
    await expect.poll(() => lines(db, `select from pg_inherits where inhdetachpending`)).toHaveLength(1);
    await db.admin.query('select pg_terminate_backend($1)', [rows[0].pid]);
    await detach;
    await expect(db.admin.query(`select partitions.create('readings', '2027-01-15')`)).rejects.toMatchObject({ code: 'WF003' });

    await reader.query('commit');
    expect(await lines(db, maintain)).toEqual(['finish detach readings_y2027m01 true -']);
    expect(await lines(db, maintain)).toEqual([expect.stringContaining('create readings_y2027m01 false A table')]);
    await db.admin.query('drop table readings_y2027m01');
    expect(await lines(db, maintain)).toEqual(['create readings_y2027m01 true -']);
    await reader.end();
  });
});

const change = (granularity: string) =>
  `update partitions.managed_tables set granularity = '${granularity}' where parent = 'readings'::regclass`;

describe('a change of granularity', () => {
  test('cuts empty partitions of the future anew, once, and leaves those with rows', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db, 'premake => 3');
    await db.admin.query(maintain);
    await db.admin.query(`insert into readings (ts) values ('2027-01-05')`);
    // Rows that were rolled back leave a table that is empty and has pages.
    await db.admin.query(
      `do $$ begin insert into readings (ts) values ('2026-12-05'); raise division_by_zero; exception when division_by_zero then end $$`,
    );
    await db.admin.query(change('week'));
    const plan = await lines(db, `select action, partition from partitions.maintain('readings', dry_run => true)`);
    expect(plan).toEqual([
      'recut readings_y2026m12',
      'recut readings_y2027m02',
      'create readings_y2026m12d01',
      'create readings_y2026w50',
      'create readings_y2026w51',
      'create readings_y2026w52',
      'create readings_y2026m12d28',
      'create readings_y2027w05',
      'create readings_y2027w06',
      'create readings_y2027w07',
      'create readings_y2027w08',
    ]);
    expect(await lines(db, maintain)).toEqual(plan.map((line) => `${line} true -`));
    expect(await lines(db, maintain)).toEqual([]);
    const { rows } = await db.admin.query(
      `select count(*) filter (where lower <> previous)::int as breaks, max(upper)::text as until
       from (select *, lag(upper) over (order by lower) as previous from partitions.of('readings')) as p`,
    );
    expect(rows).toEqual([{ breaks: 0, until: expect.stringMatching(/^2027-03-01/) }]);
    expect(await lines(db, 'select count(*) from readings')).toEqual(['1']);
    // Longer periods again: whole ones, from where the rows are.
    await db.admin.query(change('month'));
    expect((await lines(db, maintain)).filter((line) => line.startsWith('create'))).toEqual([
      'create readings_y2026m12 true -',
      'create readings_y2027m02 true -',
    ]);
  });

  test('from a year to days makes as many as are wanted, or a month, and not hundreds', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db, `granularity => 'year', premake => 1`);
    await db.admin.query(maintain);
    await db.admin.query(change('day'));
    const rows = await lines(db, maintain);
    expect(rows[0]).toBe('recut readings_y2027 true -');
    expect(rows).toHaveLength(32);
    expect((await partitionsOf(db, 'readings')).at(-1)).toBe('readings_y2027m01d31 2027-01-31 2027-02-01');
  });

  test('that cannot have its locks changes nothing, and is followed the next time', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db, 'premake => 1');
    await db.admin.query(maintain);
    await db.admin.query(change('week'));
    const before = await partitionsOf(db, 'readings');
    const reader = await connect(db.adminUrl);
    await reader.query('begin; select * from readings');
    const rows = await lines(db, maintain);
    expect(rows[0]).toMatch(/^recut readings_y2026m12 false Another transaction held a lock for too long/);
    expect(await partitionsOf(db, 'readings')).toEqual(before);
    await reader.end();
    expect((await lines(db, maintain))[0]).toBe('recut readings_y2026m12 true -');
  });
});

describe('partitions are cut anew', () => {
  test('drops nothing that a transaction with an old snapshot cannot see', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db, 'premake => 1');
    await db.admin.query(maintain);
    await db.admin.query(change('week'));
    const client = await connect(db.adminUrl);
    await client.query('begin isolation level repeatable read; select * from pg_class limit 1');
    await db.admin.query(`insert into readings (ts) values ('2026-12-05')`);
    await client.query(maintain);
    await client.query('commit');
    await client.end();
    expect(await lines(db, 'select count(*) from readings')).toEqual(['1']);
  });

  test('of runs and of their events is followed, though one refers to the other', async () => {
    const db = await databaseAt('2026-11-21');
    await db.admin.query(
      `update partitions.managed_tables set granularity = 'week' where parent in ('workflow_runs'::regclass, 'workflow_events'::regclass)`,
    );
    const rows = await lines(db, 'select action, partition, done from partitions.maintain()');
    expect(rows.filter((row) => !row.endsWith('true'))).toEqual([]);
    expect(rows).toEqual(expect.arrayContaining(['recut workflow_runs_y2026m12 true', 'recut workflow_events_y2026m12 true']));
    expect((await partitionsOf(db, 'workflow_runs')).slice(2, 5)).toEqual([
      'workflow_runs_y2026m11 2026-11-01 2026-12-01',
      'workflow_runs_y2026m12d01 2026-12-01 2026-12-07',
      'workflow_runs_y2026w50 2026-12-07 2026-12-14',
    ]);
    expect(await lines(db, 'select detail from partitions.doctor()')).toEqual([]);
  });
});

describe('a granularity that has changed', () => {
  test('takes effect where the current partition ends', async () => {
    const db = await databaseAt('2026-11-21');
    await manageReadings(db, 'premake => 1');
    await db.admin.query(maintain);
    await db.admin.query(`update partitions.managed_tables set granularity = 'week' where parent = 'readings'::regclass`);
    await freezeClock(db, '2026-12-28');
    await db.admin.query(maintain);
    expect(await partitionsOf(db, 'readings')).toEqual([
      'readings_y2026m11 2026-11-01 2026-12-01',
      'readings_y2026m12 2026-12-01 2027-01-01',
      'readings_y2027m01d01 2027-01-01 2027-01-04',
      'readings_y2027w01 2027-01-04 2027-01-11',
    ]);
  });

  test('leaves no gap and no overlap, whenever and however often', async () => {
    // Maintenance runs at least every 24 days, and the shortest policy keeps 25 days ahead.
    const premake = { day: 25, week: 4, month: 1, year: 1 };
    const granularity = fc.constantFrom<keyof typeof premake>('day', 'day', 'week', 'week', 'month', 'month', 'year');
    const changes = fc.array(fc.tuple(granularity, fc.integer({ min: 0, max: 24 })), { minLength: 5, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 1500 }), changes, async (start, steps) => {
        let now = Date.UTC(2026, 11, 20) + start * 864e5;
        const db = await databaseAt(new Date(now).toISOString());
        await manageReadings(db);
        for (const [length, days] of steps) {
          now += days * 864e5;
          await freezeClock(db, new Date(now).toISOString());
          await db.admin.query(`select partitions.manage('readings', $1, premake => $2)`, [length, premake[length]]);
          const done = await lines(db, `select done from partitions.maintain('readings')`);
          expect(done.every((each) => each === 'true')).toBe(true);
        }
        const { rows } = await db.admin.query(
          `select count(*) filter (where lower <> previous)::int as breaks, max(upper) > engine.now() + interval '25 days' as ahead
           from (select *, lag(upper) over (order by lower) as previous from partitions.of('readings')) as p`,
        );
        expect(rows).toEqual([{ breaks: 0, ahead: true }]);
        await db.drop();
      }),
      { numRuns: rounds(1, 3), endOnFailure: true },
    );
  });
});
