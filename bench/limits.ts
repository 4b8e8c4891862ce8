/** Measures what PostgreSQL itself achieves, as the reference for all other results of the run. */
import { createPool } from '../src/database/connections.ts';
import { throughput } from './measure.ts';
import type { BenchServer } from './server.ts';

/** Names of the reference measurements. */
export const LIMITS = {
  P: 'P: INSERT of one row and commit, 8 clients',
  E: 'E: one transaction with a run and 6 events, 8 clients',
  bulk: 'events inserted in bulk, rows',
} as const;
/** Operations per second of each reference, and latencies in milliseconds. */
export type Limits = Record<keyof typeof LIMITS, { rate: number; p50?: number; p95?: number }>;

const SECONDS = 3;

/** Inserts a run and six events with the product's tables, keys and indexes, but without its functions. */
const RUN_AND_EVENTS = `
  with run as (
    insert into bench_runs (id, organization_id, status) values (engine.uuid_v7(clock_timestamp()), $1, 'success') returning id, organization_id
  )
  insert into bench_events (organization_id, run_id, seq, type, payload)
  select run.organization_id, run.id, seq, 'step.succeeded', '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
  from run, generate_series(1, 6) as seq`;

/** Measures the references. */
export async function measureLimits(server: BenchServer): Promise<Limits> {
  const pool = createPool(server.adminUrl, { name: 'bench limits', max: 8 });
  await pool.query(`
    drop table if exists bench_rows, bench_events, bench_runs;
    create table bench_rows (id bigserial primary key, value text);
    create table bench_runs (id uuid primary key, organization_id uuid not null, status text, unique (organization_id, id));
    create table bench_events (
      id bigserial, organization_id uuid not null, run_id uuid not null, seq int, ts timestamptz default clock_timestamp(), type text, payload jsonb,
      primary key (id, ts), foreign key (organization_id, run_id) references bench_runs (organization_id, id) deferrable initially immediate
    ) partition by range (ts);
    create index on bench_events (run_id);
    create index on bench_events (run_id, ts);
    create index on bench_events (type);
    create table bench_events_now partition of bench_events for values from ('2000-01-01') to ('2100-01-01')`);
  // A row and its reference in one statement: the foreign key is checked at the end.
  const P = await throughput(8, SECONDS, () =>
    pool.query({ name: 'p', text: 'insert into bench_rows (value) values ($1)', values: ['x'] }),
  );
  const E = await throughput(8, SECONDS, () => pool.query({ name: 'e', text: RUN_AND_EVENTS, values: [server.organizationId] }));
  const { rows } = await pool.query<{ id: string }>('select id from bench_runs limit 1');
  const bulk = await throughput(
    1,
    SECONDS,
    () =>
      pool.query(
        `insert into bench_events (organization_id, run_id, seq, type, payload)
         select $1, $2, seq, 'step.succeeded', '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
         from generate_series(1, 10000) as seq`,
        [server.organizationId, rows[0]!.id],
      ),
    10_000,
  );
  await pool.query('drop table bench_rows, bench_events, bench_runs');
  await pool.end();
  return { P, E, bulk: { rate: bulk.rate } };
}
