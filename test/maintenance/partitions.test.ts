import { describe, expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { maintainPartitions, retirePartitions } from '../../src/maintenance/partitions.ts';
import type { TestDatabase } from '../helpers/database.ts';
import { createLog, databaseAt, freezeClock, lines, partitionsOf } from '../helpers/partitions.ts';

const summary = (actions: { action: string; partition: string | null; done: boolean; detail: string | null }[]) =>
  actions.map(({ action, partition, done, detail }) => `${action} ${partition} ${done} ${detail ?? '-'}`);

/** January to March 2025 with runs, seen on 2026-02-01, when January is old enough to leave. */
async function afterAYear(): Promise<TestDatabase> {
  const db = await databaseAt('2025-03-15');
  await db.admin.query('select partitions.maintain()');
  const { addRun } = await createLog(db);
  await addRun('2025-01-31 23:00+00', ['2025-01-31 23:00+00', '2025-02-01 01:00+00', '2025-03-01 00:00+00']);
  await addRun('2025-02-10');
  await db.admin.query(`delete from partitions.managed_tables where parent in ('workflow_run_logs'::regclass, 'api_access_log'::regclass)`);
  await freezeClock(db, '2026-02-01');
  await db.admin.query('select partitions.maintain()');
  return db;
}

const isLeft = async (db: TestDatabase) => ({
  runs: (await partitionsOf(db, 'workflow_runs'))[0]?.split(' ')[0],
  events: (await partitionsOf(db, 'workflow_events'))[0]?.split(' ')[0],
  rows: await lines(db, 'select count(*) from workflow_events'),
  tables: await lines(db, `select relname from pg_class where relname ~ '_y2025m01$' and relkind = 'r'`),
  retirements: await lines(db, 'select name from partitions.retirements'),
});
const JANUARY_GONE = { runs: 'workflow_runs_y2025m02', events: 'workflow_events_y2025m02', rows: ['1'], tables: [], retirements: [] };

test('a maintainer makes what is missing, table by table', async () => {
  const db = await databaseAt('2026-11-21');
  await freezeClock(db, '2031-05-05');
  const url = db.url('flowgres_maintenance');
  expect((await maintainPartitions(url)).map(({ partition }) => partition)).toEqual(
    expect.arrayContaining(['workflow_runs_y2031m08', 'workflow_events_y2031m08', 'workflow_run_logs_y2031w23']),
  );
  expect(await maintainPartitions(url)).toEqual([]);
});

describe('retirement', () => {
  test('takes a month of events, its stragglers and its runs', async () => {
    const db = await afterAYear();
    expect(summary(await retirePartitions(db.url('flowgres_maintenance')))).toEqual([
      'drop workflow_events_y2025m01 true -',
      'drop workflow_runs_y2025m01 true -',
    ]);
    expect(await isLeft(db)).toEqual(JANUARY_GONE);
    expect(await retirePartitions(db.url('flowgres_maintenance'))).toEqual([]);
  });

  test('after a pause of a year takes each partition once: logs are due by themselves and with their runs', async () => {
    const db = await databaseAt('2025-01-15');
    await db.admin.query('select partitions.maintain()');
    await freezeClock(db, '2026-06-15');
    await db.admin.query('select partitions.maintain()');
    const actions = await retirePartitions(db.url('flowgres_maintenance'));
    expect(actions.filter(({ done }) => !done)).toEqual([]);
    const names = actions.map(({ partition }) => partition);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(['workflow_run_logs_y2025w03', 'workflow_events_y2025m01', 'workflow_runs_y2025m01']));
  });

  test('takes months that are due together one by one, so that nobody waits for all of them', async () => {
    const db = await databaseAt('2025-01-15');
    await db.admin.query('select partitions.maintain()');
    await freezeClock(db, '2026-05-01');
    await db.admin.query('select partitions.maintain()');
    const client = await connect(db.adminUrl);
    await client.query('set role flowgres_owner');
    const { rows } = await client.query<{ statement: string }>('select statement from partitions.retire_concurrently() as statement');
    const taken: string[][] = [];
    for (const { statement } of rows) {
      const { rows: actions } = await client.query<{ partition?: string }>(statement);
      taken.push(actions.flatMap(({ partition }) => partition ?? []).filter((name) => /^workflow_(events|runs)_/.test(name)));
    }
    await client.end();
    const months = ['y2024m11', 'y2024m12', 'y2025m01', 'y2025m02', 'y2025m03', 'y2025m04'];
    expect(taken.filter(({ length }) => length)).toEqual([
      ...months.map((month) => [`workflow_events_${month}`]),
      ...months.map((month) => [`workflow_runs_${month}`]),
    ]);
  });

  test('holds up neither readers nor writers of the log while it waits for a reader', async () => {
    const db = await afterAYear();
    const { addRun } = await createLog(db);
    const reader = await connect(db.adminUrl);
    await reader.query('begin; select * from workflow_events');
    const retired = retirePartitions(db.url('flowgres_maintenance'));
    await expect.poll(() => lines(db, 'select from pg_inherits where inhdetachpending')).toHaveLength(1);
    for (let count = 0; count < 20; count += 1) {
      await addRun('2026-02-01');
      await db.admin.query('select count(*) from workflow_events');
    }
    await reader.query('commit');
    expect(summary(await retired)).toEqual(['drop workflow_events_y2025m01 true -', 'drop workflow_runs_y2025m01 true -']);
    await reader.end();
  });
});

test('retirement that was interrupted at any step is finished by the next', async () => {
  const db = await afterAYear();
  const client = await connect(db.adminUrl);
  await client.query('set role flowgres_owner');
  const { rows } = await client.query<{ statement: string }>('select statement from partitions.retire_concurrently() as statement');
  expect(rows.map(({ statement }) => statement.replace(/'20.*\)/, '…)')).toSorted()).toEqual([
    'alter table public.workflow_events detach partition public.workflow_events_y2025m01 concurrently',
    "call partitions.clear_late_events('public.workflow_runs', …)",
    "select * from partitions.finish_retirements('public.workflow_events', 'workflow_events_y2025m01')",
    "select * from partitions.retire(NULL, NULL, dry_run => true) where action = 'keep'",
    "select * from partitions.retire_period('public.workflow_runs', …)",
    "select pg_advisory_unlock(partitions.lock_key('private.audit_seals'))",
    "select pg_advisory_unlock(partitions.lock_key('public.audit_log'))",
    "select pg_advisory_unlock(partitions.lock_key('public.workflow_events'))",
    "select pg_advisory_unlock(partitions.lock_key('public.workflow_runs'))",
  ]);
  await client.end();
  // Between two unlocks there is nothing to interrupt.
  const steps = rows.filter(({ statement }) => !statement.includes('pg_advisory_unlock')).length;
  for (let step = 0; step <= steps; step += 1) {
    const damaged = await afterAYear();
    const interrupted = await connect(damaged.adminUrl);
    await interrupted.query('set role flowgres_owner');
    await interrupted.query('select partitions.retire_concurrently()');
    for (const { statement } of rows.slice(0, step)) await interrupted.query(statement);
    await interrupted.end();
    await retirePartitions(damaged.url('flowgres_maintenance'));
    expect(await isLeft(damaged)).toEqual(JANUARY_GONE);
    await damaged.drop();
  }
}, 60_000);

test('retirement that a reader keeps waiting too long gives up, and goes on the next time', async () => {
  const db = await afterAYear();
  const reader = await connect(db.adminUrl);
  await reader.query('begin; select * from workflow_events');
  const first = summary(await retirePartitions(db.url('flowgres_maintenance'), { lockTimeoutMs: 100 }));
  expect(first[0]).toMatch(/^alter table .* concurrently null false canceling statement due to lock timeout$/);
  expect(first.at(-1)).toMatch(/^keep workflow_runs_y2025m01 false The detach of workflow_events_y2025m01 has not ended\.$/);
  await reader.query('commit');
  await retirePartitions(db.url('flowgres_maintenance'));
  expect(await isLeft(db)).toEqual(JANUARY_GONE);
  await reader.end();
});
