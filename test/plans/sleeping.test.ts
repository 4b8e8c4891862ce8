/** Runs that sleep cost nothing: what workers do every second does not look at them, however many there are. */
import { beforeAll, expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const SLEEPERS = 100_000;
// Written by hand, and replaying them would take minutes.
const db = await createTestDatabase({ unchecked: true });
const engine = new Driver(db);

beforeAll(async () => {
  const acme = await createOrganization(db);
  const wait = { id: 'pause', type: 'wait', properties: { seconds: 86_400 * 30 } };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, wait)));
  const client = await db.admin.connect();
  await client.query('set session_replication_role = replica'); // no foreign-key checks: they take most of the time
  await client.query(
    `with sleeper as (
       insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at)
       select engine.uuid_v7(), r.organization_id, r.workflow_id, r.version, r.mode, r.status, r.started_at
       from workflow_runs as r cross join generate_series(1, $2) where r.id = $1
       returning id, organization_id
     )
     insert into engine.open_steps (organization_id, run_id, node, branch, state, run_at, wake_at)
     select s.organization_id, s.id, 'pause', 'pause', 'waiting', now() + interval '30 days', now() + interval '30 days' from sleeper as s`,
    [run_id, SLEEPERS],
  );
  client.release(true);
}, 120_000);

/** How many steps and runs a statement reads, and what it answers. */
async function reading(statement: string): Promise<{ read: number; rows: Record<string, unknown>[] }> {
  const client = await db.admin.connect();
  const reads = async () => {
    const { rows } = await client.query<{ read: number }>(
      `select sum(t.seq_tup_read + t.idx_tup_fetch)::int as read from pg_stat_xact_user_tables as t
       where t.relname = 'open_steps' or t.relname ~ '^workflow_runs_'`,
    );
    return rows[0]!.read;
  };
  try {
    await client.query('begin');
    const before = await reads();
    const { rows } = await client.query(statement);
    const read = (await reads()) - before;
    await client.query('commit');
    return { read, rows };
  } finally {
    client.release();
  }
}

test('100,000 sleeping runs have no job', async () => {
  const { rows } = await db.admin.query('select count(*)::int as n from graphile_worker._private_jobs');
  expect(rows).toEqual([{ n: 0 }]);
});

test.each([
  'select * from engine.wake_steps()',
  'select * from engine.reconcile()',
  `select * from engine.heartbeat(gen_random_uuid(), '[{"runId": "01940000-0000-7000-8000-000000000000", "node": "a", "attempt": 1}]')`,
])('%s reads none of them', async (statement) => {
  expect(await reading(statement)).toMatchObject({ read: 0 });
});

test('one that is due among them is found, and only that one is read', async () => {
  const { rows } = await db.admin.query<{ run_id: string }>(
    `update engine.open_steps set run_at = now(), wake_at = now()
     where run_id = (select max(s.run_id::text)::uuid from engine.open_steps as s) returning run_id`,
  );
  const { read, rows: woken } = await reading('select * from engine.wake_steps()');
  expect(woken).toEqual([{ run_id: rows[0]!.run_id, node: 'pause' }]);
  await db.admin.query('delete from graphile_worker._private_jobs');
  // Once to lock it, once to write it.
  expect(read).toBeLessThanOrEqual(3);
});
