/** The session of a worker: when its end means that the worker is dead. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { tomorrowAt } from '../../../helpers/clock.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver, type Task } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
const NOON = tomorrowAt('12:00:00');
const later = (ms: number) => engine.freeze(new Date(NOON.getTime() + ms));

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});
beforeEach(async () => {
  engine = new Driver(db);
  await engine.freeze(NOON);
});
afterEach(() => db.admin.query('delete from engine.workers'));

const worker = () => db.pool('flowgres_worker');

/** The worker of the driver opens its session. Resolves to a function that ends it, as the death of a process does. */
async function openSession(id = engine.worker): Promise<() => Promise<void>> {
  const client = new pg.Client(db.url('flowgres_worker'));
  await client.connect();
  let isOpen = true;
  const end = async () => {
    if (!isOpen) return;
    isOpen = false;
    await client.end();
    // The server notices the end of a connection a moment later.
    await expect
      .poll(async () => (await db.admin.query('select engine.is_session_free($1) as free', [id])).rows[0])
      .toEqual({ free: true });
  };
  onTestFinished(end);
  await client.query('select engine.hold_session($1)', [id]);
  return end;
}

const beat = async (running: Pick<Task, 'runId' | 'node' | 'attempt'>[] = []) =>
  (
    await worker().query<{ node: string }>('select node from engine.heartbeat($1, $2, $3)', [
      engine.worker,
      JSON.stringify(running.map(({ runId, node, attempt }) => ({ runId, node, attempt }))),
      `pool-${engine.worker}`,
    ])
  ).rows.map(({ node }) => node);
/** What another worker sees. */
const look = async (judges = true) =>
  (await worker().query('select suspects, lost_workers from engine.due_work($1, $2)', [randomUUID(), judges])).rows[0];
const expire = async () => (await worker().query<{ lost: number }>('select engine.expire_lost_workers() as lost')).rows[0]!.lost;

const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };

async function beginCall(): Promise<Task> {
  const workflow = await publishWorkflow(acme, chain(trigger, call));
  const { run_id } = await engine.start(acme, workflow);
  return (await engine.begin(run_id, 'a'))!;
}

const NOBODY = { suspects: false, lost_workers: false };

describe('a worker whose session has ended', () => {
  test('and who is silent for a second is dead: its step is queued again, long before its lease ends', async () => {
    const end = await openSession();
    await beat();
    const task = await beginCall();
    expect(await look()).toEqual(NOBODY);
    await end();
    expect(await look()).toEqual({ suspects: true, lost_workers: false });
    await later(999);
    expect([await look(), await expire()]).toEqual([{ suspects: true, lost_workers: false }, 0]);
    await later(1_000);
    expect([await look(), await expire()]).toEqual([{ suspects: false, lost_workers: true }, 1]);
    expect(await engine.reconcile()).toContainEqual({ action: 'requeue', run_id: task.runId, node: 'a' });
    expect(await look()).toEqual(NOBODY);
    expect(await engine.begin(task.runId, 'a')).toMatchObject({ attempt: 2, idempotencyKey: task.idempotencyKey });
    expect(await engine.complete(task, 'late')).toMatchObject({ outcome: 'stale' });
  });

  test('leaves the jobs that it had locked to others', async () => {
    const end = await openSession();
    await beat();
    const workflow = await publishWorkflow(acme, chain(trigger, call));
    const { run_id } = await engine.start(acme, workflow);
    const jobs = `graphile_worker._private_jobs where payload ->> 'runId' = $1`;
    await db.admin.query(`update graphile_worker._private_jobs set locked_at = now(), locked_by = $2 where payload ->> 'runId' = $1`, [
      run_id,
      `pool-${engine.worker}`,
    ]);
    await end();
    await look();
    await later(1_000);
    expect(await expire()).toBe(1);
    expect((await db.admin.query(`select locked_by from ${jobs}`, [run_id])).rows).toEqual([{ locked_by: null }]);
  });

  test('and who sends a heartbeat lives: from then on its leases decide', async () => {
    const end = await openSession();
    await beat();
    const task = await beginCall();
    await end();
    expect(await look()).toEqual({ suspects: true, lost_workers: false });
    await later(500);
    expect(await beat([task])).toEqual([]);
    await later(10_000);
    expect([await look(), await expire()]).toEqual([NOBODY, 0]);
    expect(await engine.complete(task, 'fine')).toMatchObject({ outcome: 'recorded' });
  });

  test('and who has a new one is judged by that', async () => {
    const end = await openSession();
    await beat();
    await end();
    await look();
    const endSecond = await openSession();
    await later(5_000);
    expect(await expire()).toBe(0);
    await beat();
    expect(await look()).toEqual(NOBODY);
    await endSecond();
    expect(await look()).toEqual({ suspects: true, lost_workers: false });
  });

  test('is not judged by one who may not', async () => {
    const end = await openSession();
    await beat();
    await end();
    expect(await look(false)).toEqual(NOBODY);
    await later(1_000);
    expect([await look(false), await expire()]).toEqual([NOBODY, 0]);
  });
});

describe('a worker that is declared dead', () => {
  test('but lives has not died of its step', async () => {
    const end = await openSession();
    await beat();
    const task = await beginCall();
    await end();
    await look();
    await later(1_000);
    await expire();
    await engine.reconcile();
    const crashes = async () => (await db.admin.query('select crashes from engine.open_steps where run_id = $1', [task.runId])).rows[0];
    expect(await crashes()).toEqual({ crashes: 1 });
    expect(await beat([task])).toEqual(['a']);
    expect(await crashes()).toEqual({ crashes: 0 });
  });

  test('is so once, however many look', async () => {
    const end = await openSession();
    await beat();
    await end();
    await look();
    await later(1_000);
    const counts = await Promise.all(Array.from({ length: 4 }, expire));
    expect(counts.toSorted()).toEqual([0, 0, 0, 1]);
  });
});

test('a step whose result is being recorded keeps its lease when its worker is declared dead', async () => {
  const end = await openSession();
  await beat();
  const task = await beginCall();
  await end();
  await look();
  await later(1_000);
  const recording = await db.admin.connect();
  await recording.query('begin');
  await recording.query('select from engine.open_steps where run_id = $1 for update', [task.runId]);
  expect(await expire()).toBe(1);
  await recording.query('rollback');
  recording.release();
  expect(await engine.reconcile()).not.toContainEqual(expect.objectContaining({ run_id: task.runId }));
  await later(15_001);
  expect(await engine.reconcile()).toContainEqual({ action: 'requeue', run_id: task.runId, node: 'a' });
});

test('a worker without a session is judged by its leases alone', async () => {
  await beat();
  const task = await beginCall();
  await later(10_000);
  expect([await look(), await expire()]).toEqual([NOBODY, 0]);
  await later(16_000);
  expect(await engine.reconcile()).toContainEqual({ action: 'requeue', run_id: task.runId, node: 'a' });
});

test('a worker that holds its session is not declared dead for a note that is out of date', async () => {
  await openSession();
  await beat();
  await db.admin.query(`update engine.workers set session_lost_at = $1 where id = $2`, [new Date(NOON.getTime() - 60_000), engine.worker]);
  expect(await expire()).toBe(0);
  expect((await db.admin.query('select from engine.workers where id = $1', [engine.worker])).rowCount).toBe(1);
});
