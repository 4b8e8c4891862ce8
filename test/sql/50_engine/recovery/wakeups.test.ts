/** Wake-ups in the queue: none is lost, whoever locks, completes or loses its job meanwhile. */
import type pg from 'pg';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

/** Any number: inserts of jobs wait for this advisory lock. */
const GATE = 20_261_129;

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let parent: { id: string };
const open: pg.PoolClient[] = [];

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
  await publishWorkflow(acme, chain({ id: 'start', type: 'subworkflowTrigger' }, call), 'child');
  parent = await publishWorkflow(
    acme,
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'all', type: 'forEach', properties: { workflow: 'child', concurrency: 3 } }),
    'parent',
  );
  // Before the row is inserted, and after the statement that looks for locked jobs: between the two of add_jobs.
  await db.admin.query(`
    create function public.wait_at_gate() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(${GATE});
      return new;
    end $$;
    create trigger gate before insert on graphile_worker._private_jobs for each row execute function public.wait_at_gate()`);
});
afterEach(async () => {
  for (const client of open.splice(0)) client.release(true);
  await db.admin.query('delete from graphile_worker._private_jobs');
});

const spec = (key: string | null) =>
  `row('run_step', '{"runId": "01940000-0000-7000-8000-000000000000", "node": "a"}'::json, null, null, null, ${key === null ? 'null' : `'${key}'`}, 0, null)::graphile_worker.job_spec`;
const add = (...keys: (string | null)[]) => `select engine.add_jobs(array[${keys.map(spec).join(', ')}])`;
const jobs = async (key: string) =>
  (
    await db.admin.query<{ id: string; locked_by: string | null; revision: number }>(
      'select id, locked_by, revision from graphile_worker._private_jobs where key = $1',
      [key],
    )
  ).rows;
/** As graphile-worker does, in one statement. */
const lock = (where: string, pool = 'pool-x') =>
  db.admin.query<{ id: string }>(
    `update graphile_worker._private_jobs set locked_by = $1, locked_at = now(), attempts = attempts + 1 where ${where} returning id`,
    [pool],
  );

async function session(): Promise<pg.PoolClient & { pid: number }> {
  const client = await db.admin.connect();
  open.push(client);
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return Object.assign(client, { pid: rows[0]!.pid });
}

async function waitsForLock(pid: number): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rows } = await db.admin.query(`select from pg_locks where pid = $1 and not granted`, [pid]);
      expect(rows).toHaveLength(1);
    },
    { timeout: 10_000, interval: 5 },
  );
}

/** Does `between` while `statement` stands between the two statements of graphile-worker's add_jobs. */
async function heldApart(statement: string, between: () => Promise<unknown>, values: unknown[] = [], begin = 'begin'): Promise<void> {
  const [gate, adding] = [await session(), await session()];
  await gate.query('select pg_advisory_lock($1)', [GATE]);
  await adding.query(begin);
  const added = adding.query(statement, values);
  added.catch(() => undefined);
  await waitsForLock(adding.pid);
  await between();
  await gate.query('select pg_advisory_unlock($1)', [GATE]);
  await added;
  await adding.query('commit');
}

describe('a job that a worker locks between the two statements of add_jobs', () => {
  test.each(['child:x', 'children:x', 'due:x', 'operation:x', 'rate:x'])('is followed by another one with the key %s', async (key) => {
    await db.admin.query(add(key));
    await heldApart(add(key), () => lock(`key = '${key}'`));
    expect(await jobs(key)).toMatchObject([{ locked_by: null, revision: 0 }]);
    expect((await db.admin.query(`select from graphile_worker._private_jobs where locked_by = 'pool-x' and key is null`)).rowCount).toBe(1);
  });

  test('does not double the others of its batch', async () => {
    await db.admin.query(add('first', 'second'));
    await heldApart(add('first', null, 'second', 'third', null), () => lock(`key = 'second'`));
    const { rows } = await db.admin.query<{ key: string | null; n: number }>(
      'select key, count(*)::int as n from graphile_worker._private_jobs where locked_at is null group by key order by key',
    );
    expect(rows).toEqual([
      { key: 'first', n: 1 },
      { key: 'second', n: 1 },
      { key: 'third', n: 1 },
      { key: null, n: 2 },
    ]);
  });

  test('is an error, and no silence, to a transaction that cannot see the lock', async () => {
    await db.admin.query(add('frozen'));
    const repeatable = 'begin isolation level repeatable read';
    await expect(heldApart(add('frozen'), () => lock(`key = 'frozen'`), [], repeatable)).rejects.toMatchObject({ code: '40001' });
  });

  test('wakes the parent again whose last child has ended meanwhile', async () => {
    const { run_id: runId } = await engine.start(acme, parent, [1, 2, 3]);
    await engine.begin(runId, 'all');
    await db.admin.query('delete from graphile_worker._private_jobs');
    const { rows } = await db.admin.query<{ id: string }>('select id from workflow_runs where parent_run_id = $1', [runId]);
    await engine.finish(rows[0]!.id, 'call', 1);
    await engine.finish(rows[1]!.id, 'call', 1);
    const last = await engine.begin(rows[2]!.id, 'call');
    const result = { runId: last!.runId, node: 'call', attempt: last!.attempt, ok: true, output: 1, ms: 1 };
    await heldApart('select from engine.complete_steps($1, $2)', async () => {
      await lock(`payload ->> 'node' = 'all'`);
      await engine.begin(runId, 'all'); // sees two children that have ended, and one that has not
      expect((await engine.run(runId)).status).toBe('waiting');
    }, [JSON.stringify([result]), engine.worker]);
    await db.admin.query('delete from graphile_worker._private_jobs where locked_at is not null');
    expect(await engine.jobs(runId)).toEqual(['all']);
    await engine.begin(runId, 'all');
    expect((await engine.run(runId)).status).toBe('success');
  });
});

test('two transactions that ask for one key at once leave one job', async () => {
  await heldApart(add('both'), async () => {
    const second = await session();
    await second.query('begin');
    const added = second.query(add('both'));
    await waitsForLock(second.pid);
    void added.then(() => second.query('commit'));
  });
  await vi.waitFor(async () => expect(await jobs('both')).toMatchObject([{ locked_by: null, revision: 1 }]), { timeout: 10_000 });
});

describe('a worker that was taken for dead and was not', () => {
  const die = async () => {
    await db.pool('flowgres_worker').query(`select from engine.heartbeat($1, '[]', 'pool-slow')`, [engine.worker]);
    await db.admin.query(`update engine.workers set seen_at = now() - interval '16 seconds'`);
    await engine.reconcile();
  };

  test('completes the job that it had, not the wake-up that has come since', async () => {
    await db.admin.query(add('child:slow'));
    const { rows } = await lock(`key = 'child:slow'`, 'pool-slow');
    await die();
    await db.admin.query(add('child:slow')); // reuses the job that is free again
    await db.admin.query('delete from graphile_worker._private_jobs where id = $1', [rows[0]!.id]); // as graphile-worker completes it
    expect(await jobs('child:slow')).toMatchObject([{ locked_by: null }]);
  });

  test('has its jobs taken over with their keys, times and attempts', async () => {
    await db.admin.query(add('child:kept', null));
    await lock('true', 'pool-slow');
    const { rows: before } = await db.admin.query('select key, run_at, attempts, payload from graphile_worker._private_jobs order by key');
    await die();
    const { rows: after } = await db.admin.query(
      'select key, run_at, attempts, payload from graphile_worker._private_jobs where is_available order by key',
    );
    expect(after).toEqual(before);
  });
});
