/** Checks that the event log is partitioned and works. Rolls back everything that it writes. */
import { randomBytes } from 'node:crypto';
import type { Client } from 'pg';
import { z } from 'zod';
import { connect } from '../database/connections.ts';
import { reasonOf } from '../errors.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

/** The result of one check. */
export interface CheckResult {
  check: string;
  /** What is wrong; not present when the check passed. */
  problem?: string;
}

/** A check throws what is wrong. */
type Check = (client: Client, run: string) => Promise<void>;

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

const CHECKS: Record<string, Check> = {
  'the tables are partitioned by range and have row-level security': (client) =>
    expectNone(
      client,
      `select t.name from unnest($1::text[]) as t (name)
       left join pg_class as c on c.oid = to_regclass('${API_SCHEMA}.' || t.name)
       left join pg_partitioned_table as p on p.partrelid = c.oid
       where p.partstrat is distinct from 'r' or not c.relrowsecurity`,
      [TABLES],
    ),

  'there are partitions for this month and the next three, without a hole': (client) =>
    expectNone(
      client,
      `select format('%s has none for %s', t.name, to_char(m.month, 'YYYY-MM')) from unnest('{workflow_runs,workflow_events}'::text[]) as t (name)
       cross join generate_series(date_trunc('month', now(), 'UTC'), now() + interval '3 months', interval '1 month') as m (month)
       where not exists (
         select from partitions.of(to_regclass('${API_SCHEMA}.' || t.name)) as o
         where o.lower <= m.month and o.upper > m.month and not o.detaching
       )`,
    ),

  'maintenance has nothing to repair': (client) =>
    expectNone(
      client,
      `select format('%s %s %s', action, partition, detail) from partitions.maintain(dry_run => true) where action <> 'skip'`,
    ),

  'the doctor finds nothing critical': (client) =>
    expectNone(client, `select format('%s: %s', parent, detail) from partitions.doctor() where severity = 'critical'`),

  'each partition has its indexes and is closed': (client) =>
    expectNone(
      client,
      `select o.name from partitions.of('${API_SCHEMA}.workflow_events') as o
       join pg_class as c on c.oid = o.partition
       where not c.relrowsecurity
         or exists (select from aclexplode(c.relacl) as a where a.grantee <> c.relowner)
         or (select count(*) from pg_index as i where i.indrelid = c.oid and i.indisvalid) < 5
         or to_regclass(format('${API_SCHEMA}.%I', o.name || '_run_id_idx')) is null
         or to_regclass(format('${API_SCHEMA}.%I', o.name || '_run_ts_idx')) is null
         or to_regclass(format('${API_SCHEMA}.%I', o.name || '_type_idx')) is null
         or to_regclass(format('${API_SCHEMA}.%I', o.name || '_ts_idx')) is null`,
    ),

  'the functions and the view are there': (client) =>
    expectNone(
      client,
      `select f.name from unnest($1::text[]) as f (name) where to_regprocedure('${API_SCHEMA}.' || f.name) is null
       union all select 'workflow_events_partition_info' where to_regclass('${API_SCHEMA}.workflow_events_partition_info') is null`,
      [FUNCTIONS],
    ),

  'events can be inserted and land in the partition of their month': async (client, run) => {
    await insertRun(client, run);
    await expectCount(
      client,
      `select count(*) from workflow_events as e
       join partitions.of('${API_SCHEMA}.workflow_events') as o on o.partition = e.tableoid
       where e.run_id = $1 and e.ts >= o.lower and e.ts < o.upper`,
      [run],
    );
  },

  'queries find them, by run and by time': async (client, run) => {
    await expectCount(client, 'select count(*) from get_workflow_run_events($1)', [run]);
    await expectCount(client, `select count(*) from workflow_events where run_id = $1 and ts >= now() - interval '1 minute'`, [run]);
    await expectNone(client, `select 'the statistics count fewer' from get_workflow_events_partition_stats() having sum(row_count) < 4`);
    await client.query('select * from workflow_events_partition_info');
  },

  'a time range reads one partition': async (client) => {
    const [from, to] = [new Date(), new Date(Date.now() + 1)].map((at) => at.toISOString());
    const { rows } = await client.query<{ 'QUERY PLAN': unknown }>(
      `explain (format json) select * from workflow_events where ts >= '${from}' and ts < '${to}'`,
    );
    const read = new Set(explained.parse(rows[0]?.['QUERY PLAN']).flatMap(({ Plan }) => relationsOf(Plan)));
    if (read.size !== 1) throw new Error(`the plan reads ${[...read].join(', ') || 'nothing'}`);
  },
};

/**
 * The parts of an EXPLAIN plan that are used. A node names a table only if it reads it; names of indexes do not
 * count.
 */
interface CompiledNode {
  'Relation Name'?: string | undefined;
  Plans?: CompiledNode[] | undefined;
}
const planNode: z.ZodType<CompiledNode> = z.lazy(() =>
  z.object({ 'Relation Name': z.string().optional(), Plans: z.array(planNode).optional() }),
);
const explained = z.array(z.object({ Plan: planNode }));

function relationsOf({ 'Relation Name': name, Plans = [] }: CompiledNode): string[] {
  return [...(name === undefined ? [] : [name]), ...Plans.flatMap(relationsOf)];
}

/**
 * Runs all checks.
 *
 * @param adminUrl connection string of an administrator
 */
export async function verifyPartitions(adminUrl: string): Promise<CheckResult[]> {
  const client = await connect(adminUrl);
  try {
    await client.query(`begin; set local timezone = 'UTC'`);
    const { rows } = await client.query<{ id: string }>('select engine.uuid_v7(now()) as id');
    const results: CheckResult[] = [];
    for (const [check, perform] of Object.entries(CHECKS)) results.push(await verify(client, check, () => perform(client, rows[0]!.id)));
    return results;
  } finally {
    await client.query('rollback').catch(() => undefined);
    await client.end();
  }
}

async function verify(client: Client, check: string, perform: () => Promise<void>): Promise<CheckResult> {
  await client.query('savepoint before_check');
  try {
    await perform();
    return { check };
  } catch (error) {
    await client.query('rollback to savepoint before_check');
    return { check, problem: reasonOf(error) };
  }
}

async function select(client: Client, text: string, values: unknown[]): Promise<unknown[]> {
  const { rows } = await client.query<unknown[]>({ text, values, rowMode: 'array' });
  return rows.flat();
}

/** Throws when the query, which lists problems, returns rows. */
async function expectNone(client: Client, query: string, values: unknown[] = []): Promise<void> {
  const problems = z.array(z.string()).parse(await select(client, query, values));
  if (problems.length) throw new Error(problems.join('; '));
}

/** Throws unless the query counts the four events of the run. */
async function expectCount(client: Client, query: string, values: unknown[]): Promise<void> {
  const [count] = await select(client, query, values);
  if (count !== 4) throw new Error(`${String(count)} of 4 events are found by: ${query}`);
}

/** Inserts a finished run of a new organization, with an event now and in each of the next three months. */
async function insertRun(client: Client, run: string): Promise<void> {
  const { rows } = await client.query<{ id: string }>(`insert into organizations (name, slug) values ('Verification', $1) returning id`, [
    `verify-${randomBytes(6).toString('hex')}`,
  ]);
  const values = [rows[0]!.id, run];
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
  // Explicit ids, so that not even a sequence advances.
  await client.query(
    `insert into workflow_events (id, organization_id, run_id, seq, ts, type, payload)
     select -1 - month, $1, $2, month + 1, now() + make_interval(months => month), 'verification', '{}'
     from generate_series(0, 3) as month`,
    values,
  );
}
