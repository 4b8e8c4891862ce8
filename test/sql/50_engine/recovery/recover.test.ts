/** The reconciler: steps of dead workers, POISON, deadlines, the limit of events. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});
beforeEach(() => engine.freeze(null));

const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };

async function startCall(settings: Record<string, unknown> = {}) {
  const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings });
  return (await engine.start(acme, workflow)).run_id;
}

/** The wake-ups that wait in the queue for a step. */
async function jobs(runId: string | null): Promise<number> {
  const { rows } = await db.admin.query<{ count: number }>(
    `select count(*)::int from graphile_worker._private_jobs where payload ->> 'runId' = $1`,
    [runId],
  );
  return rows[0]!.count;
}

const expireLease = (runId: string | null) =>
  db.admin.query(`update engine.open_steps set lease_until = now() - interval '1 second' where run_id = $1`, [runId]);

describe('a step whose worker died', () => {
  test('goes back to the queue with a new job, without using up an attempt of maxAttempts', async () => {
    const runId = await startCall({ maxRetries: 0 });
    const lost = await engine.begin(runId, 'a');
    await expireLease(runId);
    const before = await jobs(runId);
    expect(await engine.reconcile()).toContainEqual({ action: 'requeue', run_id: runId, node: 'a' });
    expect(await jobs(runId)).toBe(before + 1);
    const again = await engine.begin(runId, 'a');
    expect(again).toMatchObject({ attempt: 2, idempotencyKey: lost!.idempotencyKey });
    expect(await engine.complete(lost!, 'zombie')).toMatchObject({ outcome: 'stale' });
    expect(await engine.complete(again!, 'fine')).toMatchObject({ outcome: 'recorded', status: 'success' });
  });

  test('fails with POISON at the fifth death', async () => {
    const runId = await startCall();
    for (let death = 1; death <= 5; death += 1) {
      expect(await engine.begin(runId, 'a')).toMatchObject({ attempt: death });
      await expireLease(runId);
      await engine.reconcile();
    }
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'POISON', node: 'a' } });
  });

  test('fails like any other step then: its onError decides', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, { ...call, onError: 'continue' }, { id: 'end', type: 'noOp' }));
    const { run_id } = await engine.start(acme, workflow);
    for (let death = 1; death <= 5; death += 1) {
      await engine.begin(run_id, 'a');
      await expireLease(run_id);
      await engine.reconcile();
    }
    expect(await engine.output(run_id)).toMatchObject({ error: { code: 'POISON' } });
    expect((await engine.run(run_id)).status).toBe('success');
  });

  test('that lives on, as its heartbeats say, is not blamed: the step goes back, however often', async () => {
    const runId = await startCall();
    await db.pool('flowgres_worker').query(`select * from engine.heartbeat($1, '[]')`, [engine.worker]);
    for (let attempt = 1; attempt <= 7; attempt += 1) {
      expect(await engine.begin(runId, 'a')).toMatchObject({ attempt });
      await expireLease(runId);
      expect(await engine.reconcile()).toContainEqual({ action: 'requeue', run_id: runId, node: 'a' });
    }
    const { rows } = await db.admin.query('select crashes from engine.open_steps where run_id = $1', [runId]);
    expect(rows).toEqual([{ crashes: 0 }]);
    await db.admin.query('delete from engine.workers');
  });

  test('that was taken for dead and reports the attempt has not died of it', async () => {
    const runId = await startCall();
    const beat = (attempt: number) =>
      db
        .pool('flowgres_worker')
        .query('select * from engine.heartbeat($1, $2)', [engine.worker, JSON.stringify([{ runId, node: 'a', attempt }])]);
    const crashes = async () =>
      (await db.admin.query('select crashes from engine.open_steps where run_id = $1', [runId])).rows[0]!['crashes'];
    for (let attempt = 1; attempt <= 6; attempt += 1) {
      expect(await engine.begin(runId, 'a')).toMatchObject({ attempt });
      await expireLease(runId);
      await db.admin.query('delete from engine.workers');
      await engine.reconcile();
      expect(await crashes()).toBe(1);
      expect((await beat(attempt)).rows).toEqual([{ run_id: runId, node: 'a' }]);
      expect((await beat(attempt)).rows).toHaveLength(1);
      expect(await crashes()).toBe(0);
    }
    await db.admin.query('delete from engine.workers');
  });

  test('keeps its lease while heartbeats come', async () => {
    const runId = await startCall();
    const task = await engine.begin(runId, 'a');
    await expireLease(runId);
    const { rows } = await db
      .pool('flowgres_worker')
      .query('select * from engine.heartbeat($1, $2)', [engine.worker, JSON.stringify([{ runId, node: 'a', attempt: task!.attempt }])]);
    expect(rows).toEqual([]);
    expect(await engine.reconcile()).not.toContainEqual({ action: 'requeue', run_id: runId, node: 'a' });
  });
});

test('a heartbeat neither waits for a step that is being completed nor aborts it', async () => {
  const runId = await startCall();
  const task = await engine.begin(runId, 'a');
  const client = await db.admin.connect();
  try {
    await client.query('begin');
    const result = { runId, node: 'a', attempt: task!.attempt, ok: true, output: 1, ms: 1 };
    await client.query('select from engine.complete_steps($1, $2)', [JSON.stringify([result]), engine.worker]);
    const { rows } = await db
      .pool('flowgres_worker')
      .query('select * from engine.heartbeat($1, $2)', [engine.worker, JSON.stringify([{ runId, node: 'a', attempt: task!.attempt }])]);
    expect(rows).toEqual([]);
    await client.query('commit');
  } finally {
    client.release();
  }
  expect((await engine.run(runId)).status).toBe('success');
});

test('a heartbeat names the attempts to abort: canceled, or taken over', async () => {
  const runId = await startCall();
  const task = await engine.begin(runId, 'a');
  await acme.user.query('select cancel_run($1)', [runId]);
  const { rows } = await db
    .pool('flowgres_worker')
    .query('select * from engine.heartbeat($1, $2)', [engine.worker, JSON.stringify([{ runId, node: 'a', attempt: task!.attempt }])]);
  expect(rows).toEqual([{ run_id: runId, node: 'a' }]);
});

test('a worker that shuts down hands its steps back at no cost', async () => {
  const runId = await startCall({ maxRetries: 0 });
  const task = await engine.begin(runId, 'a');
  await db
    .pool('flowgres_worker')
    .query('select engine.release_steps($1, $2)', [engine.worker, JSON.stringify([{ runId, node: 'a', attempt: task!.attempt }])]);
  expect(await engine.openSteps(runId)).toMatchObject([{ state: 'queued' }]);
  expect(await engine.begin(runId, 'a')).toMatchObject({ attempt: 2 });
});

test('the jobs of a dead worker are unlocked for others', async () => {
  const runId = await startCall();
  await db.pool('flowgres_worker').query(`select * from engine.heartbeat($1, '[]', 'pool-1')`, [engine.worker]);
  await db.admin.query(`update graphile_worker._private_jobs set locked_by = 'pool-1', locked_at = now() where payload ->> 'runId' = $1`, [
    runId,
  ]);
  await db.admin.query(`update engine.workers set seen_at = now() - interval '16 seconds'`);
  await engine.reconcile();
  const { rows } = await db.admin.query(`select locked_by from graphile_worker._private_jobs where payload ->> 'runId' = $1`, [runId]);
  expect(rows).toEqual([{ locked_by: null }]);
});

test('a step whose job was lost gets another one, and never more than one of those', async () => {
  const runId = await startCall();
  await db.admin.query(`delete from graphile_worker._private_jobs where payload ->> 'runId' = $1`, [runId]);
  for (let pass = 1; pass <= 3; pass += 1) {
    await db.admin.query(`update engine.open_steps set wake_at = now() - interval '1 second' where run_id = $1`, [runId]);
    expect(await engine.reconcile()).toContainEqual({ action: 'wake', run_id: runId, node: 'a' });
  }
  expect(await jobs(runId)).toBe(1);
});

test('a run past its deadline ends with DEADLINE', async () => {
  const runId = await startCall({ deadlineMs: 60_000 });
  await engine.freeze(new Date(Date.now() + 61_000));
  expect(await engine.reconcile()).toContainEqual({ action: 'deadline', run_id: runId, node: null });
  expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'DEADLINE' } });
});

test('a run that is still held has a deadline, too', async () => {
  const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings: { deadlineMs: 60_000, concurrency: { limit: 1 } } });
  const [first, held] = [await engine.start(acme, workflow), await engine.start(acme, workflow)];
  await engine.finish(first.run_id, 'a', 1);
  await engine.freeze(new Date(Date.now() + 61_000));
  await engine.reconcile();
  expect(await engine.run(held.run_id)).toMatchObject({ status: 'error', error: { code: 'DEADLINE' } });
  await engine.release();
  expect((await engine.story(held.run_id)).slice(1)).toEqual(['run.failed']);
});

describe('cancel', () => {
  test('ends the run at once; what still comes is stale; repeated it changes nothing', async () => {
    const runId = await startCall();
    const task = await engine.begin(runId, 'a');
    await acme.user.query(`select cancel_run($1, 'wrong order')`, [runId]);
    expect(await engine.run(runId)).toMatchObject({ status: 'canceled' });
    expect((await engine.log(runId)).at(-1)).toMatchObject({ type: 'run.canceled', payload: { by: acme.userId, reason: 'wrong order' } });
    const before = await engine.log(runId);
    expect(await engine.complete(task!, 1)).toMatchObject({ outcome: 'stale', status: 'canceled' });
    await acme.user.query('select cancel_run($1)', [runId]);
    expect(await engine.log(runId)).toEqual(before);
    expect(await engine.openSteps(runId)).toEqual([]);
  });
});

test('a run stops with TOO_MANY_EVENTS before its 10,000th event', async () => {
  // Its log is written by hand, so it does not replay.
  const db = await createTestDatabase({ unchecked: true });
  const acme = await createOrganization(db);
  const engine = new Driver(db);
  const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };
  const { run_id: runId } = await engine.start(acme, await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, call)));
  await db.admin.query(
    `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
     select e.organization_id, e.run_id, e.seq + n, e.ts + n * interval '1 microsecond', 'run.resumed', '{}'
     from workflow_events as e cross join generate_series(1, 9600) as n where e.run_id = $1 and e.seq = 2`,
    [runId],
  );
  await engine.begin(runId, 'a');
  expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'TOO_MANY_EVENTS' } });
  const log = await engine.log(runId);
  expect(log.length).toBeLessThanOrEqual(10_000);
  expect(log.at(-1)).toMatchObject({ type: 'run.failed' });
});
