/** Measures how long inserts wait while partitions are created and retired and an earlier reader still reads. */
import { setTimeout as delay } from 'node:timers/promises';
import { connect } from '../../src/database/connections.ts';
import { maintainPartitions, retirePartitions } from '../../src/maintenance/partitions.ts';
import { type Outcome, percentiles } from '../measure.ts';
import type { PartitionBench } from './measure.ts';

const READER_SECONDS = Number(process.env['FLOWGRES_BENCH_READER_SECONDS'] ?? 60);
/** Months that begin while the reader reads. */
const MONTHS = 10;
const TARGET_MS = 250;

/** Measures the waits. */
export async function measureStall(bench: PartitionBench): Promise<Outcome[]> {
  const outcomes = await measureOurs(bench);
  return bench.partman ? [...outcomes, ...(await measurePartman(bench))] : outcomes;
}

async function measureOurs(bench: PartitionBench): Promise<Outcome[]> {
  const { admin, organizationId, workflowId } = bench;
  await admin.query(
    `update partitions.managed_tables set retention = '100 months', behind = 2 where parent::text in ('workflow_runs', 'workflow_events')`,
  );
  await retirePartitions(bench.maintenanceUrl);
  const setClock = (months: number) =>
    admin.query(
      `insert into private.test_mode (frozen_at) values (now() + make_interval(months => $1))
       on conflict (only_row) do update set frozen_at = excluded.frozen_at`,
      [months],
    );
  const insert = {
    name: 'stall',
    text: `with run as (
        insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
        select engine.uuid_v7(at), $1, $2, 1, 'api', 'success', at, at from engine.now() as at
        returning organization_id, id, started_at
      )
      insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
      select organization_id, id, seq, started_at, 'test', '{}' from run, generate_series(1, 3) as seq`,
    values: [organizationId, workflowId],
  };
  let made = 0;
  const actions = async () => {
    for (let month = 1; month <= MONTHS; month += 1) {
      const turn = delay((READER_SECONDS * 1000) / (MONTHS + 1));
      await setClock(month);
      made += (await maintainPartitions(bench.maintenanceUrl)).filter(({ action, done }) => action === 'create' && done).length;
      // Each detach waits at most a second for the reader; the next call finishes it.
      await retirePartitions(bench.maintenanceUrl, { lockTimeoutMs: 1000 });
      await turn;
    }
  };
  const stall = await insertBeside(bench, 'select count(*) from workflow_events', () => admin.query(insert), actions);
  await retirePartitions(bench.maintenanceUrl);
  await admin.query('delete from private.test_mode');
  return [
    { name: `Flowgres: insert of a run with 3 events beside a ${READER_SECONDS} s reader, ${made} partitions made`, ...stall },
    `Flowgres: the slowest insert beside a ${READER_SECONDS} s reader took ${stall.slowest.toFixed(0)} ms (target ${TARGET_MS})`,
  ];
}

/** Runs pg_partman's maintenance for a new month: it creates the partition furthest ahead and drops the oldest. */
async function measurePartman(bench: PartitionBench): Promise<Outcome[]> {
  const { admin } = bench;
  await admin.query(`
    create table public.bench_stall (id bigserial, ts timestamptz not null default now(), primary key (id, ts)) partition by range (ts);
    select partman.create_parent('public.bench_stall', 'ts', 'native', 'monthly', p_premake := 3, p_jobmon := false,
      p_start_partition := (now() - interval '4 months')::text);
    update partman.part_config set retention = '3 months', retention_keep_table = false where parent_table = 'public.bench_stall'`);
  let maintenance = 0;
  const actions = async () => {
    await delay((READER_SECONDS * 1000) / (MONTHS + 1));
    await admin.query(`insert into bench_stall (ts) values (now() + interval '1 month')`);
    const startedAt = performance.now();
    await admin.query(`select partman.run_maintenance('public.bench_stall', p_analyze := false, p_jobmon := false)`);
    maintenance = performance.now() - startedAt;
  };
  const insert = () => admin.query('insert into bench_stall default values');
  const stall = await insertBeside(bench, 'select count(*) from bench_stall', insert, actions);
  return [
    { name: `pg_partman: insert of a row beside a ${READER_SECONDS} s reader, one maintenance`, ...stall },
    `pg_partman: the slowest insert beside a ${READER_SECONDS} s reader took ${stall.slowest.toFixed(0)} ms, its maintenance ${maintenance.toFixed(0)} ms`,
  ];
}

/** Runs two inserters and `actions` as long as a transaction that has read the table stays open. */
async function insertBeside(bench: PartitionBench, read: string, insert: () => Promise<unknown>, actions: () => Promise<void>) {
  const reader = await connect(bench.adminUrl);
  const samples: number[] = [];
  let reading = true;
  const insertAll = async () => {
    while (reading) {
      const startedAt = performance.now();
      await insert();
      samples.push(performance.now() - startedAt);
    }
  };
  try {
    await reader.query(`begin; ${read}`);
    const sleep = async () => {
      await reader.query(`select pg_sleep(${READER_SECONDS}); commit`);
      reading = false;
    };
    await Promise.all([sleep(), insertAll(), insertAll(), actions()]);
  } finally {
    await reader.end();
  }
  return { ...percentiles(samples), slowest: Math.max(...samples.slice(20)) };
}
