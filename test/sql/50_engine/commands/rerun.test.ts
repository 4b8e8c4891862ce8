/** Retries and forks: what they take over, what they do again, with which key. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver, type Task } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const trigger = { id: 'start', type: 'apiTrigger' };
const call = (id: string, more: Record<string, unknown> = {}) => ({
  id,
  type: 'httpRequest',
  properties: { url: 'https://example.com' },
  ...more,
});
const final = { code: 'BAD', message: 'bad', retryable: false };

interface Run {
  id: string;
  status: string;
  mode: string;
  version: number;
  retry_of: string | null;
  retried_by: string | null;
  priority: number;
  metadata: unknown;
}
const retry = async (runId: string | null, from?: string) =>
  (await acme.user.query<Run>('select * from retry_run($1, $2)', [runId, from ?? null])).rows[0]!;
const fork = async (runId: string | null, options: { from?: string; input?: unknown; version?: number } = {}) =>
  (
    await acme.user.query<Run>('select * from fork_run($1, $2, $3, $4)', [
      runId,
      options.from ?? null,
      options.input === undefined ? null : JSON.stringify(options.input),
      options.version ?? null,
    ])
  ).rows[0]!;
const publish = (definition: Definition) => publishWorkflow(acme, definition);
const republish = async (workflow: { id: string }, definition: Definition) => {
  await acme.user.query('select save_workflow($1, $2, (select revision from workflows where id = $1))', [
    workflow.id,
    JSON.stringify(definition),
  ]);
  return (await acme.user.query<{ version: number }>('select version from publish_workflow($1)', [workflow.id])).rows[0]!.version;
};

/** start → a → b (failed) → c */
async function failedRun(more: Record<string, unknown> = {}) {
  const workflow = await publish(chain(trigger, call('a'), call('b'), call('c')));
  const { run_id } = await engine.start(acme, workflow, { n: 1 }, more);
  const { next } = await engine.finish(run_id, 'a', 'from a');
  await engine.fail(next!, final);
  return { workflow, runId: run_id! };
}

describe('a retry', () => {
  test('is a new run that takes over what was finished and does again what failed', async () => {
    const { runId } = await failedRun({ metadata: { customer: 7 }, priority: 5 });
    const run = await retry(runId);
    expect(run).toMatchObject({ mode: 'retry', status: 'running', retry_of: runId, priority: 5, metadata: { customer: 7 } });
    expect(await engine.story(run.id)).toEqual(['run.created', 'step.reused start', 'step.reused a']);
    expect(await engine.log(run.id)).toMatchObject([
      { payload: { retryOf: runId, input: { n: 1 }, mode: 'retry', version: 1 } },
      { payload: { node: 'start', port: 'main', output: { n: 1 }, fromRun: runId } },
      { payload: { node: 'a', port: 'main', output: 'from a', fromRun: runId } },
    ]);
    await engine.finish(run.id, 'b', 2);
    expect(await engine.openSteps(run.id)).toMatchObject([{ node: 'c' }]);
  });

  test('from a node does that one and all that comes after it again', async () => {
    const { runId } = await failedRun();
    const run = await retry(runId, 'a');
    expect(await engine.story(run.id)).toEqual(['run.created', 'step.reused start']);
    expect(await engine.openSteps(run.id)).toMatchObject([{ node: 'a' }]);
  });

  test('asked for twice is one run; what was retried is no dead letter any more', async () => {
    const { runId, workflow } = await failedRun();
    const letters = async () => (await acme.user.query<Run>('select * from dead_letters($1)', [workflow.id])).rows.map(({ id }) => id);
    expect(await letters()).toEqual([runId]);
    const first = await retry(runId);
    expect(await retry(runId)).toMatchObject({ id: first.id });
    expect(await letters()).toEqual([]);
    await engine.fail((await engine.begin(first.id, 'b'))!, final);
    expect(await letters()).toEqual([first.id]);
  });

  test('asked for by twenty at once is one run', async () => {
    const { runId } = await failedRun();
    const runs = await Promise.all(Array.from({ length: 20 }, () => retry(runId)));
    expect(new Set(runs.map(({ id }) => id)).size).toBe(1);
  });

  test('of a canceled run goes on with what was not finished', async () => {
    const workflow = await publish(chain(trigger, call('a'), call('b')));
    const { run_id } = await engine.start(acme, workflow);
    await engine.finish(run_id, 'a', 1);
    await acme.user.query('select cancel_run($1)', [run_id]);
    const run = await retry(run_id);
    expect(await engine.story(run.id)).toEqual(['run.created', 'step.reused start', 'step.reused a']);
  });

  test('stays on the version of the run', async () => {
    const { runId, workflow } = await failedRun();
    await republish(workflow, chain(trigger, call('other')));
    expect((await retry(runId)).version).toBe(1);
  });

  test('of a run that is unfinished or was successful is refused', async () => {
    const { run_id } = await engine.start(acme, await publish(chain(trigger, call('a'))));
    await expect(retry(run_id)).rejects.toMatchObject({ code: 'WF003' });
    await engine.finish(run_id, 'a', 1);
    await expect(retry(run_id)).rejects.toMatchObject({ code: 'WF003' });
  });

  test('from a node that is not there, or of a run whose log is gone, is refused', async () => {
    const { runId } = await failedRun();
    await expect(retry(runId, 'nowhere')).rejects.toMatchObject({ code: 'WF002' });
    await expect(retry('01900000-0000-7000-8000-000000000000')).rejects.toMatchObject({ code: 'WF002' });
  });

  test('of a workflow that was archived is refused', async () => {
    const { runId, workflow } = await failedRun();
    await acme.user.query('select archive_workflow($1)', [workflow.id]);
    await expect(retry(runId)).rejects.toMatchObject({ code: 'WF011' });
  });

  test('does again what failed although the run went on, and what came of it', async () => {
    const definition = {
      nodes: [trigger, call('a', { onError: 'continue' }), call('side'), call('b')],
      connections: [
        { source: 'start', target: 'a' },
        { source: 'start', target: 'side' },
        { source: 'a', target: 'b' },
      ],
    };
    const { run_id } = await engine.start(acme, await publish(definition));
    const { next } = await engine.fail((await engine.begin(run_id, 'a'))!, final);
    await engine.finish(run_id, 'side', 1);
    await engine.fail(next!, final);
    const run = await retry(run_id);
    expect((await engine.story(run.id)).slice(1)).toEqual(['step.reused start', 'step.reused side']);
  });

  test('keeps skipped branches skipped', async () => {
    const definition = {
      nodes: [trigger, { id: 'which', type: 'if', properties: { when: '$.prev.yes == true' } }, call('yes'), call('no'), call('join')],
      connections: [
        { source: 'start', target: 'which' },
        { source: 'which', target: 'yes', sourceOutput: 'true' },
        { source: 'which', target: 'no', sourceOutput: 'false' },
        { source: 'yes', target: 'join' },
        { source: 'no', target: 'join' },
      ],
    };
    const { run_id } = await engine.start(acme, await publish(definition), { yes: true });
    const { next } = await engine.finish(run_id, 'yes', 1);
    await engine.fail(next!, final);
    const run = await retry(run_id);
    expect((await engine.story(run.id)).slice(1)).toEqual(['step.reused start', 'step.reused which', 'step.reused yes']);
    expect(await engine.finish(run.id, 'join', 5)).toMatchObject({ status: 'success' });
    expect(await engine.output(run.id)).toBe(5);
  });
});

describe('the idempotency key in a retried run', () => {
  const keyOf = async (runId: string, node: string) => (await engine.begin(runId, node))!.idempotencyKey;

  test('names the first run while the node had no recorded success, down a chain of retries', async () => {
    const { runId } = await failedRun();
    const second = await retry(runId);
    const task = await engine.begin(second.id, 'b');
    expect(task!.idempotencyKey).toBe(`${runId}/b`);
    await engine.fail(task!, final);
    const third = await retry(second.id);
    expect(await keyOf(third.id, 'b')).toBe(`${runId}/b`);
  });

  test('names the new run for a node that succeeded before and is done again on purpose', async () => {
    const { runId } = await failedRun();
    const second = await retry(runId, 'a');
    const task = (await engine.begin(second.id, 'a')) as Task;
    expect(task.idempotencyKey).toBe(`${second.id}/a`);
    const { next } = await engine.complete(task, 1);
    expect(next!.idempotencyKey).toBe(`${runId}/b`);
    await engine.fail(next!, final);
    const third = await retry(second.id, 'a');
    expect(await keyOf(third.id, 'a')).toBe(`${third.id}/a`);
  });

  test('of a fork is its own', async () => {
    const { runId } = await failedRun();
    const forked = await fork(runId);
    expect(await keyOf(forked.id, 'b')).toBe(`${forked.id}/b`);
  });
});

describe('a fork', () => {
  test('of a successful run begins where it is told', async () => {
    const workflow = await publish(chain(trigger, call('a'), call('b')));
    const { run_id } = await engine.start(acme, workflow, { n: 1 });
    const { next } = await engine.finish(run_id, 'a', 'A');
    await engine.complete(next!, 'B');
    const run = await fork(run_id, { from: 'b' });
    expect(run).toMatchObject({ mode: 'fork', retry_of: null, version: 1 });
    expect(await engine.log(run.id)).toMatchObject([
      { payload: { forkOf: run_id, mode: 'fork', input: { n: 1 } } },
      { type: 'step.reused', payload: { node: 'start', fromRun: run_id } },
      { type: 'step.reused', payload: { node: 'a', output: 'A', fromRun: run_id } },
    ]);
    expect(await engine.finish(run.id, 'b', 'again')).toMatchObject({ status: 'success' });
  });

  test('of a running run leaves that one alone', async () => {
    const { run_id } = await engine.start(acme, await publish(chain(trigger, call('a'), call('b'))));
    const { next } = await engine.finish(run_id, 'a', 1);
    const run = await fork(run_id);
    expect((await engine.story(run.id)).at(-1)).toBe('step.reused a');
    expect(await engine.complete(next!, 1)).toMatchObject({ status: 'success' });
  });

  test('with another input does everything again, or what comes from a node on', async () => {
    const { runId } = await failedRun();
    const all = await fork(runId, { input: { n: 2 } });
    expect(await engine.story(all.id)).toEqual(['run.created', 'step.succeeded start']);
    const some = await fork(runId, { input: { n: 3 }, from: 'b' });
    expect(await engine.story(some.id)).toEqual(['run.created', 'step.reused a', 'step.succeeded start']);
    expect(await engine.log(some.id)).toMatchObject([{ payload: { input: { n: 3 } } }, {}, { payload: { output: { n: 3 } } }]);
  });

  test('on another version takes over what is the same there, wherever it stands', async () => {
    const workflow = await publish(chain(trigger, call('a'), call('b'), call('c')));
    const { run_id } = await engine.start(acme, workflow);
    await engine.finish(run_id, 'a', 'A');
    await engine.finish(run_id, 'b', 'B').catch(() => undefined);
    await acme.user.query('select cancel_run($1)', [run_id]);
    const version = await republish(workflow, {
      nodes: [call('c'), call('extra'), call('b', { properties: { url: 'https://example.org' } }), call('a'), trigger],
      connections: [
        { source: 'start', target: 'a' },
        { source: 'a', target: 'b' },
        { source: 'b', target: 'c' },
        { source: 'start', target: 'extra' },
      ],
    });
    const run = await fork(run_id, { version });
    expect(run.version).toBe(version);
    expect((await engine.story(run.id)).slice(1)).toEqual(['step.reused start', 'step.reused a']);
    expect((await engine.openSteps(run.id)).map(({ node }) => node)).toEqual(['b', 'extra']);
  });

  test('compares what expressions read by its name, not by its place', async () => {
    const reads = { id: 'r', type: 'set', properties: { assign: { x: '{{ $.nodes.a }}', y: '{{ $.prev.n | json }}' } } };
    const workflow = await publish(chain(trigger, call('a'), reads, call('z')));
    const { run_id } = await engine.start(acme, workflow);
    await engine.finish(run_id, 'a', { n: 1 });
    const version = await republish(workflow, {
      nodes: [{ id: 'other', type: 'manualTrigger' }, trigger, call('first'), call('a'), reads, call('z')],
      connections: [...chain(trigger, call('a'), reads, call('z')).connections, { source: 'other', target: 'first' }],
    });
    const run = await fork(run_id, { version });
    expect((await engine.story(run.id)).slice(1)).toEqual(['step.reused start', 'step.reused a', 'step.reused r']);
  });

  test('on a version that is not there, or without the trigger, is refused', async () => {
    const { runId, workflow } = await failedRun();
    await expect(fork(runId, { version: 99 })).rejects.toMatchObject({ code: 'WF002' });
    const version = await republish(workflow, chain({ id: 'begin', type: 'apiTrigger' }, call('a')));
    await expect(fork(runId, { version })).rejects.toMatchObject({ code: 'WF002' });
    await expect(fork(runId, { input: 'x'.repeat(1_100_000) })).rejects.toMatchObject({ code: 'WF010' });
  });
});
