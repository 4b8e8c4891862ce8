/**
 * Compares partitions with pg_partman on one PostgreSQL 15 server with the settings of the other cases, from
 * Debian's packages postgresql-15 and postgresql-15-partman. What is not installed is reported as not run.
 *
 * FLOWGRES_BENCH_READER_SECONDS (60) is how long the reader of the stall case reads, FLOWGRES_BENCH_EVENTS
 * (1,000,000) the number of events in the retired month.
 */
import type pg from 'pg';
import { createPool } from '../../src/database/connections.ts';
import { roleUrl } from '../../src/database/roles.ts';
import { TEST_PASSWORDS, buildDatabase } from '../../tools/build-database.ts';
import { launchPostgres15, packages } from '../../test/helpers/daemons.ts';
import type { Outcome } from '../measure.ts';
import { SETTINGS } from '../server.ts';
import { measureLookup } from './lookup.ts';
import { measureRetirement } from './retirement.ts';
import { measureStall } from './stall.ts';
import { measureUpkeep } from './upkeep.ts';

/** The server and connections of these cases. */
export interface PartitionBench {
  admin: pg.Pool;
  adminUrl: string;
  maintenanceUrl: string;
  /** Whether pg_partman is installed, in schema partman. */
  partman: boolean;
  /** Organization of the runs. */
  organizationId: string;
  workflowId: string;
}

/** Yields the results of all cases. */
export async function* measurePartitions(): AsyncGenerator<Outcome> {
  if (!packages['postgresql-15']) {
    yield 'not run: partitions (postgresql-15 not installed)';
    return;
  }
  // One transaction creates up to 1,200 partitions with four indexes each.
  const server = await launchPostgres15({ ...SETTINGS, max_locks_per_transaction: '1024' });
  try {
    const bench = await prepare(server.url);
    if (!bench.partman) yield 'not run: pg_partman (postgresql-15-partman not installed)';
    for (const measure of [measureUpkeep, measureRetirement, measureLookup, measureStall]) yield* await measure(bench);
    await bench.admin.end();
  } finally {
    await server.stop();
  }
}

async function prepare(serverUrl: string): Promise<PartitionBench> {
  const adminUrl = await buildDatabase(serverUrl, 'flowgres');
  const admin = createPool(adminUrl, { name: 'bench', max: 8 });
  if (packages['postgresql-15-partman']) await admin.query('create schema partman; create extension pg_partman schema partman');
  const { rows } = await admin.query<{ organization_id: string; workflow_id: string }>(
    `with organization as (
       insert into organizations (name, slug) values ('Bench', 'bench') returning id
     ), workflow as (
       insert into workflows (organization_id, name, definition) select id, 'Bench', '{}' from organization returning organization_id, id
     )
     insert into workflow_versions (organization_id, workflow_id, version, definition)
     select organization_id, id, 1, '{}' from workflow returning organization_id, workflow_id`,
  );
  const { organization_id: organizationId, workflow_id: workflowId } = rows[0]!;
  const maintenanceUrl = roleUrl(adminUrl, TEST_PASSWORDS, 'flowgres_maintenance');
  return { admin, adminUrl, maintenanceUrl, partman: packages['postgresql-15-partman'], organizationId, workflowId };
}

/** Fills months with evenly spread runs and their events, each set in one statement. */
export async function fill(bench: PartitionBench, span: { from: string; every: string; runs: number; events: number }): Promise<void> {
  await bench.admin.query(
    `with run as (
       insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
       select engine.uuid_v7(at), $1, $2, 1, 'api', 'success', at, at + interval '1 second'
       from generate_series(0, $5::int - 1) as i
       cross join lateral (values ($3::timestamptz + i * $4::interval)) as t (at)
       returning organization_id, id, started_at
     )
     insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
     select organization_id, id, seq, started_at + seq * interval '1 ms', 'step.succeeded',
       '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
     from run, generate_series(1, $6::int) as seq`,
    [bench.organizationId, bench.workflowId, span.from, span.every, span.runs, span.events],
  );
}

/** Returns the milliseconds of successive calls; `prepareCall` before each is not included. */
export async function times(calls: number, work: () => Promise<unknown>, prepareCall?: () => Promise<unknown>): Promise<number[]> {
  const samples: number[] = [];
  for (let call = 0; call < calls; call += 1) {
    await prepareCall?.();
    const startedAt = performance.now();
    await work();
    samples.push(performance.now() - startedAt);
  }
  return samples;
}
