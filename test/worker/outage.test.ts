import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { type DurableServer, startDurable } from '../helpers/durable.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

let server: DurableServer;
let worker: RunningWorker | undefined;
let intakePool: pg.Pool | undefined;
const target = new Target();

beforeAll(async () => {
  server = await startDurable('outage');
  await target.start();
});
afterAll(async () => {
  await worker?.stop();
  target.close();
  await intakePool?.end();
  await server.stop();
});

test('when the database is killed in the middle of a step, its result is recorded once it is back', async () => {
  const { db } = server;
  const organization = await createOrganization(db);
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one'), target.node('two')));
  intakePool = createEnginePool(db.url('flowgres_intake'), 'intake');
  const intake = new Engine(intakePool);
  const start = () => intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input: {} });
  worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    nodes: { httpAllow: [target.host] },
    onProblem: () => undefined,
  });

  const held: (() => void)[] = [];
  target.answer = ({ response }) => void held.push(() => response.end());
  const { runId } = await start();
  await expect.poll(() => held.length).toBe(1);
  await server.signal('SIGKILL');
  target.answer = ({ response }) => response.end();
  held[0]?.();

  const statusOf = (id: string) =>
    intake.runAnswers([id]).then(
      ([run]) => run?.status,
      () => 'no answer',
    );
  await expect.poll(() => statusOf(runId), { timeout: 30_000 }).toBe('success');
  const { runId: next } = await start();
  await expect.poll(() => statusOf(next), { timeout: 30_000 }).toBe('success');
  expect(target.calls.map(({ key }) => key)).toEqual([`${runId}/one`, `${runId}/two`, `${next}/one`, `${next}/two`]);
}, 60_000);

test('a worker whose heartbeats do not get through knows that it is not ready, and when it is again', async () => {
  await expect.poll(() => worker!.isAlive()).toBe(true);
  const client = await server.db.admin.connect();
  try {
    await client.query('begin; lock table engine.workers');
    await expect.poll(() => worker!.isAlive()).toBe(false);
    await client.query('rollback');
  } finally {
    client.release();
  }
  await expect.poll(() => worker!.isAlive()).toBe(true);
}, 60_000);
