/** Looks up the events of a run by the run's id only: in a log of 120 months, and in one table with the same rows. */
import type pg from 'pg';
import { type Outcome, percentiles } from '../measure.ts';
import { type PartitionBench, fill, times } from './measure.ts';

const MONTHS = 120;
const RUNS = MONTHS * 400;
const EVENTS_PER_RUN = 10;
const CALLS = 2000;

const QUERIES = {
  flat: 'select * from bench_flat where run_id = $1 order by ts',
  function: 'select * from get_workflow_run_events($1)',
  unpruned: 'select * from workflow_events where run_id = $1 order by ts',
};

/** Measures the lookups. */
export async function measureLookup(bench: PartitionBench): Promise<Outcome[]> {
  const { admin } = bench;
  await admin.query(`
    set session_replication_role = replica;
    truncate workflow_runs cascade;
    reset session_replication_role;
    update partitions.managed_tables set retention = null, behind = ${MONTHS - 4} where parent::text in ('workflow_runs', 'workflow_events')`);
  await admin.query('select * from partitions.maintain()');
  const { rows: begin } = await admin.query<{ at: string }>(
    `select to_char(date_trunc('month', now(), 'UTC') at time zone 'UTC' - interval '${MONTHS - 4} months', 'YYYY-MM-DD') || ' 00:00+00' as at`,
  );
  const every = `${Math.floor(((MONTHS - 5) * 30 * 86_400_000) / RUNS)} ms`;
  await fill(bench, { from: begin[0]!.at, every, runs: RUNS, events: EVENTS_PER_RUN });
  await admin.query(`
    create table bench_flat (like workflow_events, primary key (id, ts));
    insert into bench_flat select * from workflow_events;
    create index on bench_flat (run_id);
    create index on bench_flat (run_id, ts);
    create index on bench_flat (type)`);
  await admin.query('vacuum analyze bench_flat, workflow_events, workflow_runs');

  const { rows: runs } = await admin.query<{ id: string }>('select id from workflow_runs order by random() limit $1', [CALLS]);
  const ids = runs.map(({ id }) => id);
  const client = await admin.connect();
  const samples = Object.fromEntries(Object.keys(QUERIES).map((name) => [name, [] as number[]])) as Record<keyof typeof QUERIES, number[]>;
  try {
    for (const [index, id] of ids.entries()) {
      // Alternate, so that other load affects all.
      for (const [name, text] of Object.entries(QUERIES)) {
        const [ms] = await times(1, () => expectEvents(client, name, text, id));
        if (index >= 100) samples[name as keyof typeof QUERIES].push(ms!);
      }
    }
  } finally {
    client.release();
  }
  const flat = percentiles(samples.flat);
  const pruned = percentiles(samples.function);
  const unpruned = percentiles(samples.unpruned);
  return [
    { name: 'events of a run, flat table', ...flat },
    { name: `events of a run, ${MONTHS} partitions`, ...pruned },
    { name: `events of a run, ${MONTHS} partitions, a query without bounds`, ...unpruned },
    `events of a run at ${MONTHS} partitions: ${(pruned.p50 / flat.p50).toFixed(2)} × the time of a flat table (target at most 1.5), ` +
      `${(unpruned.p50 / pruned.p50).toFixed(1)} × faster than a query without bounds`,
  ];
}

async function expectEvents(client: pg.ClientBase, name: string, text: string, id: string): Promise<void> {
  const { rowCount } = await client.query({ name, text, values: [id] });
  if (rowCount !== EVENTS_PER_RUN) throw new Error(`${name} found ${rowCount} events of ${id}`);
}
