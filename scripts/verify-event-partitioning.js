/**
 * Checks that the event log is partitioned and works: node scripts/verify-event-partitioning.js
 *
 * On the database of DATABASE_URL, else of the Flowgres that runs in FLOWGRES_DATA (.flowgres); needs an administrator.
 * Whatever it writes is rolled back. It exits with 1 if any check fails.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';

const TABLES = ['workflow_runs', 'workflow_events', 'workflow_run_logs'];
const FUNCTIONS = [
  'create_workflow_events_partition(date)',
  'create_workflow_events_partition(timestamp)',
  'create_workflow_events_partition(timestamptz)',
  'maintain_workflow_events_partitions()',
  'drop_old_workflow_events_partitions(integer)',
  'get_workflow_events_partition_stats()',
  'get_workflow_run_events(uuid, timestamptz, timestamptz)',
];

/** Each check returns nothing, or throws what is wrong. */
const CHECKS = {
  'the tables are partitioned by range and have row-level security': async (client) => {
    const { rows } = await client.query(
      `select t.name from unnest($1::text[]) as t (name)
       left join pg_class as c on c.oid = to_regclass('public.' || t.name)
       left join pg_partitioned_table as p on p.partrelid = c.oid
       where p.partstrat is distinct from 'r' or not c.relrowsecurity`,
      [TABLES],
    );
    expectNone(rows.map(({ name }) => name));
  },

  'there are partitions for this month and the next three, without a hole': async (client) => {
    const { rows } = await client.query(
      `select format('%s has none for %s', t.name, to_char(m.month, 'YYYY-MM')) as problem
       from unnest('{workflow_runs,workflow_events}'::text[]) as t (name)
       cross join generate_series(date_trunc('month', now(), 'UTC'), now() + interval '3 months', interval '1 month') as m (month)
       where not exists (
         select from partitions.of(to_regclass('public.' || t.name)) as o
         where o.lower <= m.month and o.upper > m.month and not o.detaching
       )`,
    );
    expectNone(rows.map(({ problem }) => problem));
  },

  'maintenance has nothing to repair': async (client) => {
    const { rows } = await client.query(
      `select format('%s %s %s', action, partition, detail) as action from partitions.maintain(dry_run => true)
       where action <> 'skip'`,
    );
    expectNone(rows.map(({ action }) => action));
  },

  'the doctor finds nothing critical': async (client) => {
    const { rows } = await client.query(`select format('%s: %s', parent, detail) as finding from partitions.doctor() where severity = 'critical'`);
    expectNone(rows.map(({ finding }) => finding));
  },

  'each partition has its indexes and is closed': async (client) => {
    const { rows } = await client.query(
      `select o.name from partitions.of('public.workflow_events') as o
       join pg_class as c on c.oid = o.partition
       where not c.relrowsecurity
         or exists (select from aclexplode(c.relacl) as a where a.grantee <> c.relowner)
         or (select count(*) from pg_index as i where i.indrelid = c.oid and i.indisvalid) < 4
         or to_regclass(format('public.%I', o.name || '_run_id_idx')) is null
         or to_regclass(format('public.%I', o.name || '_run_ts_idx')) is null
         or to_regclass(format('public.%I', o.name || '_type_idx')) is null`,
    );
    expectNone(rows.map(({ name }) => name));
  },

  'the functions and the view are there': async (client) => {
    const { rows } = await client.query(
      `select f.name from unnest($1::text[]) as f (name) where to_regprocedure('public.' || f.name) is null
       union all select 'workflow_events_partition_info' where to_regclass('public.workflow_events_partition_info') is null`,
      [FUNCTIONS],
    );
    expectNone(rows.map(({ name }) => name));
  },

  'events can be inserted and land in the partition of their month': async (client, run) => {
    await insertRun(client, run);
    const { rows } = await client.query(
      `select e.ts::text as ts from workflow_events as e
       join partitions.of('public.workflow_events') as o on o.partition = e.tableoid
       where e.run_id = $1 and e.ts >= o.lower and e.ts < o.upper`,
      [run.id],
    );
    if (rows.length !== 4) throw new Error(`4 events were inserted, ${rows.length} are where they belong`);
  },

  'queries find them, by run and by time': async (client, run) => {
    const counts = {
      get_workflow_run_events: 'select count(*)::int as count from get_workflow_run_events($1)',
      workflow_events: `select count(*)::int as count from workflow_events where run_id = $1 and ts >= now() - interval '1 minute'`,
    };
    for (const [name, query] of Object.entries(counts)) {
      const { rows } = await client.query(query, [run.id]);
      if (rows[0].count !== 4) throw new Error(`${name} found ${rows[0].count} of 4 events`);
    }
    const { rows } = await client.query('select sum(row_count)::int as count from get_workflow_events_partition_stats()');
    if (!(rows[0].count >= 4)) throw new Error(`get_workflow_events_partition_stats() counted ${rows[0].count} events`);
    await client.query('select * from workflow_events_partition_info');
  },

  'a time range reads one partition': async (client) => {
    const { rows } = await client.query(
      `explain (format json) select * from workflow_events
       where ts >= '${new Date().toISOString()}' and ts < '${new Date(Date.now() + 1).toISOString()}'`,
    );
    const read = new Set(JSON.stringify(rows).match(/workflow_events_y\w+?(?=")/g));
    if (read.size !== 1) throw new Error(`the plan reads ${[...read].join(', ') || 'nothing'}`);
  },
};

function expectNone(problems) {
  if (problems.length) throw new Error(problems.join('; '));
}

/** A finished run of an organization of its own, with an event now and in each of the next three months. */
async function insertRun(client, run) {
  const organization = `insert into organizations (name, slug) values ('Verification', $1) returning id`;
  const { rows } = await client.query(organization, [`verify-${randomBytes(6).toString('hex')}`]);
  const values = [rows[0].id, run.id];
  await client.query(
    `with workflow as (
       insert into workflows (organization_id, name, definition) values ($1, 'Verification', '{}') returning organization_id, id
     ), version as (
       insert into workflow_versions (organization_id, workflow_id, version, definition)
       select organization_id, id, 1, '{}' from workflow returning *
     )
     insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
     select $2, organization_id, workflow_id, version, 'api', 'success', now(), now() + interval '3 months' from version`,
    values,
  );
  // The ids are given, so that not even the sequence shows a trace.
  await client.query(
    `insert into workflow_events (id, organization_id, run_id, seq, ts, type, payload)
     select -1 - month, $1, $2, month + 1, now() + make_interval(months => month), 'verification', '{}'
     from generate_series(0, 3) as month`,
    values,
  );
}

async function databaseUrl() {
  if (process.env.DATABASE_URL) return process.env.DATABASE_URL;
  const file = join(process.env.FLOWGRES_DATA || '.flowgres', 'connection.json');
  try {
    return JSON.parse(await readFile(file, 'utf8')).databaseUrl;
  } catch {
    throw new Error(`no database: set DATABASE_URL, or start Flowgres, which writes ${file}`);
  }
}

async function main() {
  const client = new pg.Client({ connectionString: await databaseUrl(), connectionTimeoutMillis: 10_000 });
  await client.connect();
  const failed = [];
  try {
    await client.query(`begin; set local timezone = 'UTC'`);
    const { rows } = await client.query('select engine.uuid_v7(now()) as id');
    for (const [name, check] of Object.entries(CHECKS)) {
      await client.query('savepoint before_check');
      try {
        await check(client, rows[0]);
        console.log(`ok      ${name}`);
      } catch (error) {
        failed.push(name);
        console.error(`FAILED  ${name}: ${error.message}`);
        await client.query('rollback to savepoint before_check');
      }
    }
  } finally {
    await client.query('rollback').catch(() => undefined);
    await client.end();
  }
  if (failed.length) throw new Error(`${failed.length} of ${Object.keys(CHECKS).length} checks failed`);
  console.log('Event partitioning works.');
}

main().catch((error) => {
  console.error(`Event partitioning is not verified: ${error.message}`);
  process.exitCode = 1;
});
