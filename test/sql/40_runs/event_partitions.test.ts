/** The functions for partitions of the event log, by the statements of docs/how-to/event-partitioning.md. */
import { describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { createTestDatabase } from '../../helpers/database.ts';
import { createLog, databaseAt, freezeClock, lines, partitionsOf } from '../../helpers/partitions.ts';
import { tamper } from '../../helpers/tamper.ts';

const names = async (db: Parameters<typeof lines>[0]) =>
  (await partitionsOf(db, 'workflow_events')).map((line) => line.split(' ')[0]!.slice(-8));
const maintain = 'select maintain_workflow_events_partitions()';

test('a new installation has partitions from two months back to three ahead, of runs as of events', async () => {
  const db = await databaseAt('2026-11-21');
  const months = (parent: string) =>
    lines(
      db,
      `select (extract(year from a) - extract(year from b)) * 12 + extract(month from a) - extract(month from b)
       from partitions.of($1) as o, timezone('UTC', o.lower) as a, timezone('UTC', engine.now()) as b`,
      [parent],
    );
  expect(await months('workflow_events')).toEqual(['-2', '-1', '0', '1', '2', '3']);
  expect(await months('workflow_runs')).toEqual(['-2', '-1', '0', '1', '2', '3']);
});

describe('create_workflow_events_partition', () => {
  test.each([
    [`'2025-06-01'::date`, 'workflow_events_y2025m06'],
    [`date '2025-06-30'`, 'workflow_events_y2025m06'],
    [`timestamp '2025-06-30 23:59'`, 'workflow_events_y2025m06'],
    [`timestamptz '2025-06-30 23:59-04'`, 'workflow_events_y2025m07'],
    [`date '2028-02-29' + interval '1 month'`, 'workflow_events_y2028m03'],
  ])('of %s is %s, in every time zone', async (argument, name) => {
    const db = await createTestDatabase({ unchecked: true });
    const client = await connect(db.adminUrl);
    for (const zone of ['America/New_York', 'Asia/Kolkata']) {
      await client.query(`select set_config('timezone', $1, false)`, [zone]);
      const { rows } = await client.query(`select create_workflow_events_partition(${argument}) as name`);
      expect(rows).toEqual([{ name }]);
    }
    await client.end();
  });

  test("gives the seed's three indexes, and the one for time ranges, their names", async () => {
    const db = await createTestDatabase({ unchecked: true });
    await db.admin.query(`select create_workflow_events_partition('2025-06-01'::date)`);
    expect(
      await lines(
        db,
        `select indexdef from pg_indexes where tablename = 'workflow_events_y2025m06' and indexname !~ 'pkey$' order by indexname`,
      ),
    ).toEqual([
      'CREATE INDEX workflow_events_y2025m06_run_id_idx ON public.workflow_events_y2025m06 USING btree (run_id)',
      'CREATE INDEX workflow_events_y2025m06_run_ts_idx ON public.workflow_events_y2025m06 USING btree (run_id, ts)',
      "CREATE INDEX workflow_events_y2025m06_ts_idx ON public.workflow_events_y2025m06 USING brin (ts) WITH (pages_per_range='32', autosummarize='on')",
      'CREATE INDEX workflow_events_y2025m06_type_idx ON public.workflow_events_y2025m06 USING btree (type)',
    ]);
  });

  test('finds an hour of a month in a few of its pages', async () => {
    const db = await createTestDatabase({ unchecked: true });
    await db.admin.query(`select create_workflow_events_partition('2025-06-01'::date)`);
    // Foreign keys are of no interest here.
    await tamper(
      db,
      `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
       select engine.uuid_v7(), engine.uuid_v7(), 1, '2025-06-01+00'::timestamptz + i * interval '1 minute', 'test', '{}'
       from generate_series(0, 43199) as i`,
    );
    await db.admin.query('vacuum analyze workflow_events');
    const hour = `select count(*) from workflow_events where ts >= '2025-06-20 12:00+00' and ts < '2025-06-20 13:00+00'`;
    const buffers = async () => {
      const { rows } = await db.admin.query<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
        `explain (analyze, buffers, format json) ${hour}`,
      );
      const { Plan } = rows[0]!['QUERY PLAN'][0];
      return Plan['Shared Hit Blocks']! + Plan['Shared Read Blocks']!;
    };
    expect(await lines(db, hour)).toEqual(['60']);
    const [pages] = await lines(db, `select relpages from pg_class where relname = 'workflow_events_y2025m06'`);
    expect(await buffers()).toBeLessThan(Number(pages) / 4);
  });

  test('works whatever the search path, and for a DBA', async () => {
    const db = await createTestDatabase({ unchecked: true });
    const client = await connect(db.adminUrl);
    await client.query(`set role flowgres_dba; set search_path = ''`);
    const { rows } = await client.query(`select public.create_workflow_events_partition('2025-06-01'::date) as name`);
    expect(rows).toEqual([{ name: 'workflow_events_y2025m06' }]);
    await client.end();
  });

  test.each(['null::date', `'infinity'::date`, `'-infinity'::timestamptz`, `'10000-01-01'::date`])('refuses %s', async (argument) => {
    const db = await createTestDatabase({ unchecked: true });
    await expect(db.admin.query(`select create_workflow_events_partition(${argument})`)).rejects.toMatchObject({ code: 'WF009' });
  });
});

describe('maintain_workflow_events_partitions', () => {
  test('returns how many it made, and three whole months after the current one are there', async () => {
    const db = await databaseAt('2026-11-21');
    await freezeClock(db, '2031-03-31 23:59+00');
    const { rows } = await db.admin.query(maintain);
    expect(rows).toEqual([{ maintain_workflow_events_partitions: 6 }]);
    expect((await names(db)).slice(-6)).toEqual(['y2031m01', 'y2031m02', 'y2031m03', 'y2031m04', 'y2031m05', 'y2031m06']);
    expect(await lines(db, maintain)).toEqual(['0']);
    await freezeClock(db, '2031-04-01');
    expect(await lines(db, maintain)).toEqual(['1']);
  });

  test('keeps the log writable for years: runs have partitions as well', async () => {
    const db = await databaseAt('2026-12-15');
    const { addRun } = await createLog(db);
    for (const at of ['2026-12-15', '2027-03-31', '2027-06-30', '2027-09-01', '2028-02-29', '2028-03-01']) {
      await freezeClock(db, at);
      await db.admin.query(maintain);
      await addRun(at);
    }
    expect(await lines(db, 'select count(*) from workflow_events')).toEqual(['6']);
  });

  test('repairs a hole before later partitions', async () => {
    const db = await createTestDatabase({ unchecked: true });
    const { rows } = await db.admin.query(
      `select o.name from partitions.of('workflow_events') as o where o.lower > now() order by o.lower limit 1`,
    );
    await db.admin.query(`drop table ${rows[0].name}`);
    expect(await lines(db, maintain)).toEqual(['1']);
  });

  test('warns of what it could not make and makes the rest', async () => {
    const db = await databaseAt('2026-11-21');
    await freezeClock(db, '2031-03-15');
    await db.admin.query('create table workflow_events_y2031m05 ()');
    const client = await connect(db.adminUrl);
    const warnings: string[] = [];
    client.on('notice', ({ message }) => message && warnings.push(message));
    const { rows } = await client.query(maintain);
    expect(rows).toEqual([{ maintain_workflow_events_partitions: 5 }]);
    expect(warnings).toEqual([
      expect.stringContaining('Partition workflow_events_y2031m05: A table public.workflow_events_y2031m05 exists'),
    ]);
    await client.end();
  });
});

describe('drop_old_workflow_events_partitions', () => {
  test('drops 12 months by default, and other tables never', async () => {
    const db = await databaseAt('2026-11-21');
    await db.admin.query(`
      select create_workflow_events_partition(month::date) from unnest('{2024-01-01,2025-09-01,2025-10-01,2025-11-01,2026-03-01}'::date[]) as month;
      create table workflow_events_archive (like workflow_events including all);
      create table workflow_events_y2020m01_archive (like workflow_events)`);
    expect(await lines(db, 'select drop_old_workflow_events_partitions()')).toEqual(['3']);
    expect(await names(db)).toEqual(expect.arrayContaining(['y2025m11', 'y2026m03', 'y2026m11']));
    expect(await lines(db, 'select drop_old_workflow_events_partitions(6)')).toEqual(['2']);
    expect(
      await lines(db, `select count(*) from pg_tables where tablename in ('workflow_events_archive', 'workflow_events_y2020m01_archive')`),
    ).toEqual(['2']);
  });

  test.each(['0', '-2', 'null', '2147483647'])('refuses %s months and drops nothing', async (months) => {
    const db = await databaseAt('2026-11-21');
    await expect(db.admin.query(`select drop_old_workflow_events_partitions(${months})`)).rejects.toMatchObject({ code: 'WF009' });
    expect(await partitionsOf(db, 'workflow_events')).toHaveLength(6);
  });

  test('keeps the events of unfinished runs and says whose they are; runs stay without their events', async () => {
    const db = await databaseAt('2025-01-15');
    await db.admin.query(`${maintain}; select create_workflow_events_partition('2025-05-01'::date)`);
    const { addRun } = await createLog(db);
    await addRun('2025-01-10');
    await addRun('2025-02-10', ['2025-02-10', '2025-03-02']);
    const waiting = await addRun('2025-01-20', ['2025-01-20', '2025-03-05'], 'waiting');
    await freezeClock(db, '2026-11-21');
    await db.admin.query(maintain);

    const client = await connect(db.adminUrl);
    const warnings: string[] = [];
    client.on('notice', ({ message }) => message && warnings.push(message));
    const { rows } = await client.query('select drop_old_workflow_events_partitions() as dropped');
    await client.end();
    expect(warnings).toEqual(
      ['01', '03'].map((month) => `Partition workflow_events_y2025m${month} stays: 1 unfinished runs have events in it: ${waiting}`),
    );
    expect(rows).toEqual([{ dropped: 5 }]);
    expect(await lines(db, 'select count(*) from workflow_runs')).toEqual(['3']);
    expect(await lines(db, 'select count(*) from workflow_events')).toEqual(['4']);
  });
});

describe('statistics', () => {
  test('rows are counted, dates are those of the bounds', async () => {
    const db = await databaseAt('2026-11-21');
    await db.admin.query(
      `select create_workflow_events_partition('2026-01-01'::date); select partitions.create('workflow_runs', '2026-01-01')`,
    );
    const { addRun } = await createLog(db);
    await addRun('2026-01-15', ['2026-01-15', '2026-01-16', '2026-01-17']);
    const { rows } = await db.admin.query(
      `select partition_name, start_date::text, end_date::text, row_count, size_bytes > 0 as has_size, size_pretty from get_workflow_events_partition_stats() limit 1`,
    );
    expect(rows).toEqual([
      {
        partition_name: 'workflow_events_y2026m01',
        start_date: '2026-01-01',
        end_date: '2026-02-01',
        row_count: 3,
        has_size: true,
        size_pretty: expect.stringMatching(/B$/),
      },
    ]);
  });

  test('the view shows each partition once, with an estimate that is never negative', async () => {
    const db = await databaseAt('2026-11-21');
    await db.admin.query('create schema other; create table other.workflow_events_y2026m11 ()');
    const rows = await lines(db, `select partition_name, row_count_estimate >= 0 from workflow_events_partition_info`);
    expect(rows).toHaveLength(6);
    expect(rows.every((row) => row.endsWith('true'))).toBe(true);
  });
});

test('no role that serves requests manages partitions', async () => {
  const db = await createTestDatabase({ unchecked: true });
  expect(
    await lines(
      db,
      `select r.rolname, p.proname from pg_proc as p cross join pg_roles as r
       where (p.pronamespace = 'partitions'::regnamespace or p.proname ~ 'workflow_events_partition')
         and r.rolname in ('flowgres_anonymous', 'flowgres_user', 'flowgres_api', 'flowgres_intake', 'flowgres_worker')
         and has_function_privilege(r.rolname, p.oid, 'execute')`,
    ),
  ).toEqual([]);
});
