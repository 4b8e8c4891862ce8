/** executeWorkflow: a child's start, its output, its failure and the end of its parent. */
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
const called = { id: 'start', type: 'subworkflowTrigger' };
const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };

let names = 0;
/** A workflow to be run by others, under a name of its own. */
async function publishChild(...nodes: { id: string; type: string; [key: string]: unknown }[]): Promise<string> {
  names += 1;
  await publishWorkflow(acme, chain(called, ...nodes), `child ${names}`);
  return `child ${names}`;
}
const doubling = () => publishChild({ id: 'out', type: 'transform', properties: { path: '$.prev.n * 2' } });
const calling = () => publishChild(call);

async function start(properties: Record<string, unknown>, input: unknown = {}, more: Record<string, unknown> = {}, ...after: never[]) {
  const sub = { id: 'sub', type: 'executeWorkflow', properties, ...more };
  return (await engine.start(acme, await publishWorkflow(acme, chain(trigger, sub, ...after)), input)).run_id!;
}
const childrenOf = async (runId: string) =>
  (await db.admin.query('select * from workflow_runs where parent_run_id = $1 order by parent_index, id', [runId])).rows;
const firstChild = async (runId: string): Promise<string> => (await childrenOf(runId))[0]!['id'];

describe('executeWorkflow', () => {
  test('starts a child by the name of its workflow and goes on with its output', async () => {
    const runId = await start({ workflow: await doubling() }, { n: 4 });
    expect((await engine.log(runId)).at(-1)).toMatchObject({ type: 'step.waiting', payload: { node: 'sub', kind: 'run' } });
    expect(await engine.jobs(runId)).toEqual(['sub']);
    await engine.begin(runId, 'sub');
    expect(await engine.output(runId)).toBe(8);
    const [child] = await childrenOf(runId);
    expect(child).toMatchObject({ mode: 'child', status: 'success', parent_node: 'sub', parent_index: 0 });
    expect((await engine.log(child!['id']))[0]!.payload).toMatchObject({
      trigger: 'start',
      input: { n: 4 },
      parent: { run: runId, node: 'sub', index: 0 },
    });
  });

  test('takes the id of a workflow, and an input of its own', async () => {
    const child = await publishWorkflow(acme, chain(called, { id: 'out', type: 'transform', properties: { path: '$.input' } }));
    const runId = await start({ workflow: child.id, input: { total: '{{ $.prev.n }}' } }, { n: 4 });
    await engine.begin(runId, 'sub');
    expect(await engine.output(runId)).toEqual({ total: 4 });
  });

  test('waits for a child that takes long; its end sends one job to the parent', async () => {
    const runId = await start({ workflow: await calling() });
    await engine.begin(runId, 'sub');
    await db.admin.query('delete from graphile_worker._private_jobs');
    expect(await engine.run(runId)).toMatchObject({ status: 'waiting' });
    expect(await engine.openSteps(runId)).toMatchObject([{ node: 'sub', state: 'waiting', next_index: 1, run_at: null }]);
    expect(await engine.begin(runId, 'sub')).toBeNull();
    expect(await childrenOf(runId)).toHaveLength(1);

    await engine.finish(await firstChild(runId), 'call', 'done');
    expect((await engine.run(runId)).status).toBe('waiting');
    expect(await engine.jobs(runId)).toEqual(['sub']);
    await engine.begin(runId, 'sub');
    expect(await engine.output(runId)).toBe('done');
  });

  test('that does not wait goes on with the id of a child that is independent', async () => {
    const runId = await start({ workflow: await calling(), wait: false });
    await engine.begin(runId, 'sub');
    const child = await firstChild(runId);
    expect(await engine.output(runId)).toEqual({ runId: child });
    expect((await engine.run(child)).status).toBe('running');
    expect((await childrenOf(runId))[0]).toMatchObject({ parent_index: null });
    await engine.finish(child, 'call', 'done');
    expect(await engine.jobs(runId)).toEqual(['sub']);
  });

  test('hands the effect after it to the worker that took its job', async () => {
    const workflow = await publishWorkflow(
      acme,
      chain(trigger, { id: 'sub', type: 'executeWorkflow', properties: { workflow: await doubling() } }, call),
    );
    const { run_id } = await engine.start(acme, workflow, { n: 1 });
    const task = await engine.begin(run_id, 'sub');
    expect(task).toMatchObject({ node: 'call', input: 2 });
    await engine.complete(task!, 'end');
    expect(await engine.output(run_id)).toBe('end');
  });

  test('runs the published version, of its own organization only', async () => {
    const other = await createOrganization(db, 'Other');
    await publishWorkflow(other, chain(called), 'theirs');
    await acme.user.query('select create_workflow(name => $1, definition => $2)', ['draft', JSON.stringify(chain(called))]);
    const theirs = await start({ workflow: 'theirs' });
    const draft = await start({ workflow: 'draft' });
    for (const runId of [theirs, draft]) await engine.begin(runId, 'sub');
    expect(await engine.run(theirs)).toMatchObject({ status: 'error', error: { code: 'NOT_FOUND', node: 'sub' } });
    expect(await engine.run(draft)).toMatchObject({ status: 'error', error: { code: 'NOT_PUBLISHED', node: 'sub' } });
  });

  test('goes ten levels deep and no further', async () => {
    const { rows } = await acme.user.query<{ id: string }>('select id from create_workflow(name => $1, definition => $2)', [
      'loop',
      JSON.stringify(chain(called, { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'loop' } })),
    ]);
    await acme.user.query('select publish_workflow($1)', [rows[0]!.id]);
    const { run_id } = await engine.start(acme, { id: rows[0]!.id });
    const runs = [run_id!];
    for (;;) {
      await engine.begin(runs.at(-1)!, 'sub');
      const [child] = await childrenOf(runs.at(-1)!);
      if (!child) break;
      runs.push(child['id']);
    }
    expect(runs).toHaveLength(11);
    for (const runId of runs.toReversed().slice(1)) await engine.begin(runId, 'sub');
    expect(await engine.run(run_id)).toMatchObject({ status: 'error', error: { code: 'TOO_DEEP' } });
  });
});

describe('a failed child', () => {
  const failing = () => publishChild({ id: 'bad', type: 'stopAndError', properties: { message: 'No', code: 'NO_STOCK' } });

  test('fails the step of its parent, with its own error', async () => {
    const runId = await start({ workflow: await failing() });
    await engine.begin(runId, 'sub');
    const child = await firstChild(runId);
    expect(await engine.run(runId)).toMatchObject({
      status: 'error',
      error: { code: 'NO_STOCK', message: 'No', node: 'sub', details: { run: child, node: 'bad' } },
    });
  });

  test('leaves it to onError what becomes of the parent', async () => {
    const runId = await start({ workflow: await failing() }, {}, { onError: 'continue' });
    await engine.begin(runId, 'sub');
    expect(await engine.output(runId)).toMatchObject({ error: { code: 'NO_STOCK' } });
  });

  test('that was canceled fails it with CANCELED', async () => {
    const runId = await start({ workflow: await calling() });
    await engine.begin(runId, 'sub');
    await acme.user.query('select cancel_run($1)', [await firstChild(runId)]);
    await engine.begin(runId, 'sub');
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'CANCELED', node: 'sub' } });
  });
});

describe('the end of a parent', () => {
  /** Runs what the queue has about the children of a run. */
  const cancelChildren = (runId: string) => db.pool('flowgres_worker').query('select engine.cancel_children($1)', [runId]);

  test('cancels the children that it waits for, at every depth, each in a transaction without its parent', async () => {
    const inner = await calling();
    const outer = await publishChild({ id: 'sub', type: 'executeWorkflow', properties: { workflow: inner } });
    const runId = await start({ workflow: outer });
    await engine.begin(runId, 'sub');
    const child = await firstChild(runId);
    await engine.begin(child, 'sub');
    const grandchild = await firstChild(child);

    await acme.user.query('select cancel_run($1)', [runId]);
    expect((await engine.run(child)).status).toBe('waiting');
    expect(await engine.jobs(runId)).toContain('cancel_children');
    await cancelChildren(runId);
    expect(await engine.run(child)).toMatchObject({ status: 'canceled' });
    expect(await engine.jobs(child)).toContain('cancel_children');
    await cancelChildren(child);
    expect(await engine.run(grandchild)).toMatchObject({ status: 'canceled' });
    expect((await engine.log(grandchild)).at(-1)).toMatchObject({ type: 'run.canceled', payload: { reason: expect.any(String) } });
  });

  test('cancels a hundred of them in a transaction, and comes back for the others', async () => {
    const child = await calling();
    const each = (id: string) => ({ id, type: 'forEach', properties: { workflow: child, concurrency: 60, items: '{{ $.input }}' } });
    const definition = { nodes: [trigger, each('a'), each('b')], connections: ['a', 'b'].map((target) => ({ source: 'start', target })) };
    const items = Array.from({ length: 60 }, (_, index) => index);
    const { run_id: runId } = await engine.start(acme, await publishWorkflow(acme, definition), items);
    for (const node of ['a', 'b']) await engine.begin(runId, node);
    await acme.user.query('select cancel_run($1)', [runId]);
    const left = async () => (await childrenOf(runId!)).filter(({ status }) => status !== 'canceled').length;
    expect(await left()).toBe(120);
    await db.admin.query('delete from graphile_worker._private_jobs');
    await cancelChildren(runId!);
    expect(await left()).toBe(20);
    expect(await engine.jobs(runId)).toContain('cancel_children');
    await cancelChildren(runId!);
    expect(await left()).toBe(0);
  });

  test('by its deadline does the same', async () => {
    const sub = { id: 'sub', type: 'executeWorkflow', properties: { workflow: await calling() } };
    const workflow = await publishWorkflow(acme, { ...chain(trigger, sub), settings: { deadlineMs: 60_000 } });
    const { run_id } = await engine.start(acme, workflow);
    await engine.begin(run_id, 'sub');
    await engine.freeze(new Date(Date.now() + 61_000));
    await engine.reconcile();
    await cancelChildren(run_id!);
    expect(await engine.run(await firstChild(run_id!))).toMatchObject({ status: 'canceled' });
  });

  test('leaves a child alone that it does not wait for, and one of a parent that goes on', async () => {
    const runId = await start({ workflow: await calling(), wait: false });
    await engine.begin(runId, 'sub');
    await cancelChildren(runId);
    const independent = await firstChild(runId);
    expect((await engine.run(independent)).status).toBe('running');
    const waiting = await start({ workflow: await calling() });
    await engine.begin(waiting, 'sub');
    await cancelChildren(waiting);
    const child = await firstChild(waiting);
    expect((await engine.run(child)).status).toBe('running');
    for (const id of [independent, child]) await engine.finish(id, 'call', 1);
    await engine.begin(waiting, 'sub');
  });

  test('that has been reached makes what its children still report no news', async () => {
    const runId = await start({ workflow: await calling() });
    await engine.begin(runId, 'sub');
    await acme.user.query('select cancel_run($1)', [runId]);
    const before = await engine.log(runId);
    await engine.finish(await firstChild(runId), 'call', 1);
    expect(await engine.begin(runId, 'sub')).toBeNull();
    expect(await engine.log(runId)).toEqual(before);
  });
});

test('a lost wake-up of a parent is found within the hour', async () => {
  const runId = await start({ workflow: await calling() });
  await engine.begin(runId, 'sub');
  await engine.finish(await firstChild(runId), 'call', 'done');
  await db.admin.query('delete from graphile_worker._private_jobs');
  await engine.freeze(new Date(Date.now() + 3_601_000));
  expect(await engine.wake()).toContainEqual({ run_id: runId, node: 'sub' });
  await engine.begin(runId, 'sub');
  expect(await engine.output(runId)).toBe('done');
});

describe('a child', () => {
  test('sees what it was started with as $.item, and its place as $.index', async () => {
    const child = await publishChild({ id: 'out', type: 'transform', properties: { template: ['{{ $.item.n }}', '{{ $.index }}'] } });
    const runId = await start({ workflow: child }, { n: 7 });
    await engine.begin(runId, 'sub');
    expect(await engine.output(runId)).toEqual([7, 0]);
  });

  test('whose input does not fit the schema of its trigger fails before its first node', async () => {
    names += 1;
    const name = `child ${names}`;
    const schema = { type: 'object', required: ['n'], properties: { n: { type: 'number' } } };
    await publishWorkflow(acme, chain({ ...called, properties: { input: schema } } as never, { id: 'out', type: 'noOp' }), name);
    const wrong = await start({ workflow: name }, { n: 'many' });
    const right = await start({ workflow: name }, { n: 1 });
    for (const runId of [wrong, right]) await engine.begin(runId, 'sub');
    expect(await engine.run(wrong)).toMatchObject({ status: 'error', error: { code: 'VALIDATION_FAILED', node: 'sub' } });
    expect(await engine.story(await firstChild(wrong))).toEqual(['run.created', 'run.failed']);
    expect(await engine.output(right)).toEqual({ n: 1 });
  });
});
