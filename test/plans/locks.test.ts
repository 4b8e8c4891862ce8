import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  // Ten years of months, as a log has that nobody ever shortens.
  await db.admin.query(`
    select partitions.create(parent, month)
    from unnest(array['workflow_runs', 'workflow_events']::regclass[]) as parent,
      generate_series(now() - interval '115 months', now() + interval '3 months', interval '1 month') as month`);
}, 120_000);

/**
 * How many partitions of the log a statement has locked by its end, and how many other relations but partitions of runs.
 * Indexes of partitions do not count: on the last day of a month there are those of the next month's, too.
 */
async function locksOf(statement: string, values: unknown[]): Promise<{ events: number; others: number }> {
  const client = await db.pool('flowgres_worker').connect();
  try {
    await client.query('begin');
    await client.query(statement, values);
    const { rows } = await client.query<{ events: number; others: number }>(
      `select count(*) filter (where i.inhparent = 'workflow_events'::regclass and x.indexrelid is null)::int as events,
         count(*) filter (where i.inhparent is null)::int as others
       from (select distinct relation from pg_locks where pid = pg_backend_pid() and relation is not null) as l
       left join pg_index as x on x.indexrelid = l.relation
       left join pg_inherits as i on i.inhrelid = coalesce(x.indrelid, l.relation)
         and i.inhparent in ('workflow_events'::regclass, 'workflow_runs'::regclass)`,
    );
    await client.query('commit');
    return rows[0]!;
  } finally {
    client.release();
  }
}

// The foreign-key check of an event is planned once for all partitions of runs, so it locks each of them, once a
// transaction: planning it anew for every event would cost ten times as much.
test('completing a step touches the one partition of the log that the run is in, not all 120', async () => {
  const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, call('a'), call('b'), call('c')));
  const { run_id } = await engine.start(acme, workflow);
  let task = await engine.begin(run_id, 'a');
  task = (await engine.complete(task!, 1)).next;
  const result = [{ runId: run_id, node: task!.node, attempt: task!.attempt, ok: true, output: 2, ms: 1 }];
  const { rows } = await db.admin.query<{ count: number }>(
    `select count(*)::int from pg_inherits where inhparent = 'workflow_events'::regclass`,
  );
  expect(rows[0]!.count).toBeGreaterThanOrEqual(119);
  const locks = await locksOf('select from engine.complete_steps($1, $2)', [JSON.stringify(result), engine.worker]);
  expect(locks.events).toBeLessThanOrEqual(2);
  expect(locks.others).toBeLessThanOrEqual(35);
});
