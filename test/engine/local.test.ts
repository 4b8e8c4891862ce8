/** LocalSteps: what the SQL of a step writes and the success of the step are committed together. */
import { randomUUID } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { StepTask } from '../../src/engine/engine.ts';
import { LocalSteps } from '../../src/engine/local.ts';
import { createEnginePool } from '../../src/engine/statements.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const db = await createTestDatabase();
const engine = new Driver(db);
const pool = createEnginePool(db.url('flowgres_worker'), 'test local');
const steps = new LocalSteps(pool, { workerId: engine.worker, evaluationTimeoutMs: 1_000, perOrganization: 2 });
const GATE = 4_711;
let acme: TestOrganization;
let other: TestOrganization;
let workflow: TestWorkflow;

beforeAll(async () => {
  acme = await createOrganization(db);
  other = await createOrganization(db, 'Other');
  await db.admin.query(`
    create schema shop;
    grant usage on schema shop to flowgres_sql, flowgres_owner;
    create table shop.orders (
      organization_id uuid not null default current_organization_id(),
      number text not null
    );
    alter table shop.orders enable row level security;
    grant select, insert on shop.orders to flowgres_sql;
    create policy orders_of_organization on shop.orders to flowgres_sql
      using (organization_id = (select current_organization_id()));
    create function shop.order(properties jsonb, prev jsonb, inputs jsonb, out port text, out output jsonb) language plpgsql
      security definer set search_path = public, pg_temp as $$
    begin
      insert into shop.orders (number) values (prev ->> 'number');
      perform pg_advisory_xact_lock_shared(${GATE});
      port := coalesce(prev ->> 'port', 'main');
      output := (select to_jsonb(array_agg(number order by number)) from shop.orders);
    end $$;
    alter function shop.order(jsonb, jsonb, jsonb) owner to flowgres_sql;
    select engine.register_node('order', 'shop.order(jsonb, jsonb, jsonb)'::regprocedure, kind => 'local')`);
  const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'order', type: 'order' }, { id: 'end', type: 'noOp' });
  workflow = await publishWorkflow(acme, definition);
});
beforeEach(() => db.admin.query('delete from shop.orders'));

const begin = async (input: unknown): Promise<StepTask> => {
  const { run_id: runId } = await engine.start(acme, workflow, input);
  return (await engine.begin(runId, 'order')) as unknown as StepTask;
};
const noProgress = { done: () => 1, undone: () => undefined };
const run = (task: StepTask, progress = noProgress) => steps.run(task, progress);
const written = async () => (await db.admin.query('select organization_id, number from shop.orders')).rows;
const stateOf = async (runId: string) => (await engine.run(runId)).status;

/** Keeps functions that have written from returning, until it is called. */
async function closeGate(): Promise<() => Promise<void>> {
  const client = await db.admin.connect();
  await client.query(`select pg_advisory_lock(${GATE})`);
  const open = async () => void (await client.query(`select pg_advisory_unlock_all()`));
  onTestFinished(async () => {
    await open();
    client.release();
  });
  return open;
}
const atGate = () =>
  expect
    .poll(async () => (await db.admin.query(`select pid from pg_locks where locktype = 'advisory' and not granted`)).rows, { interval: 10 })
    .toHaveLength(1);

test('a function acts for the organization of the run, under row-level security', async () => {
  await db.admin.query(`insert into shop.orders values ($1, 'theirs')`, [other.id]);
  const task = await begin({ number: 'ours' });
  expect(await run(task)).toMatchObject({ answer: { outcome: 'recorded', status: 'success' } });
  expect(await engine.output(task.runId)).toEqual(['ours']);
  expect(await written()).toContainEqual({ organization_id: acme.id, number: 'ours' });
  expect((await db.admin.query('select from private.sessions where user_id is null')).rows).toEqual([]);
});

describe('what it wrote is undone when the step', () => {
  test('is aborted before its result is recorded', async () => {
    const task = await begin({ number: 'aborted' });
    const abort = () => {
      throw new Error('aborted');
    };
    await expect(run(task, { ...noProgress, done: abort })).rejects.toThrow();
    expect(await written()).toEqual([]);
    expect(await stateOf(task.runId)).toBe('running');
  });

  test('chooses a port that it does not have', async () => {
    const task = await begin({ number: 'elsewhere', port: 'nowhere' });
    expect(await run(task)).toMatchObject({ error: { code: 'UNKNOWN_PORT' } });
    expect(await written()).toEqual([]);
  });

  test('was given to another worker meanwhile, which does it once', async () => {
    const open = await closeGate();
    const task = await begin({ number: 'once' });
    const late = run(task);
    await atGate();
    await db.admin.query(`update engine.open_steps set lease_until = now() - interval '1 minute' where run_id = $1`, [task.runId]);
    await engine.reconcile();
    const second = (await engine.begin(task.runId, 'order')) as unknown as StepTask;
    expect(second.attempt).toBe(task.attempt + 1);
    await open();
    expect(await late).toMatchObject({ answer: { outcome: 'stale', next: null } });
    expect(await written()).toEqual([]);
    expect(await run(second)).toMatchObject({ answer: { outcome: 'recorded' } });
    expect(await written()).toHaveLength(1);
  });

  test('loses its connection; repeated, it does the work once, and once more nothing', async () => {
    const open = await closeGate();
    const task = await begin({ number: 'again' });
    const cut = run(task);
    cut.catch(() => undefined);
    await atGate();
    await db.admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where application_name = 'test local' and datname = current_database() and wait_event_type = 'Lock'`,
    );
    await expect(cut).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await open();
    expect(await written()).toEqual([]);
    expect(await run(task)).toMatchObject({ answer: { outcome: 'recorded' } });
    expect(await run(task)).toMatchObject({ answer: { outcome: 'stale' } });
    expect(await written()).toHaveLength(1);
  });
});

test('the next step of the branch begins with the answer', async () => {
  const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'order', type: 'order' }, { id: 'draw', type: 'random' });
  const { run_id: runId } = await engine.start(acme, await publishWorkflow(acme, definition), { number: randomUUID() });
  const task = (await engine.begin(runId, 'order')) as unknown as StepTask;
  const outcome = await run(task);
  expect(outcome).toMatchObject({ answer: { outcome: 'recorded', next: { node: 'draw', attempt: 1 } } });
});
