/** A process that starts runs and works: it begins their first steps itself, as far as it has room. */
import { afterEach, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

const db = await createTestDatabase();
let organization: TestOrganization;
let target: Target;
const workers: RunningWorker[] = [];

beforeAll(async () => {
  organization = await createOrganization(db);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  target.close();
});

async function work(): Promise<RunningWorker> {
  const worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 8,
    nodes: { httpAllow: [target.host] },
    graceMs: 500,
  });
  workers.push(worker);
  return worker;
}

/** Starts runs of an effect over this process's worker, if it has one. */
async function start(worker: RunningWorker | undefined, count: number): Promise<string[]> {
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one'), target.node('two')));
  const engine = new Engine(db.pool('flowgres_intake'), worker && { claimOnStart: worker.claimOnStart });
  const request = { organizationId: organization.id, workflowId: workflow.id, mode: 'api' as const, input: {} };
  const answers = await Promise.all(Array.from({ length: count }, () => engine.startRun(request)));
  return answers.map(({ runId }) => runId);
}

const statusesOf = async (runs: string[]) =>
  (await db.admin.query('select status from workflow_runs where id = any ($1)', [runs])).rows.map(({ status }) => status);
const succeed = (runs: string[]) => expect.poll(() => statusesOf(runs), { interval: 20 }).toEqual(runs.map(() => 'success'));
/** How many jobs there have ever been. */
const jobs = async () => {
  const { rows } = await db.admin.query(
    `select pg_sequence_last_value(pg_get_serial_sequence('graphile_worker._private_jobs', 'id')) as count`,
  );
  return Number(rows[0].count);
};

test('a run needs no job in the process that starts it', async () => {
  target = await new Target().start();
  const worker = await work();
  const before = await jobs();
  await succeed(await start(worker, 1));
  expect(await jobs()).toBe(before);
});

test('the runs that find no slot free go through the queue', async () => {
  target = await new Target().start();
  const [held, before] = [target.calls, await jobs()];
  target.answer = () => undefined;
  const worker = await work();
  const runs = await start(worker, 20);
  await expect.poll(() => held.length).toBe(8);
  expect((await jobs()) - before).toBe(12);
  expect(worker.claimOnStart()).toBeUndefined();
  target.answer = ({ response }) => response.end();
  for (const { response } of held) response.end();
  await succeed(runs);
});

test('a start that fails gives its room back', async () => {
  target = await new Target().start();
  const worker = await work();
  const engine = new Engine(db.pool('flowgres_intake'), { claimOnStart: worker.claimOnStart });
  const request = { organizationId: organization.id, workflowId: organization.id, mode: 'api' as const, input: {} };
  for (let count = 0; count < 5; count += 1) await expect(engine.startRun(request)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const before = await jobs();
  await succeed(await start(worker, 1));
  expect(await jobs()).toBe(before);
});

test('a worker lends nothing while it stops', async () => {
  target = await new Target().start();
  const worker = await work();
  const stopping = worker.stop();
  expect(worker.claimOnStart()).toBeUndefined();
  await stopping;
});

test('a worker that stops hands back what it was lent for, to be done by another one', async () => {
  target = await new Target().start();
  target.answer = () => undefined;
  const worker = await work();
  const runs = await start(worker, 2);
  await expect.poll(() => target.calls.length).toBe(2);
  await worker.stop();
  target.answer = ({ response }) => response.end();
  await work();
  await succeed(runs);
});

test('what a process has taken and not begun is done by another one', async () => {
  target = await new Target().start();
  await work();
  const engine = new Engine(db.pool('flowgres_intake'), { claimOnStart: () => () => undefined });
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, target.node('one')));
  const { runId } = await engine.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input: {} });
  await succeed([runId]);
});
