/** A tenant that posts twenty times as much, or whose peers never answer, does not make another one wait. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

const db = await createTestDatabase();
const engine = new Driver(db);
const STARTS = 20;
/** Much longer than all that the engine does, so that slots are what is scarce, on a busy machine as well. */
const EFFECT_MS = 250;
const PAUSE_MS = 200;
let target: Target;
let worker: RunningWorker;

beforeAll(async () => {
  target = await new Target().start();
  target.answer = ({ response }) => void setTimeout(() => response.end(), EFFECT_MS);
  worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 8,
    nodes: { httpAllow: [target.host] },
    onProblem: () => undefined,
  });
});
afterAll(async () => {
  await worker?.stop();
  target?.close();
});

/** One start after the other; how long each waited for its first step, in milliseconds, at the 95th percentile. */
async function latency(organization: TestOrganization, workflow: TestWorkflow): Promise<number> {
  const runs: string[] = [];
  for (let count = 0; count < STARTS; count += 1) {
    runs.push((await engine.start(organization, workflow)).run_id!);
    await delay(PAUSE_MS);
  }
  const { rows } = await db.admin.query<{ ms: number }>(
    `select extract(epoch from e.ts - r.started_at)::float * 1000 as ms
     from workflow_runs as r join workflow_events as e on e.run_id = r.id and e.type = 'step.started'
     where r.id = any ($1) order by 1`,
    [runs],
  );
  // What has not begun yet has waited for too long in any case.
  return rows[Math.ceil(STARTS * 0.95) - 1]?.ms ?? Number.POSITIVE_INFINITY;
}

test('the 95th percentile of the start latency is at most twice what it is alone', async () => {
  const [noisy, other] = [await createOrganization(db, 'Noisy'), await createOrganization(db, 'Other')];
  const publish = (organization: TestOrganization) =>
    publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one')));
  const [flood, workflow] = [await publish(noisy), await publish(other)];
  await latency(other, workflow);
  const alone = await latency(other, workflow);
  await engine.startAll(Array.from({ length: STARTS * 20 }, () => ({ organizationId: noisy.id, workflowId: flood.id, input: {} })));
  const crowded = await latency(other, workflow);
  const { rows } = await db.admin.query<{ left: number }>(
    `select count(*)::int as left from workflow_runs where organization_id = $1 and finished_at is null`,
    [noisy.id],
  );
  console.log(`p95 of start latency: alone ${alone.toFixed(1)} ms, with the flood ${crowded.toFixed(1)} ms`);
  expect(rows[0]!.left, 'runs of the flood that are still to be done').toBeGreaterThan(0);
  expect(crowded).toBeLessThan(2 * Math.max(alone, EFFECT_MS));
  await db.admin.query('select from engine.end_runs(array(select id from workflow_runs where finished_at is null), $1, $2)', [
    'run.canceled',
    '{}',
  ]);
}, 60_000);

test('requests that hang hold no job, and all slots of their organization hold up no other one', async () => {
  const [hanging, other] = [await createOrganization(db, 'Hanging'), await createOrganization(db, 'Waiting')];
  const slow = target.node('hang', { timeoutMs: 3_600_000 });
  const stuck = await publishWorkflow(hanging, chain({ id: 'start', type: 'apiTrigger' }, slow));
  const workflow = await publishWorkflow(other, chain({ id: 'start', type: 'apiTrigger' }, target.node('one')));
  const held: (() => void)[] = [];
  target.answer = ({ path, response }) => void (path === '/hang' ? held.push(() => response.end()) : response.end());
  await engine.startAll(Array.from({ length: 30 }, () => ({ organizationId: hanging.id, workflowId: stuck.id, input: {} })));
  await expect.poll(() => held.length, { interval: 20 }).toBe(6);
  await expect.poll(async () => (await db.admin.query('select from graphile_worker._private_jobs')).rowCount, { interval: 20 }).toBe(0);

  const { run_id } = await engine.start(other, workflow);
  const statusOf = async () => (await engine.run(run_id)).status;
  await expect.poll(statusOf, { interval: 20 }).toBe('success');

  // Each that ends lets one of the deferred ones begin.
  for (const answer of held.splice(0, 2)) answer();
  await expect.poll(() => held.length, { interval: 20 }).toBe(6);
  await db.admin.query('select from engine.end_runs(array(select id from workflow_runs where finished_at is null), $1, $2)', [
    'run.canceled',
    '{}',
  ]);
}, 60_000);
