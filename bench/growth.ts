/**
 * Measures an installation as its log grows: 24 months of events, BENCH_EVENTS (1,000,000) in all. The latencies of a
 * start, the latest runs of an organization and the events of a run, and the time to retire and to archive the oldest
 * months. 100,000,000 events take some 60 GB and hours: BENCH_EVENTS=100000000 npm run bench -- growth
 */
import type pg from 'pg';
import { createPool } from '../src/database/connections.ts';
import { type Result, percentiles } from './measure.ts';
import type { BenchServer } from './server.ts';

const EVENTS = Number(process.env['BENCH_EVENTS'] ?? 1_000_000);
const MONTHS = 24;
const EVENTS_PER_RUN = 10;
const ORGANIZATIONS = 100;
const CALLS = 300;
/** Runs that one statement inserts. */
const BATCH = 50_000;

/** Measures one size. */
export async function measureGrowth(server: BenchServer): Promise<Result[]> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 1 });
  const workflowId = await server.publish('growth', [
    { id: 'start', type: 'apiTrigger' },
    { id: 'set', type: 'set', properties: { assign: { total: 120 } } },
  ]);
  try {
    const months = await fill(admin);
    const { rows } = await admin.query<{ id: string; organization_id: string }>(
      `select id, organization_id from workflow_runs tablesample system (1) order by random() limit ${CALLS}`,
    );
    const label = `${EVENTS.toLocaleString('en-US')} events in ${MONTHS} months`;
    const request = JSON.stringify([{ organizationId: server.organizationId, workflowId, input: {} }]);
    const each = (index: number) => rows[index % rows.length]!;
    return [
      { name: `${label}: start of a run`, ...(await timed(() => admin.query('select * from engine.start_runs($1)', [request]))) },
      {
        name: `${label}: latest 20 runs of an organization`,
        ...(await timed((index) =>
          admin.query('select id, status, started_at from workflow_runs where organization_id = $1 order by id desc limit 20', [
            each(index).organization_id,
          ]),
        )),
      },
      {
        name: `${label}: events of a run`,
        ...(await timed((index) => admin.query('select * from get_workflow_run_events($1)', [each(index).id]))),
      },
      { name: `${label}: archive of a month into tables`, ...(await once(() => leave(admin, 'partitions.archive', months[0]!))) },
      { name: `${label}: retirement of a month`, ...(await once(() => retire(admin, months[1]!))) },
    ];
  } finally {
    await admin.end();
  }
}

/** Makes the months and fills them evenly. Returns the first days of the months, the oldest first. */
async function fill(admin: pg.Pool): Promise<string[]> {
  const { rows: days } = await admin.query<{ day: string }>(
    `select to_char(date_trunc('month', now(), 'UTC') at time zone 'UTC' - n * interval '1 month', 'YYYY-MM-DD') || ' 00:00+00' as day
     from generate_series(1, ${MONTHS}) as n order by day`,
  );
  await admin.query(`update partitions.managed_tables set retention = null where parent::text in ('workflow_runs', 'workflow_events')`);
  // Skip foreign key checks: only what comes later is measured.
  await admin.query('set session_replication_role = replica');
  await admin.query(
    `insert into organizations (name, slug) select 'Growth ' || n, 'growth-' || n from generate_series(1, ${ORGANIZATIONS}) as n`,
  );
  await admin.query(
    `insert into workflows (organization_id, name, definition) select id, 'w', '{}' from organizations where slug like 'growth-%'`,
  );
  await admin.query(
    `insert into workflow_versions (organization_id, workflow_id, version, definition)
     select organization_id, id, 1, '{}' from workflows where name = 'w'`,
  );
  const runs = Math.ceil(EVENTS / EVENTS_PER_RUN / MONTHS);
  for (const { day } of days) {
    for (const parent of ['workflow_runs', 'workflow_events']) await admin.query('select partitions.create($1, $2)', [parent, day]);
    for (let from = 0; from < runs; from += BATCH) {
      await admin.query(
        `with owner as materialized (
           select array_agg(organization_id) as organizations, array_agg(id) as workflows from workflows where name = 'w'
         ), run as (
           insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
           select engine.uuid_v7(at), o.organizations[1 + i % ${ORGANIZATIONS}], o.workflows[1 + i % ${ORGANIZATIONS}], 1, 'api', 'success', at, at + interval '1 second'
           from owner as o, generate_series($2::int, $3::int - 1) as i
           cross join lateral (values ($1::timestamptz + (i + 0.5) * interval '27 days' / $4)) as t (at)
           returning organization_id, id, started_at
         )
         insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
         select organization_id, id, seq, started_at + seq * interval '1 ms', 'step.succeeded',
           '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
         from run, generate_series(1, ${EVENTS_PER_RUN}) as seq`,
        [day, from, Math.min(from + BATCH, runs), runs],
      );
    }
  }
  await admin.query('reset session_replication_role');
  await admin.query('vacuum analyze workflow_runs, workflow_events, workflows, workflow_versions, organizations');
  return days.map(({ day }) => day);
}

async function timed(work: (index: number) => Promise<unknown>): Promise<Partial<Result>> {
  const samples: number[] = [];
  for (let index = 0; index < CALLS; index += 1) {
    const startedAt = performance.now();
    await work(index);
    // The first calls read the catalog.
    if (index >= CALLS / 10) samples.push(performance.now() - startedAt);
  }
  return percentiles(samples);
}

async function once(work: () => Promise<unknown>): Promise<Partial<Result>> {
  const startedAt = performance.now();
  await work();
  return { p50: performance.now() - startedAt };
}

async function leave(admin: pg.Pool, call: 'partitions.archive', month: string): Promise<void> {
  const { rows } = await admin.query<{ done: boolean | null }>(`select * from ${call}('workflow_runs', $1)`, [month]);
  if (!rows.length || rows.some(({ done }) => done === false)) throw new Error(`${call} did not finish: ${JSON.stringify(rows)}`);
}

/** Retires the oldest month that is left, as the daily job does. */
async function retire(admin: pg.Pool, month: string): Promise<void> {
  await admin.query(
    `update partitions.managed_tables set retention = now() - $1::timestamptz - interval '32 days' where parent::text = 'workflow_runs'`,
    [month],
  );
  const { rows } = await admin.query<{ partition: string | null; done: boolean }>('select * from partitions.retire()');
  if (!rows.some(({ done, partition }) => done && partition)) throw new Error(`${month} was not retired: ${JSON.stringify(rows)}`);
}
