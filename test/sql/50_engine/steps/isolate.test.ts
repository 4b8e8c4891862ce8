/** Expressions that are not cheap are evaluated in a local step, with the same result. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

type Node = Definition['nodes'][number];
const start = { id: 'start', type: 'apiTrigger' };
const end = { id: 'end', type: 'set', properties: { assign: { ended: true } } };
/** Nothing is proved about it. */
const DEEP = '$.prev.**.name';
const prev = {
  name: 'Ada',
  items: [
    { name: 'x', n: 1 },
    { name: 'y', n: 2 },
  ],
};

async function startChain(...nodes: Node[]) {
  const workflow = await publishWorkflow(acme, chain(start, ...nodes));
  const { run_id } = await engine.start(acme, workflow, prev);
  await engine.goOn(run_id);
  return run_id;
}

describe('a pure node whose expressions are not cheap', () => {
  test.each<[string, Node, unknown, string?]>([
    ['transform', { id: 'n', type: 'transform', properties: { path: DEEP } }, ['Ada', 'x', 'y', 'x', 'y']],
    ['set', { id: 'n', type: 'set', properties: { assign: { all: `{{ ${DEEP} }}` } } }, { ...prev, all: ['Ada', 'x', 'y', 'x', 'y'] }],
    ['if', { id: 'n', type: 'if', properties: { when: `exists(${DEEP} ? (@ == "y"))` } }, prev, 'true'],
    ['switch', { id: 'n', type: 'switch', properties: { rules: [{ when: `exists(${DEEP})`, port: 'yes' }] } }, prev, 'yes'],
    [
      'filter',
      { id: 'n', type: 'filter', properties: { items: '{{ $.prev.items }}', when: 'exists($.item.** ? (@ == 2))' } },
      [{ name: 'y', n: 2 }],
    ],
    ['a pattern', { id: 'n', type: 'transform', properties: { path: '$.prev.items[*].name ? (@ like_regex "(x|z)+")' } }, ['x']],
  ])('%s is a local step with the same outcome', async (_, node, output, port = 'main') => {
    const run = await startChain(node);
    expect(await engine.openSteps(run)).toMatchObject([{ node: 'n', is_isolated: true }]);
    expect(await engine.isolate(run, 'n')).toBeNull();
    const log = await engine.log(run);
    expect(log.map(({ type }) => type)).toEqual(['run.created', 'step.succeeded', 'step.started', 'step.succeeded', 'run.succeeded']);
    expect(log[3]!.payload).toMatchObject({ node: 'n', attempt: 1, port, output });
    expect(await engine.verify(run)).toEqual([]);
  });

  test('fails as it would have', async () => {
    const run = await startChain({ id: 'n', type: 'if', properties: { when: DEEP } });
    await engine.isolate(run, 'n');
    expect(await engine.run(run)).toMatchObject({ status: 'error', error: { code: 'EXPRESSION_NOT_BOOLEAN', node: 'n' } });
    expect(await engine.verify(run)).toEqual([]);
  });

  test('that is disabled or pinned is not evaluated', async () => {
    const off = await startChain({ id: 'n', type: 'transform', properties: { path: DEEP }, disabled: true });
    expect((await engine.run(off)).status).toBe('success');
    const workflow = await publishWorkflow(
      acme,
      chain({ id: 'start', type: 'manualTrigger' }, { id: 'n', type: 'transform', properties: { path: DEEP }, pin: 7 }),
    );
    const { run_id } = await engine.start(acme, workflow, prev, { mode: 'manual' });
    await engine.goOn(run_id);
    expect(await engine.output(run_id)).toBe(7);
  });

  test('answers a webhook', async () => {
    const run = await startChain({ id: 'n', type: 'respondToWebhook', properties: { body: `{{ ${DEEP} }}` } }, end);
    expect(await engine.isolate(run, 'n')).toBeNull();
    expect((await engine.log(run)).find(({ type }) => type === 'run.responded')?.payload).toMatchObject({
      status: 200,
      body: ['Ada', 'x', 'y', 'x', 'y'],
    });
    expect((await engine.run(run)).status).toBe('success');
    expect(await engine.verify(run)).toEqual([]);
  });
});

describe('any other node is evaluated first, and then does what it does', () => {
  test('an effect gets its properties and its own attempts', async () => {
    const run = await startChain(
      {
        id: 'n',
        type: 'httpRequest',
        properties: { url: 'https://example.com', body: `{{ ${DEEP} }}` },
        retry: { initialMs: 1, jitter: false },
      },
      end,
    );
    const begun = await engine.beginIsolated(run, 'n');
    expect(begun).toMatchObject({ isolated: true, properties: {} });
    const { next } = await engine.evaluate(begun);
    expect(next).toMatchObject({
      node: 'n',
      isolated: false,
      properties: { url: 'https://example.com', body: ['Ada', 'x', 'y', 'x', 'y'] },
    });
    expect((await engine.complete(begun, 'late')).outcome).toBe('stale');
    expect((await engine.complete(next!, { status: 200 })).status).toBe('success');
    expect(await engine.story(run)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.started n',
      'step.evaluated n',
      'step.started n',
      'step.succeeded n',
      'step.succeeded end',
      'run.succeeded',
    ]);
    expect(await engine.verify(run)).toEqual([]);
  });

  test('a wait waits for what its expressions say', async () => {
    const isolated = await startChain({ id: 'n', type: 'wait', properties: { signal: '{{ $.prev.items.** ? (@ == "x") | first }}' } }, end);
    expect(await engine.isolate(isolated, 'n')).toBeNull();
    expect(await engine.openSteps(isolated)).toMatchObject([{ node: 'n', state: 'waiting' }]);
    await acme.user.query(`select signal_run($1, 'x', '"came"')`, [isolated]);
    expect((await engine.run(isolated)).status).toBe('success');
    expect(await engine.verify(isolated)).toEqual([]);
  });

  test('child runs get what was evaluated', async () => {
    await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, { id: 'echo', type: 'noOp' }), 'echo');
    const run = await startChain({ id: 'n', type: 'forEach', properties: { workflow: 'echo', items: '{{ $.prev.**.n }}' } });
    expect(await engine.isolate(run, 'n')).toBeNull();
    await engine.begin(run, 'n');
    expect(await engine.run(run)).toMatchObject({ status: 'success' });
    expect(await engine.output(run)).toEqual([1, 2, 1, 2]);
    expect(await engine.verify(run)).toEqual([]);
  });

  test('also after a pause', async () => {
    const run = await startChain({ id: 'n', type: 'httpRequest', properties: { url: `{{ ${DEEP} | first }}` } });
    const task = await engine.beginIsolated(run, 'n');
    await acme.user.query('select pause_run($1)', [run]);
    expect((await engine.evaluate(task)).next).toBeNull();
    await acme.user.query('select resume_run($1)', [run]);
    expect(await engine.begin(run, 'n')).toMatchObject({ isolated: false, properties: { url: 'Ada' } });
    expect(await engine.verify(run)).toEqual([]);
  });
});

describe('a node that is cheap for little input', () => {
  const compare = { id: 'n', type: 'if', properties: { when: '$.prev.a == $.prev.b' } };
  test.each([
    [10, 'success'],
    [5_000, 'running'],
  ])('with lists of %i items is %s at once', async (length, status) => {
    const workflow = await publishWorkflow(acme, chain(start, compare));
    const list = Array.from({ length }, (_, index) => index);
    const { run_id } = await engine.start(acme, workflow, { a: list, b: list.map((n) => -1 - n) });
    await engine.goOn(run_id);
    expect((await engine.run(run_id)).status).toBe(status);
    if (status === 'running') await engine.isolate(run_id, 'n');
    expect((await engine.run(run_id)).status).toBe('success');
    expect(await engine.verify(run_id)).toEqual([]);
  });

  test('merges short lists by fields at once, long ones in a local step', async () => {
    for (const length of [3, 2_000]) {
      const items = Array.from({ length }, (_, k) => ({ k, n: length }));
      const workflow = await publishWorkflow(acme, {
        nodes: [start, { id: 'a', type: 'noOp' }, { id: 'n', type: 'merge', properties: { mode: 'fields', by: 'k' } }],
        connections: [
          { source: 'start', target: 'a' },
          { source: 'start', target: 'n' },
          { source: 'a', target: 'n', targetInput: 'second' },
        ],
      });
      const { run_id } = await engine.start(acme, workflow, items);
      await engine.goOn(run_id);
      const { status } = await engine.run(run_id);
      expect(status).toBe(length === 3 ? 'success' : 'running');
      if (status === 'running') await engine.isolate(run_id, 'n');
      expect(await engine.output(run_id)).toEqual(items);
      expect(await engine.verify(run_id)).toEqual([]);
    }
  });
});

test('branches go on beside an isolated step, and the replay gives the same', async () => {
  const workflow = await publishWorkflow(acme, {
    nodes: [
      start,
      { id: 'deep', type: 'transform', properties: { path: DEEP } },
      { id: 'effect', type: 'httpRequest', properties: { url: 'https://example.com' } },
      { id: 'after', type: 'noOp' },
      { id: 'join', type: 'merge', properties: { mode: 'append' } },
    ],
    connections: [
      { source: 'start', target: 'deep' },
      { source: 'start', target: 'effect' },
      { source: 'effect', target: 'after' },
      { source: 'after', target: 'join' },
      { source: 'deep', target: 'join' },
    ],
  });
  for (const order of [
    ['effect', 'deep'],
    ['deep', 'effect'],
  ]) {
    const { run_id } = await engine.start(acme, workflow, prev);
    for (const node of order) {
      if (node === 'deep') await engine.isolate(run_id, node);
      else await engine.finish(run_id, node, ['e']);
      if (node === 'effect') expect(await engine.story(run_id)).toContain('step.succeeded after');
    }
    expect(await engine.output(run_id)).toEqual(expect.arrayContaining(['e', 'Ada']));
    expect(await engine.verify(run_id)).toEqual([]);
  }
});
