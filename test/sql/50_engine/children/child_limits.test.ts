/** Limits of child runs: runs of a tree, rate of nested starts, bytes of inputs. */
import { afterEach, describe, expect, test } from 'vitest';
import { tomorrowAt } from '../../../helpers/clock.ts';
import { chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { createRunTree } from '../../../helpers/run_tree.ts';

const { db, acme, engine, start, childrenOf, drain } = await createRunTree('forEach');
const called = { id: 'start', type: 'subworkflowTrigger' };
const onError = { id: 'failed', type: 'errorTrigger' };
const DEFAULTS = { max_tree_runs: 10_000, max_child_bytes: 64 * 1024 * 1024, max_nested_starts: 3_000 };

async function limit(name: keyof typeof DEFAULTS, value: number) {
  const type = name === 'max_child_bytes' ? 'bigint' : 'int';
  await db.admin.query(`create or replace function engine.${name}() returns ${type} language sql immutable parallel safe
    as $$ select ${value}::${type} $$`);
}
afterEach(async () => {
  for (const [name, value] of Object.entries(DEFAULTS)) await limit(name as keyof typeof DEFAULTS, value);
  await db.admin.query('delete from graphile_worker._private_jobs');
  await db.admin.query('delete from engine.child_starts');
});

/** Takes every wake-up in the queue, and those that come of them; other jobs stay. */
async function turnAll() {
  for (;;) {
    const { rows } = await db.admin.query<{ payload: { runId: string; node: string } }>(
      `delete from graphile_worker._private_jobs where payload::jsonb ? 'node' returning payload`,
    );
    if (rows.length === 0) return;
    const batch = JSON.stringify(rows.map(({ payload }) => ({ runId: payload.runId, node: payload.node })));
    await db.pool('flowgres_worker').query('select from engine.begin_steps($1, $2)', [batch, engine.worker]);
  }
}
/** A workflow that runs itself by several nodes beside each other. */
async function publishLoop(name: string, properties: Record<string, unknown>) {
  const nodes = ['a', 'b', 'c'].map((id) => ({ id, type: 'executeWorkflow', properties: { workflow: name, ...properties } }));
  return publishWorkflow(acme, { nodes: [called, ...nodes], connections: nodes.map(({ id }) => ({ source: 'start', target: id })) }, name);
}
const runsOf = async (workflow: { id: string }) =>
  (await db.admin.query('select * from workflow_runs where workflow_id = $1 order by id', [workflow.id])).rows;
const tooLarge = (most: number) => ({
  code: 'RUN_TREE_TOO_LARGE',
  retryable: false,
  details: { limit: most, hint: expect.stringContaining('independent') },
});
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);

test('the limits are those of docs/reference/security.md', async () => {
  const { rows } = await db.admin.query(`select engine.max_tree_runs() as max_tree_runs,
    engine.max_child_bytes()::int as max_child_bytes, engine.max_nested_starts() as max_nested_starts`);
  expect(rows).toEqual([DEFAULTS]);
});

test('a run without children counts nothing', async () => {
  await engine.start(acme, await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' })));
  expect((await db.admin.query('select from engine.child_starts')).rowCount).toBe(0);
});

describe('the runs of a tree', () => {
  test.each([true, false])('that starts itself three times are as many as the limit says; waiting: %s', async (wait) => {
    await limit('max_tree_runs', 20);
    const loop = await publishLoop(`loop ${wait}`, { wait });
    await engine.start(acme, loop);
    await turnAll();
    const runs = await runsOf(loop);
    expect(runs).toHaveLength(21);
    expect(runs.some(({ error }) => error?.code === 'RUN_TREE_TOO_LARGE')).toBe(true);
    // Nothing of one tree counts for another one.
    await engine.start(acme, loop);
    await turnAll();
    expect(await runsOf(loop)).toHaveLength(42);
  });

  test('are refused at the step that would start the next one, whose onError decides', async () => {
    await limit('max_tree_runs', 3);
    const runId = await start({ workflow: 'double', concurrency: 1 }, numbers(5), { onError: 'continue' });
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(3);
    expect(await engine.output(runId)).toMatchObject({ error: tooLarge(3) });
    expect(await engine.verify(runId)).toEqual([]);
  });

  test('count for a week', async () => {
    await limit('max_tree_runs', 3);
    const runId = await start({ workflow: 'call', concurrency: 2 }, numbers(4));
    await drain(runId);
    await db.admin.query(`update engine.child_starts set at = at - interval '8 days'`);
    await db.admin.query('select engine.delete_expired()');
    for (const { id } of await childrenOf(runId)) await engine.finish(id, 'call', 1);
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(4);
  });

  test('that turns start at the same time exceed the limit by those of one turn each, and then no more', async () => {
    await limit('max_tree_runs', 12);
    const name = 'inner together';
    const each = { id: 'each', type: 'forEach', properties: { workflow: 'call', items: [...numbers(10)] } };
    await publishWorkflow(acme, chain(called, each), name);
    const runId = await start({ workflow: name }, [1, 2]);
    await engine.begin(runId, 'all');
    const [first, second] = await childrenOf(runId);
    const clients = [await db.pool('flowgres_worker').connect(), await db.pool('flowgres_worker').connect()];
    try {
      for (const client of clients) await client.query('begin');
      for (const [place, { id }] of [first!, second!].entries()) {
        const batch = JSON.stringify([{ runId: id, node: 'each' }]);
        await clients[place]!.query('select from engine.begin_steps($1, $2)', [batch, engine.worker]);
      }
      for (const client of clients) await client.query('commit');
    } finally {
      for (const client of clients) client.release();
    }
    const grandchildren = [...(await childrenOf(first!.id)), ...(await childrenOf(second!.id))];
    expect(grandchildren).toHaveLength(20);
    const { rows } = await db.admin.query('select root_run_id, sum(runs)::int as runs from engine.child_starts group by 1');
    expect(rows).toEqual([{ root_run_id: runId, runs: 22 }]);
    const { rows: refused } = await db.admin.query(
      `select engine.count_children(r, $2, '{1}') ->> 'code' as code from workflow_runs as r where id = $1`,
      [first!.id, runId],
    );
    expect(refused).toEqual([{ code: 'RUN_TREE_TOO_LARGE' }]);
  });
});

test('a run that a child has started comes after those of others: its number is one higher than its parent’s', async () => {
  await publishWorkflow(
    acme,
    { ...chain(called, { id: 'effect', type: 'log', properties: { message: 'x' } }), settings: { priority: 3 } },
    'leaf',
  );
  await publishWorkflow(acme, chain(called, { id: 'all', type: 'executeWorkflow', properties: { workflow: 'leaf' } }), 'branch');
  const runId = await start({ workflow: 'branch' }, [1]);
  await turnAll();
  await turnAll();
  const { rows } = await db.admin.query(
    `select w.name, r.priority from workflow_runs as r join workflows as w on w.id = r.workflow_id
     where r.id in (select c.id from workflow_runs as c where c.parent_run_id = $1
       union all select g.id from workflow_runs as c join workflow_runs as g on g.parent_run_id = c.id where c.parent_run_id = $1)
     order by r.id`,
    [runId],
  );
  expect(rows).toEqual([
    { name: 'branch', priority: 0 },
    { name: 'leaf', priority: 1 },
  ]);
});

describe('the rate of nested runs', () => {
  const inner = (type: string, properties: Record<string, unknown>) => chain(called, { id: 'all', type, properties });
  let names = 0;
  /** A child whose node `all` has these properties, of a parent that has started it. */
  async function nested(type: string, properties: Record<string, unknown>) {
    names += 1;
    await publishWorkflow(acme, inner(type, properties), `inner ${names}`);
    const runId = await start({ workflow: `inner ${names}` }, [1]);
    await engine.begin(runId, 'all');
    return (await childrenOf(runId))[0]!.id;
  }
  const wakeUps = async (runId: string) => {
    const { rows } = await db.admin.query<{ in_seconds: number }>(
      'select extract(epoch from wake_at - engine.now())::float8 as in_seconds from engine.open_steps where run_id = $1 and run_at = wake_at',
      [runId],
    );
    return rows.map(({ in_seconds }) => in_seconds);
  };

  test.each([
    ['forEach', { workflow: 'double', items: [1, 2, 3] }],
    ['repeat', { workflow: 'count', input: { n: 0 }, until: '$.item.n >= 3' }],
    ['executeWorkflow', { workflow: 'double', input: 2 }],
    ['executeWorkflow', { workflow: 'double', input: 2, wait: false }],
  ])('lets the step of a child wait and go on: %s %j', async (type, properties) => {
    const now = tomorrowAt('12:00');
    await engine.freeze(now);
    await limit('max_nested_starts', 2);
    const hasty = await nested('forEach', { workflow: 'double', items: [1, 2] });
    await engine.begin(hasty, 'all');
    const runId = await nested(type, properties);
    await engine.begin(runId, 'all');
    expect(await childrenOf(runId)).toEqual([]);
    expect(await engine.run(runId)).toMatchObject({ status: 'waiting' });
    const [seconds, ...others] = await wakeUps(runId);
    expect(others).toEqual([]);
    expect(seconds).toBeGreaterThanOrEqual(30);
    expect(seconds).toBeLessThanOrEqual(60);
    expect((await db.admin.query('select from monitor.stuck_runs() where run_id = $1', [runId])).rowCount).toBe(0);

    // Each minute a part of them.
    for (let minute = 1; minute <= 4 && (await engine.run(runId)).status === 'waiting'; minute += 1) {
      await engine.freeze(new Date(now.getTime() + minute * 61_000));
      expect((await engine.wake()).map(({ run_id }) => run_id)).toContain(runId);
      await engine.begin(runId, 'all');
    }
    expect(await engine.run(runId)).toMatchObject({ status: 'success' });
    expect(await engine.verify(runId)).toEqual([]);
  });

  test('does not count children of the first level, nor other organizations', async () => {
    await limit('max_nested_starts', 2);
    const runId = await start({ workflow: 'double', concurrency: 20 }, numbers(30));
    await engine.begin(runId, 'all');
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(30);
    const other = await createOrganization(db, 'Other');
    await db.admin.query(
      `insert into engine.child_starts (root_run_id, run_id, organization_id, at, runs, bytes, is_nested) values ($1, $1, $2, now(), 100, 0, true)`,
      [runId, other.id],
    );
    const quick = await nested('executeWorkflow', { workflow: 'double', input: 2 });
    await engine.begin(quick, 'all');
    expect(await engine.output(quick)).toBe(4);
  });

  test('counts the children of error workflows', async () => {
    await limit('max_nested_starts', 1);
    const alarm = await publishWorkflow(
      acme,
      chain(onError, { id: 'all', type: 'forEach', properties: { workflow: 'double', items: [1, 2] } }),
    );
    const failing = chain({ id: 'start', type: 'apiTrigger' }, { id: 'stop', type: 'stopAndError', properties: { message: 'no' } });
    await engine.start(acme, await publishWorkflow(acme, { ...failing, settings: { errorWorkflow: alarm.id } }));
    const [run] = await runsOf(alarm);
    expect(run).toMatchObject({ mode: 'error' });
    await engine.begin(run.id, 'all');
    expect((await db.admin.query('select runs, is_nested from engine.child_starts')).rows).toEqual([{ runs: 2, is_nested: true }]);
  });
});

describe('the inputs of the children of a run', () => {
  test('have a size together', async () => {
    await limit('max_child_bytes', 10_000);
    const properties = { workflow: 'echo', concurrency: 1, items: numbers(9), input: '{{ $.prev.text }}', continue: true };
    const runId = await start(properties, { text: 'x'.repeat(3_000) });
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(3);
    expect(await engine.run(runId)).toMatchObject({
      error: { code: 'TOO_LARGE', node: 'all', details: { limit: 10_000, hint: expect.stringContaining('store') } },
    });
  });

  test('are made 8 MiB at a time', async () => {
    const text = '{{ $.prev.text }}';
    const input = { a: text, b: text, c: text, d: text };
    const runId = await start({ workflow: 'call', items: numbers(12), input, concurrency: 20 }, { text: 'x'.repeat(250_000) });
    await db.admin.query('delete from graphile_worker._private_jobs');
    await engine.begin(runId, 'all');
    const first = await childrenOf(runId);
    expect(first.length).toBeGreaterThan(0);
    expect(first.length).toBeLessThanOrEqual(9);
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(12);
  });
});
