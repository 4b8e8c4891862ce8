/** Flow control: concurrency, rate and debounce, exact under concurrent starts. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tomorrowAt } from '../../../helpers/clock.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type Answer, Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  engine = new Driver(db);
  await engine.startOver();
  acme = await createOrganization(db);
});

const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };
const publish = (settings: Record<string, unknown>, ...nodes: { id: string; type: string }[]) =>
  publishWorkflow(acme, { ...chain(trigger, ...(nodes.length ? nodes : [call])), settings });
const start = (workflow: TestWorkflow, input: unknown = {}, more: Record<string, unknown> = {}) =>
  engine.start(acme, workflow, input, more);
const status = async ({ run_id }: Answer) => (await engine.run(run_id)).status;
const statuses = (answers: Answer[]) => Promise.all(answers.map(status));
const held = async ({ run_id }: Answer) => (await engine.log(run_id))[0]!.payload['held'];
const end = async ({ run_id }: Answer) => {
  // A released run begins with its trigger.
  await engine.begin(run_id, 'start');
  await engine.finish(run_id, 'a', 1);
};

describe('a concurrency limit', () => {
  test('holds what is too much, and releases it first come, first served, as others end', async () => {
    const workflow = await publish({ concurrency: { limit: 2 } });
    const runs = [await start(workflow), await start(workflow), await start(workflow), await start(workflow)];
    expect(await statuses(runs)).toEqual(['running', 'running', 'waiting', 'waiting']);
    expect(await held(runs[0]!)).toBeUndefined();
    expect(await held(runs[2]!)).toEqual({ reason: 'concurrency', key: '' });
    expect(await engine.openSteps(runs[2]!.run_id)).toEqual([]);
    await engine.finish(runs[1]!.run_id, 'a', 1);
    await engine.release();
    expect(await statuses(runs)).toEqual(['running', 'success', 'running', 'waiting']);
    expect(await engine.begin(runs[2]!.run_id, 'start')).toBeNull();
    expect(await engine.finish(runs[2]!.run_id, 'a', 1)).toMatchObject({ status: 'success' });
    expect(await engine.story(runs[2]!.run_id)).toEqual([
      'run.created',
      'run.released',
      'step.succeeded start',
      'step.started a',
      'step.succeeded a',
      'run.succeeded',
    ]);
    await engine.release();
    expect(await status(runs[3]!)).toBe('running');
  });

  test('counts for each value of its key', async () => {
    const workflow = await publish({ concurrency: { limit: 1, key: '$.input.customer' } });
    const runs = [await start(workflow, { customer: 1 }), await start(workflow, { customer: 2 }), await start(workflow, { customer: 1 })];
    expect(await statuses(runs)).toEqual(['running', 'running', 'waiting']);
    expect(await held(runs[2]!)).toEqual({ reason: 'concurrency', key: '1' });
    await end(runs[1]!);
    await engine.release();
    expect(await status(runs[2]!)).toBe('waiting');
    await end(runs[0]!);
    await engine.release();
    expect(await status(runs[2]!)).toBe('running');
  });

  test('releases the lower priority number first', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, plain, urgent] = [await start(workflow), await start(workflow), await start(workflow, {}, { priority: -5 })];
    await end(first);
    await engine.release();
    expect(await statuses([plain, urgent])).toEqual(['waiting', 'running']);
  });

  test('is exact when twenty start at once', async () => {
    const workflow = await publish({ concurrency: { limit: 5 } });
    const runs = await Promise.all(Array.from({ length: 20 }, () => start(workflow)));
    const running = async () => (await statuses(runs)).filter((each) => each === 'running').length;
    expect(await running()).toBe(5);
    for (let left = 20; left > 0; left -= 5) {
      const { rows } = await db.admin.query<{ run_id: string }>('select run_id from engine.flow_runs where not is_held');
      expect(rows).toHaveLength(5);
      await Promise.all(rows.map(({ run_id }) => end({ run_id } as Answer)));
      await engine.release();
    }
    expect(new Set(await statuses(runs))).toEqual(new Set(['success']));
    expect((await db.admin.query('select from engine.flow_runs')).rows).toEqual([]);
  });

  test('is exact in one batch, too, and for runs that end while they start', async () => {
    const workflow = await publish({ concurrency: { limit: 2 } });
    const pure = await publish({ concurrency: { limit: 1 } }, { id: 'end', type: 'noOp' });
    const request = { organizationId: acme.id, input: {} };
    const answers = await engine.startAll([
      ...[1, 2, 3].map(() => ({ ...request, workflowId: workflow.id })),
      { ...request, workflowId: pure.id },
    ]);
    expect(await statuses(answers)).toEqual(['running', 'running', 'waiting', 'success']);
    expect(await status(await start(pure))).toBe('success');
  });
});

describe('a slot', () => {
  test('is given back however a run ends, and not given to a run that was canceled while it was held', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, second, third, fourth] = [await start(workflow), await start(workflow), await start(workflow), await start(workflow)];
    await acme.user.query('select cancel_run($1)', [second.run_id]);
    await acme.user.query('select cancel_run($1)', [first.run_id]);
    await engine.release();
    expect(await statuses([first, second, third, fourth])).toEqual(['canceled', 'canceled', 'running', 'waiting']);
    await db.admin.query(`select engine.fail_run($1, 'DEADLINE', 'late')`, [third.run_id]);
    await engine.release();
    expect(await status(fourth)).toBe('running');
  });

  test('is given on when the run ends in one batch with the failed attempt of another one', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, held] = [await start(workflow), await start(workflow)];
    const other = await start(await publish({}));
    const tasks = [await engine.begin(first.run_id, 'a'), await engine.begin(other.run_id, 'a')];
    const results = tasks.map((task, index) => ({
      ...{ runId: task!.runId, node: 'a', attempt: task!.attempt, ms: 1 },
      ...(index === 0 ? { ok: true, output: 1 } : { ok: false, error: { code: 'DOWN', message: 'down', retryable: true } }),
    }));
    await db.pool('flowgres_worker').query('select from engine.complete_steps($1, $2)', [JSON.stringify(results), engine.worker]);
    await engine.release();
    expect(await statuses([first, held])).toEqual(['success', 'running']);
  });

  test('goes past a run that is paused, until that is resumed', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, second, third] = [await start(workflow), await start(workflow), await start(workflow)];
    await acme.user.query('select pause_run($1)', [second.run_id]);
    await end(first);
    await engine.release();
    expect(await statuses([second, third])).toEqual(['paused', 'running']);
    await acme.user.query('select resume_run($1)', [second.run_id]);
    expect(await status(second)).toBe('waiting');
    await end(third);
    await engine.release();
    await end(second);
    expect(await status(second)).toBe('success');
  });

  test('is waited for by retries as by other starts', async () => {
    const workflow = await publish({ concurrency: { limit: 1 }, maxRetries: 0 });
    const [first, second] = [await start(workflow), await start(workflow)];
    await engine.fail((await engine.begin(first.run_id, 'a'))!, { code: 'BAD', message: 'bad' });
    const { rows } = await acme.user.query<{ id: string }>('select id from retry_run($1)', [first.run_id]);
    await engine.release();
    expect(await status(second)).toBe('running');
    expect((await engine.run(rows[0]!.id)).status).toBe('waiting');
    await end(second);
    await engine.release();
    await engine.begin(rows[0]!.id, 'start');
    expect(await engine.finish(rows[0]!.id, 'a', 1)).toMatchObject({ status: 'success' });
  });

  test('is filled by the reconciler when the wake-up of those who wait was lost', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, second] = [await start(workflow), await start(workflow)];
    await end(first);
    await db.admin.query('delete from graphile_worker._private_jobs');
    expect(await engine.reconcile()).toContainEqual({ action: 'release', run_id: second.run_id, node: null });
    expect(await status(second)).toBe('running');
  });

  test('that nobody holds is named by the monitor and repaired', async () => {
    const workflow = await publish({ concurrency: { limit: 1 } });
    const [first, second] = [await start(workflow), await start(workflow)];
    await db.admin.query(
      `insert into engine.flow_runs (run_id, organization_id, workflow_id, version, priority, is_held, concurrency_key)
       values (gen_random_uuid(), $1, $2, 1, 0, false, '')`,
      [acme.id, workflow.id],
    );
    await end(first);
    await engine.release();
    expect(await status(second)).toBe('waiting');
    expect((await db.admin.query('select * from monitor.stuck_runs()')).rows).toHaveLength(1);
    expect((await db.pool('flowgres_worker').query('select * from engine.repair_runs()')).rows).toMatchObject([{ action: 'slot' }]);
    await engine.reconcile();
    expect(await status(second)).toBe('running');
  });
});

describe('a rate limit', () => {
  const at = (time: string) => engine.freeze(tomorrowAt(time));
  const release = async (time: string) => {
    await at(time);
    await engine.release(tomorrowAt(time));
  };

  test('lets so many in within any window of its length, the others as the window moves on', async () => {
    const workflow = await publish({ rateLimit: { limit: 2, perMs: 60_000 } });
    await at('12:00:00');
    const runs = [await start(workflow)];
    await at('12:00:30');
    runs.push(await start(workflow), await start(workflow), await start(workflow));
    expect(await statuses(runs)).toEqual(['running', 'running', 'waiting', 'waiting']);
    expect(await held(runs[2]!)).toEqual({ reason: 'rate', key: '' });
    await release('12:00:59');
    expect(await status(runs[2]!)).toBe('waiting');
    await release('12:01:00');
    expect(await statuses(runs)).toEqual(['running', 'running', 'running', 'waiting']);
    await release('12:01:29');
    expect(await status(runs[3]!)).toBe('waiting');
    await release('12:01:30');
    expect(await status(runs[3]!)).toBe('running');
  });

  test('counts for each value of its key', async () => {
    const workflow = await publish({ rateLimit: { limit: 1, perMs: 1000, key: '$.input.to' } });
    const runs = [await start(workflow, { to: 'a' }), await start(workflow, { to: 'b' }), await start(workflow, { to: 'a' })];
    expect(await statuses(runs)).toEqual(['running', 'running', 'waiting']);
  });

  test('is exact when twenty start at once', async () => {
    const workflow = await publish({ rateLimit: { limit: 5, perMs: 600_000 } });
    const runs = await Promise.all(Array.from({ length: 20 }, () => start(workflow)));
    expect((await statuses(runs)).filter((each) => each === 'running')).toHaveLength(5);
    const { rows } = await db.admin.query(`select key from graphile_worker.jobs where task_identifier = 'release_runs'`);
    expect(rows).toEqual([{ key: `rate:${workflow.id}/` }]);
  });

  test('goes on holding those whose slot is free', async () => {
    const workflow = await publish({ rateLimit: { limit: 1, perMs: 60_000 }, concurrency: { limit: 3 } });
    await at('12:00:00');
    const runs = [await start(workflow), await start(workflow), await start(workflow), await start(workflow)];
    expect(await held(runs[3]!)).toEqual({ reason: 'rate', key: '' });
    await end(runs[0]!);
    await release('12:00:01');
    expect(await statuses(runs.slice(1))).toEqual(['waiting', 'waiting', 'waiting']);
    await release('12:01:00');
    await release('12:02:00');
    expect(await statuses(runs.slice(1))).toEqual(['running', 'running', 'waiting']);
    await end(runs[1]!);
    await end(runs[2]!);
    await release('12:03:00');
    expect(await status(runs[3]!)).toBe('running');
    await end(runs[3]!);
  });

  test('goes together with a concurrency limit', async () => {
    const workflow = await publish({ rateLimit: { limit: 2, perMs: 60_000 }, concurrency: { limit: 1 } });
    await at('12:00:00');
    const runs = [await start(workflow), await start(workflow), await start(workflow)];
    expect(await statuses(runs)).toEqual(['running', 'waiting', 'waiting']);
    await end(runs[0]!);
    await release('12:00:01');
    expect(await status(runs[1]!)).toBe('running');
    await end(runs[1]!);
    await release('12:00:02');
    expect(await status(runs[2]!)).toBe('waiting');
    await release('12:01:00');
    expect(await status(runs[2]!)).toBe('running');
  });
});

describe('a debounce', () => {
  const at = (time: string) => engine.freeze(tomorrowAt(time));
  const release = async (time: string) => {
    await at(time);
    await engine.release(tomorrowAt(time));
  };

  test('runs the newest start of its key, after so much time without another one', async () => {
    const workflow = await publish({ debounce: { ms: 5_000, key: '$.input.doc' } });
    await at('12:00:00');
    const [older, other] = [await start(workflow, { doc: 1 }), await start(workflow, { doc: 2 })];
    expect(older).toMatchObject({ status: 'waiting' });
    expect(await held(older)).toEqual({ reason: 'debounce', key: '1' });
    await at('12:00:03');
    const newest = await start(workflow, { doc: 1 });
    await release('12:00:05');
    expect(await statuses([older, other, newest])).toEqual(['canceled', 'running', 'waiting']);
    expect((await engine.log(older.run_id)).at(-1)).toMatchObject({ payload: { reason: expect.stringContaining('newer') } });
    await release('12:00:08');
    expect(await status(newest)).toBe('running');
    expect(await status(await start(workflow, { doc: 1 }))).toBe('waiting');
  });

  test('runs the older one when the newer one is canceled in time', async () => {
    const workflow = await publish({ debounce: { ms: 5_000 } });
    await at('12:00:00');
    const older = await start(workflow);
    await at('12:00:01');
    const newer = await start(workflow);
    await acme.user.query('select cancel_run($1)', [newer.run_id]);
    await release('12:00:05');
    expect(await status(older)).toBe('running');
  });

  test('comes before the other limits', async () => {
    const workflow = await publish({ debounce: { ms: 5_000 }, concurrency: { limit: 1 }, rateLimit: { limit: 1, perMs: 60_000 } });
    await at('12:00:00');
    const first = await start(workflow);
    await release('12:00:05');
    expect(await status(first)).toBe('running');
    const second = await start(workflow);
    await release('12:00:10');
    expect(await status(second)).toBe('waiting');
    await end(first);
    await release('12:00:20');
    expect(await status(second)).toBe('waiting');
    await release('12:01:05');
    expect(await status(second)).toBe('running');
  });
});

test('schedules and error workflows are held and released like other starts', async () => {
  const workflow = await publish({ concurrency: { limit: 1 } });
  const first = await start(workflow, {}, { mode: 'schedule' });
  expect(await status(first)).toBe('waiting');
  await engine.release();
  expect(await status(first)).toBe('running');
});

test('limits that make no sense are refused when a workflow is published, each at its place', async () => {
  const settings = {
    concurrency: { limit: 0, key: '$.prev.x' },
    rateLimit: { limit: 1, key: '$.input.a | upper' },
    debounce: { ms: 1.5, key: '$.input.' },
  };
  const { rows } = await acme.user.query<{ pointer: string; code: string }>('select * from validate_workflow($1)', [
    JSON.stringify({ ...chain(trigger, call), settings }),
  ]);
  expect(rows.map(({ pointer, code }) => `${pointer} ${code}`).sort()).toEqual([
    '/settings/concurrency/key INVALID_EXPRESSION',
    '/settings/concurrency/limit INVALID_DEFINITION',
    '/settings/debounce/key INVALID_EXPRESSION',
    '/settings/debounce/ms INVALID_DEFINITION',
    '/settings/rateLimit INVALID_DEFINITION',
    '/settings/rateLimit/key INVALID_EXPRESSION',
  ]);
});
