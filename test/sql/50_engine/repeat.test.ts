import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  const called = { id: 'start', type: 'subworkflowTrigger' };
  const path = (value: string) => ({ id: 'out', type: 'transform', properties: { path: value } });
  const failing = { id: 'out', type: 'transform', properties: { template: '{{ $.prev | number }}' } };
  await publishWorkflow(acme, chain(called, path('$.prev * 2')), 'double');
  await publishWorkflow(acme, chain(called, path('$.prev.n + 1')), 'next');
  await publishWorkflow(acme, chain(called, path('$.input')), 'echo');
  await publishWorkflow(acme, chain(called, failing), 'number');
  await publishWorkflow(acme, chain(called, { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } }), 'call');
  await publishWorkflow(acme, chain(called, { id: 'count', type: 'set', properties: { assign: { n: '{{ $.prev.n + 1 }}' } } }), 'count');
});
beforeEach(() => engine.freeze(null));

const trigger = { id: 'start', type: 'apiTrigger' };

async function start(properties: Record<string, unknown>, input: unknown, more: Record<string, unknown> = {}) {
  const { run_id } = await engine.start(
    acme,
    await publishWorkflow(acme, chain(trigger, { id: 'all', type: 'repeat', properties, ...more })),
    input,
  );
  return run_id!;
}
const childrenOf = async (runId: string): Promise<{ id: string; status: string; parent_index: number }[]> =>
  (await db.admin.query('select * from workflow_runs where parent_run_id = $1 order by parent_index', [runId])).rows;
/** Takes the jobs of the parent's step as long as there are any. */
async function drain(runId: string): Promise<void> {
  while ((await engine.jobs(runId)).length) {
    await db.admin.query(`delete from graphile_worker._private_jobs where payload ->> 'runId' = $1`, [runId]);
    await engine.begin(runId, 'all');
  }
}

describe('repeat', () => {
  test('runs one child after the other, each with what the one before gave, until the condition holds', async () => {
    const runId = await start({ workflow: 'count', until: '$.item.n >= $.prev.most' }, { n: 0, most: 4 });
    expect((await engine.log(runId)).at(-1)).toMatchObject({ type: 'step.waiting', payload: { node: 'all', kind: 'repeat' } });
    await drain(runId);
    expect(await engine.output(runId)).toEqual({ n: 4, most: 4 });
    expect(await childrenOf(runId)).toHaveLength(4);
  });

  test('may stop after a number of times', async () => {
    const runId = await start({ workflow: 'count', input: { n: 10 }, until: '$.index == 2' }, {});
    await drain(runId);
    expect(await engine.output(runId)).toEqual({ n: 13 });
  });

  test('waits for each child before the next one starts', async () => {
    const runId = await start({ workflow: 'call', until: '$.item.done == true' }, {});
    await drain(runId);
    for (const done of [false, false, true]) {
      const running = (await childrenOf(runId)).filter(({ status }) => status === 'running');
      expect(running).toHaveLength(1);
      await engine.finish(running[0]!.id, 'call', { done });
      await drain(runId);
    }
    expect(await engine.output(runId)).toEqual({ done: true });
  });

  test('fails after maxIterations', async () => {
    const runId = await start({ workflow: 'count', until: '$.item.n < 0', maxIterations: 120 }, { n: 0 });
    await drain(runId);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'TOO_MANY_ITERATIONS', node: 'all' } });
    expect(await childrenOf(runId)).toHaveLength(120);
  });

  test('fails with the error of a child, and of a condition that cannot be computed', async () => {
    const child = await start({ workflow: 'number', until: true }, 'many');
    const condition = await start({ workflow: 'count', until: '$.item.n' }, { n: 0 });
    for (const runId of [child, condition]) await drain(runId);
    expect(await engine.run(child)).toMatchObject({ status: 'error', error: { code: 'EXPRESSION_FILTER' } });
    expect(await engine.run(condition)).toMatchObject({ status: 'error', error: { code: 'EXPRESSION_NOT_BOOLEAN' } });
  });
});
