import { fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

const db = await createTestDatabase();
const intake = new Engine(db.pool('flowgres_intake'));
let organization: TestOrganization;
let target: Target;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  organization = await createOrganization(db);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const trigger = { id: 'start', type: 'apiTrigger' };
const PATIENCE = { timeout: 20_000, interval: 20 };

async function world(): Promise<void> {
  target = await new Target().start();
  closing.push(() => target.close());
}

async function work(): Promise<RunningWorker> {
  const worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 10,
    nodes: { httpAllow: [target.host] },
    onProblem: () => undefined,
  });
  closing.push(() => worker.stop());
  return worker;
}

async function start(definition: Definition): Promise<string> {
  const workflow = await publishWorkflow(organization, definition);
  return (await intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input: {} })).runId;
}

const statusOf = async (runId: string) => (await intake.runAnswers([runId]))[0]?.status;
const stepOf = async (runId: string) =>
  (await db.admin.query<{ worker_id: string; lease_until: Date }>('select * from engine.open_steps where run_id = $1', [runId])).rows[0]!;
const secondAttempt = async (runId: string) =>
  (
    await db.admin.query<{ ts: Date }>(
      `select ts from workflow_events where run_id = $1 and type = 'step.started' and payload ->> 'attempt' = '2'`,
      [runId],
    )
  ).rows[0]?.ts;
/** The backend that holds the lock of a worker. */
const backendOf = async (workerId: string) =>
  (
    await db.admin.query<{ pid: number }>(
      `select l.pid from pg_locks as l join pg_database as d on d.oid = l.database and d.datname = current_database()
       where l.locktype = 'advisory' and l.granted
         and (l.classid::bigint << 32) | l.objid::bigint = engine.session_key($1)`,
      [workerId],
    )
  ).rows[0]?.pid;

/** A worker in a process of its own that has begun the step of a run, whose request stays without an answer. */
async function victimWithStep() {
  target.answer = () => undefined;
  const runId = await start(chain(trigger, target.node('one', { retry: { maxAttempts: 1 } })));
  const victim = fork(new URL('process.ts', import.meta.url).pathname, [db.url('flowgres_worker'), target.host]);
  closing.push(() => victim.kill('SIGKILL'));
  await expect.poll(() => target.calls.length, PATIENCE).toBe(1);
  const { worker_id: workerId } = await stepOf(runId);
  const kill = async () => {
    victim.kill('SIGKILL');
    await once(victim, 'exit');
    target.answer = ({ response }) => response.end();
    return (await stepOf(runId)).lease_until;
  };
  return { runId, workerId, kill };
}

test('a step whose worker was killed is begun by another one before its lease has ended, with the same key', async () => {
  await world();
  const { runId, kill } = await victimWithStep();
  await work();
  const leaseUntil = await kill();
  await expect.poll(() => statusOf(runId), PATIENCE).toBe('success');
  expect((await secondAttempt(runId))!.getTime()).toBeLessThan(leaseUntil.getTime());
  expect(target.calls.map(({ key }) => key)).toEqual([`${runId}/one`, `${runId}/one`]);
});

test('a worker that starts after the death of another one takes its step over at once', async () => {
  await world();
  const { runId, kill } = await victimWithStep();
  const leaseUntil = await kill();
  await work();
  await expect.poll(() => statusOf(runId), PATIENCE).toBe('success');
  expect((await secondAttempt(runId))!.getTime()).toBeLessThan(leaseUntil.getTime());
});

test('a worker whose session is cut opens another one and keeps its step', async () => {
  await world();
  const worker = await work();
  await work();
  const runId = await start(chain(trigger, target.node('one', { retry: { maxAttempts: 1 } })));
  let answer: () => void = () => undefined;
  target.answer = ({ response }) => {
    answer = () => response.end();
  };
  await expect.poll(() => target.calls.length, PATIENCE).toBe(1);
  const { worker_id: owner } = await stepOf(runId);
  const before = await backendOf(owner);
  await db.admin.query('select pg_terminate_backend($1)', [before]);
  await expect
    .poll(async () => {
      const pid = await backendOf(owner);
      return pid !== undefined && pid !== before;
    }, PATIENCE)
    .toBe(true);
  const known = async () =>
    (await db.admin.query('select has_session, session_lost_at from engine.workers where id = $1', [owner])).rows[0];
  await expect.poll(known, PATIENCE).toEqual({ has_session: true, session_lost_at: null });
  answer();
  await expect.poll(() => statusOf(runId), PATIENCE).toBe('success');
  expect(target.calls).toHaveLength(1);
  expect(worker.isAlive()).toBe(true);
});

test('a worker that may not open its session works all the same', async () => {
  await world();
  await db.admin.query('revoke execute on function engine.hold_session(uuid) from flowgres_worker');
  closing.push(() => db.admin.query('grant execute on function engine.hold_session(uuid) to flowgres_worker'));
  const { id } = await work();
  const runId = await start(chain(trigger, { id: 'pause', type: 'wait', properties: { seconds: 0.2 } }, target.node('one')));
  await expect.poll(() => statusOf(runId), PATIENCE).toBe('success');
  const { rows } = await db.admin.query('select has_session from engine.workers where id = $1', [id]);
  expect(rows).toEqual([{ has_session: false }]);
});

test('a job whose time comes is done then, although the queue is polled rarely', async () => {
  await world();
  await work();
  const workflow = await publishWorkflow(organization, {
    ...chain(trigger, target.node('one')),
    settings: { rateLimit: { limit: 1, perMs: 1_000 } },
  });
  const request = { organizationId: organization.id, workflowId: workflow.id, mode: 'api' as const, input: {} };
  await intake.startRun(request);
  const { runId, status } = await intake.startRun(request);
  expect(status).toBe('waiting');
  await expect.poll(() => statusOf(runId), { ...PATIENCE, timeout: 8_000 }).toBe('success');
});
