/** repeat: one child after the other, until its condition or its limit. */
import { describe, expect, test } from 'vitest';
import { createRunTree } from '../../../helpers/run_tree.ts';

const { engine, start, childrenOf, drain } = await createRunTree('repeat');

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

  test('looks at outputs of up to 1 MiB', async () => {
    const runId = await start({ workflow: 'call', until: '$.item.done == true' }, {});
    await drain(runId);
    for (const done of [false, true]) {
      const running = (await childrenOf(runId)).find(({ status }) => status === 'running');
      await engine.finish(running!.id, 'call', { done, text: 'x'.repeat(900_000) });
      await drain(runId);
    }
    expect(await engine.run(runId)).toMatchObject({ status: 'success' });
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
