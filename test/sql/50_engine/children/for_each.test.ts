/** forEach: order, concurrency, failures and limits of its children. */
import { describe, expect, test } from 'vitest';
import { createRunTree } from '../../../helpers/run_tree.ts';

const { db, acme, engine, start, childrenOf, drain } = await createRunTree('forEach');

describe('forEach', () => {
  test('runs a child for each item and gives their outputs in the order of the items', async () => {
    const runId = await start({ workflow: 'double' }, [3, 1, 2]);
    expect((await engine.log(runId)).at(-1)).toMatchObject({ type: 'step.waiting', payload: { node: 'all', kind: 'forEach', count: 3 } });
    await drain(runId);
    expect(await engine.output(runId)).toEqual([6, 2, 4]);
    expect(await engine.story(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.waiting all',
      'step.succeeded all',
      'run.succeeded',
    ]);
  });

  test('of nothing gives an empty list', async () => {
    const runId = await start({ workflow: 'double' }, []);
    await drain(runId);
    expect(await engine.output(runId)).toEqual([]);
  });

  test('evaluates input for each item, with $.item and $.index beside what the node itself sees', async () => {
    const input = { item: '{{ $.item.sku }}', place: '{{ $.index }}', order: '{{ $.prev.order }}', run: '{{ $.run.id }}' };
    const runId = await start({ workflow: 'echo', items: '{{ $.prev.lines }}', input }, { order: 7, lines: [{ sku: 'a' }, { sku: 'b' }] });
    await drain(runId);
    expect(await engine.output(runId)).toEqual([
      { item: 'a', place: 0, order: 7, run: runId },
      { item: 'b', place: 1, order: 7, run: runId },
    ]);
  });

  test('runs ten at a time when nothing else is said, and another one as one ends', async () => {
    const runId = await start(
      { workflow: 'call' },
      Array.from({ length: 12 }, (_, index) => index),
    );
    await drain(runId);
    const first = await childrenOf(runId);
    expect(first).toHaveLength(10);
    // They end in another order than they began in.
    for (const child of first.toReversed().slice(0, 5)) await engine.finish(child.id, 'call', `of ${child.parent_index}`);
    expect(await engine.jobs(runId)).toEqual(['all']);
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(12);
    for (const child of await childrenOf(runId)) {
      if (child.status === 'running') await engine.finish(child.id, 'call', `of ${child.parent_index}`);
    }
    await drain(runId);
    expect(await engine.output(runId)).toEqual(Array.from({ length: 12 }, (_, index) => `of ${index}`));
  });

  test('hands out 100 children in a transaction at most', async () => {
    const items = Array.from({ length: 250 }, (_, index) => index);
    const runId = await start({ workflow: 'double', concurrency: 20 }, items);
    await db.admin.query('delete from graphile_worker._private_jobs');
    await engine.begin(runId, 'all');
    expect(await childrenOf(runId)).toHaveLength(100);
    expect(await engine.jobs(runId)).toEqual(['all']);
    await drain(runId);
    expect(await engine.output(runId)).toEqual(items.map((item) => item * 2));
  });
});

describe('a failure in a forEach', () => {
  test('hands out nothing more after a failure, and fails with the first one when the others have ended', async () => {
    const runId = await start({ workflow: 'call', concurrency: 2 }, [0, 1, 2, 3]);
    await drain(runId);
    const [a, b] = await childrenOf(runId);
    await engine.fail((await engine.begin(b!.id, 'call'))!, { code: 'HTTP_404', message: 'gone', retryable: false });
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(2);
    expect((await engine.run(runId)).status).toBe('waiting');
    await engine.finish(a!.id, 'call', 1);
    await drain(runId);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'HTTP_404', node: 'all', details: { run: b!.id } } });
  });

  test('with continue goes on, and has the error at that place', async () => {
    const runId = await start({ workflow: 'number', continue: true }, ['1', 'many', '3']);
    await drain(runId);
    expect(await engine.output(runId)).toMatchObject([1, { error: { code: 'EXPRESSION_FILTER' } }, 3]);
  });

  test('leaves it to onError what becomes of a failure', async () => {
    const runId = await start({ workflow: 'number' }, ['1', 'many'], { onError: 'continue' });
    await drain(runId);
    expect(await engine.output(runId)).toMatchObject({ error: { code: 'EXPRESSION_FILTER' } });
  });

  test('fails when an input cannot be computed, after those that run have ended', async () => {
    const properties = { workflow: 'call', concurrency: 1, input: { n: '{{ $.item | number }}' } };
    const runId = await start(properties, ['1', 'many', '3']);
    await drain(runId);
    await engine.finish((await childrenOf(runId))[0]!.id, 'call', 1);
    await drain(runId);
    expect(await childrenOf(runId)).toHaveLength(1);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'EXPRESSION_FILTER', node: 'all' } });
  });

  test.each([
    ['no list', { a: 1 }, {}, 'NOT_A_LIST'],
    ['more than 1,000', Array.from({ length: 1001 }, () => 1), {}, 'TOO_MANY_ITEMS'],
    ['more than maxItems', [1, 2, 3], { maxItems: 2 }, 'TOO_MANY_ITEMS'],
    ['an unknown workflow', [1], { workflow: 'none' }, 'NOT_FOUND'],
  ])('fails for %s', async (_, items, more, code) => {
    const runId = await start({ workflow: 'double', ...more }, items);
    await drain(runId);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code, node: 'all' } });
  });

  test('whose outputs are larger than 1 MiB together fails', async () => {
    const runId = await start({ workflow: 'call', concurrency: 2 }, [1, 2]);
    await drain(runId);
    for (const child of await childrenOf(runId)) await engine.finish(child.id, 'call', 'x'.repeat(700_000));
    await drain(runId);
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'TOO_LARGE', node: 'all' } });
  });

  test('may have two jobs in one batch: the second has nothing to add', async () => {
    const runId = await start({ workflow: 'call' }, [0, 1]);
    const twice = JSON.stringify([1, 2].map(() => ({ runId, node: 'all' })));
    for (let count = 1; count <= 2; count += 1) {
      await db.pool('flowgres_worker').query('select from engine.begin_steps($1, $2)', [twice, engine.worker]);
      expect(await childrenOf(runId)).toHaveLength(2);
    }
    await acme.user.query('select cancel_run($1)', [runId]);
  });

  test('ends well when all its children end at the same time', async () => {
    const runId = await start({ workflow: 'call' }, [0, 1, 2, 3, 4, 5]);
    await drain(runId);
    const results = await Promise.all((await childrenOf(runId)).map(({ id }) => engine.finish(id, 'call', 1)));
    expect(results.every(({ status }) => status === 'success')).toBe(true);
    expect(await engine.jobs(runId)).toEqual(['all']);
    await drain(runId);
    expect((await engine.run(runId)).status).toBe('success');
  });
});
