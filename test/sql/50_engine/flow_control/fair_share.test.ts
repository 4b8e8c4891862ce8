/** Fairness: how many steps one organization runs, and which steps are deferred. */
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver, type Task } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let engine: Driver;
let busy: TestOrganization;
let quiet: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  engine = new Driver(db);
  await engine.startOver();
  busy = await createOrganization(db, 'Busy');
  quiet = await createOrganization(db, 'Quiet');
  await db.pool('flowgres_worker').query(`select from engine.heartbeat($1, '[]', 'pool', 4)`, [engine.worker]);
});

const publish = (organization: TestOrganization) =>
  publishWorkflow(
    organization,
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } }),
  );
const start = async (organization: TestOrganization, workflow: TestWorkflow) => (await engine.start(organization, workflow)).run_id!;
/** How many steps have a job. */
const jobs = async () => Number((await db.admin.query('select count(*) as n from graphile_worker._private_jobs')).rows[0].n);

test('an organization runs three quarters of the steps that the workers can run, and others begin at once', async () => {
  const workflow = await publish(busy);
  const runs = [];
  for (let count = 0; count < 6; count += 1) runs.push(await start(busy, workflow));
  const tasks: (Task | null)[] = [];
  for (const runId of runs) tasks.push(await engine.begin(runId, 'a'));
  const begun = tasks.filter((task) => task !== null);
  expect(begun).toHaveLength(3);
  expect(await engine.begin(await start(quiet, await publish(quiet)), 'a')).not.toBeNull();

  // The queue grows no longer: what comes now waits behind what waits already.
  const before = await jobs();
  const later = await start(busy, workflow);
  expect(await jobs()).toBe(before);
  expect(await engine.begin(later, 'a')).toBeNull();

  // Each step that ends lets one in, the oldest first.
  const waiting = runs.filter((_, index) => !tasks[index]).toSorted();
  for (const task of begun) await engine.complete(task, 1);
  expect(await jobs()).toBe(before + 3);
  for (const runId of waiting) expect(await engine.begin(runId, 'a')).not.toBeNull();
  expect(await engine.begin(later, 'a')).toBeNull();
});

test('of many starts at once only so many are queued as may run', async () => {
  const workflow = await publish(busy);
  const before = await jobs();
  await engine.startAll(Array.from({ length: 50 }, () => ({ organizationId: busy.id, workflowId: workflow.id, input: {} })));
  expect(await jobs()).toBe(before + 3);
});

test('slots that are left in another way are filled by the reconciler', async () => {
  const workflow = await publish(busy);
  const runs = [];
  for (let count = 0; count < 5; count += 1) runs.push(await start(busy, workflow));
  for (const runId of runs) await engine.begin(runId, 'a');
  for (const runId of runs.slice(0, 3)) await busy.user.query('select cancel_run($1)', [runId]);
  const before = await jobs();
  await engine.reconcile();
  expect(await jobs()).toBe(before + 2);
  for (const runId of runs.slice(3)) expect(await engine.begin(runId, 'a')).not.toBeNull();
});

test('a deferred step can be paused, resumed and canceled like any other', async () => {
  const workflow = await publish(busy);
  const runs = [];
  for (let count = 0; count < 5; count += 1) runs.push(await start(busy, workflow));
  const tasks: (Task | null)[] = [];
  for (const runId of runs) tasks.push(await engine.begin(runId, 'a'));
  const [first, second] = runs.slice(3);
  await busy.user.query('select pause_run($1), cancel_run($2)', [first, second]);
  await engine.complete(tasks[0]!, 1);
  expect(await engine.begin(first!, 'a')).toBeNull();
  await busy.user.query('select resume_run($1)', [first]);
  expect(await engine.begin(first!, 'a')).not.toBeNull();
});

/** Declares a worker of so many slots, and of so many for one organization. */
const capacity = (slots: number, ofOne: number) =>
  db.pool('flowgres_worker').query(`select from engine.heartbeat($1, '[]', 'pool', $2, $3)`, [engine.worker, slots, ofOne]);

/** Starts runs of an organization and begins as many of their steps as may begin. */
async function begin(organization: TestOrganization, count: number): Promise<Task[]> {
  const workflow = await publish(organization);
  const tasks: Task[] = [];
  for (let index = 0; index < count; index += 1) {
    const task = await engine.begin(await start(organization, workflow), 'a');
    if (task) tasks.push(task);
  }
  return tasks;
}

test('each organization leaves a part of what is free, so that the next one begins at once', async () => {
  await capacity(32, 32);
  const begun = [];
  for (const name of ['First', 'Second', 'Third']) begun.push((await begin(await createOrganization(db, name), 26)).length);
  expect(begun).toEqual([24, 6, 2]);
});

test('an organization has at most as many slots as the setting says, whatever is free', async () => {
  await capacity(32, 5);
  expect(await begin(busy, 8)).toHaveLength(5);
  expect(await begin(quiet, 8)).toHaveLength(5);
});

test('a slot that becomes free goes to the organization that runs least', async () => {
  const first = await begin(busy, 6);
  const [second] = await begin(quiet, 1);
  expect([first.length, second]).toEqual([3, expect.anything()]);
  const late = await createOrganization(db, 'Late');
  const run = await start(late, await publish(late));
  expect(await engine.begin(run, 'a')).toBeNull();
  expect(await engine.jobs(run)).toEqual(['a']); // the one that was begun in vain
  await db.admin.query('delete from graphile_worker._private_jobs');
  await engine.complete(first[0]!, 1);
  expect(await engine.jobs(run)).toEqual(['a']);
  expect(await jobs()).toBe(1);
  expect(await engine.begin(run, 'a')).not.toBeNull();
});

test('a worker without a free slot defers the step, and still ends waits', async () => {
  const defer = (runId: string, node: string) =>
    db
      .pool('flowgres_worker')
      .query('select * from engine.begin_steps($1, $2)', [JSON.stringify([{ runId, node, defer: true }]), engine.worker]);
  const wait = { id: 'wait', type: 'wait', properties: { seconds: 1 } };
  const effect = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };
  const workflow = await publishWorkflow(busy, chain({ id: 'start', type: 'apiTrigger' }, wait, effect));
  const runId = await start(busy, workflow);
  const openAfter = async () => {
    await defer(runId, 'wait');
    return engine.openSteps(runId);
  };
  await expect.poll(openAfter, { interval: 20 }).toMatchObject([{ node: 'a', state: 'queued', attempt: 0 }]);
  expect((await defer(runId, 'a')).rows).toMatchObject([{ outcome: 'done', task: null }]);
  await db.admin.query('delete from graphile_worker._private_jobs');
  await engine.reconcile();
  expect(await engine.jobs(runId)).toEqual(['a']);
  expect(await engine.begin(runId, 'a')).not.toBeNull();
});
