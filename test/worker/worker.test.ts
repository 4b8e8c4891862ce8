import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { type RunningWorker, type WorkerOptions, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { Target } from './target.ts';

const db = await createTestDatabase();
const intake = new Engine(db.pool('flowgres_intake'));
let organization: TestOrganization;
let target: Target;
const closing: (() => unknown)[] = [];

beforeAll(async () => {
  organization = await createOrganization(db);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const trigger = { id: 'start', type: 'apiTrigger' };
const quick = { retry: { maxAttempts: 3, initialMs: 1, maxMs: 5 } };

async function world(): Promise<Target> {
  target = await new Target().start();
  closing.push(() => target.close());
  return target;
}

async function work(options: Partial<WorkerOptions> = {}): Promise<RunningWorker> {
  const worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 10,
    nodes: { httpAllow: [target.host] },
    onProblem: () => undefined,
    ...options,
  });
  closing.push(() => worker.stop());
  return worker;
}

async function start(definition: Definition, input: unknown = {}): Promise<string> {
  const workflow = await publishWorkflow(organization, definition);
  return (await intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input })).runId;
}

/** For what happens by itself, on a machine that may be busy. */
const soon = <T>(look: () => T) => expect.poll(look, { interval: 20 });
const stateOf = async (runId: string) => (await intake.runAnswers([runId]))[0];
const finished = async (runId: string, timeout = 20_000) => {
  await expect.poll(async () => (await stateOf(runId))?.status, { timeout, interval: 20 }).toMatch(/success|error|canceled/);
  return (await stateOf(runId))!;
};
async function eventsOf(runId: string): Promise<{ type: string; payload: Record<string, unknown> }[]> {
  return (await db.admin.query('select type, payload from workflow_events where run_id = $1 order by seq', [runId])).rows;
}
const typesOf = async (runId: string) =>
  (await eventsOf(runId)).map(({ type, payload }) => [type, payload['node']].filter(Boolean).join(' '));
const openSteps = async (runId: string) =>
  (await db.admin.query('select node, state, attempt, failures, crashes from engine.open_steps where run_id = $1', [runId])).rows;
/** Steps that failed, or whose worker is thought to have died. */
const attemptsOf = async (runIds: string[]) =>
  (
    await db.admin.query(
      `select run_id, type, payload from workflow_events where run_id = any ($1) and type in ('step.failed', 'run.failed')`,
      [runIds],
    )
  ).rows;
const jobs = async () => Number((await db.admin.query('select count(*) as n from graphile_worker._private_jobs')).rows[0].n);

describe('a worker', () => {
  test('executes a branch step by step on one job, each request with its own key', async () => {
    await world();
    const runId = await start(chain(trigger, target.node('one'), target.node('two'), target.node('three')));
    const { rows } = await db.admin.query('select count(*)::int as n from graphile_worker._private_jobs');
    expect(rows).toEqual([{ n: 1 }]);
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success', output: { value: { status: 200, body: '/three' } } });
    expect(target.calls.map(({ path, key }) => [path, key])).toEqual(
      ['one', 'two', 'three'].map((node) => [`/${node}`, `${runId}/${node}`]),
    );
    expect(await typesOf(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.started one',
      'step.succeeded one',
      'step.started two',
      'step.succeeded two',
      'step.started three',
      'step.succeeded three',
      'run.succeeded',
    ]);
    await soon(jobs).toBe(0);
  });

  test('executes parallel branches at the same time', async () => {
    await world();
    const waiting: (() => void)[] = [];
    target.answer = ({ response }) => {
      waiting.push(() => response.end());
      if (waiting.length === 3) for (const end of waiting) end();
    };
    const nodes = ['a', 'b', 'c'].map((id) => target.node(id));
    const runId = await start({ nodes: [trigger, ...nodes], connections: nodes.map(({ id }) => ({ source: 'start', target: id })) });
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success' });
  });

  test('executes many runs, in few transactions', async () => {
    await world();
    const workflow = await publishWorkflow(organization, chain(trigger, target.node('one')));
    const runs = await Promise.all(
      Array.from({ length: 200 }, () =>
        intake.startRun({ organizationId: organization.id, workflowId: workflow.id, mode: 'api', input: {} }),
      ),
    );
    await work({ concurrency: 100 });
    await expect
      .poll(async () => (await intake.runAnswers(runs.map(({ runId }) => runId))).filter(({ status }) => status === 'success').length, {
        timeout: 20_000,
      })
      .toBe(200);
    expect(new Set(target.calls.map(({ key }) => key)).size).toBe(200);
    expect(target.calls).toHaveLength(200);
  });

  test('wakes up for a timer', async () => {
    await world();
    await work();
    const runId = await start(chain(trigger, { id: 'pause', type: 'wait', properties: { seconds: 0.2 } }, target.node('after')));
    expect(await finished(runId)).toMatchObject({ status: 'success' });
  });
});

describe('a failing step', () => {
  test('is tried again with the same key until it succeeds', async () => {
    await world();
    target.answer = ({ response }, count) => response.writeHead(count < 3 ? 503 : 200).end();
    await work();
    const runId = await start(chain(trigger, target.node('one', quick)));
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    expect(new Set(target.calls.map(({ key }) => key))).toEqual(new Set([`${runId}/one`]));
    expect(await typesOf(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.started one',
      'step.failed one',
      'step.started one',
      'step.failed one',
      'step.started one',
      'step.succeeded one',
      'run.succeeded',
    ]);
  });

  test('ends the run when its attempts are used up', async () => {
    await world();
    target.answer = ({ response }) => response.writeHead(500).end();
    await work();
    const runId = await start(chain(trigger, target.node('one', quick)));
    expect(await finished(runId)).toMatchObject({ status: 'error', error: { code: 'HTTP_STATUS', node: 'one' } });
    expect(target.calls).toHaveLength(3);
  });

  test('waits as long as Retry-After says', async () => {
    await world();
    target.answer = ({ response }, count) => response.writeHead(count === 1 ? 429 : 200, { 'retry-after': '1' }).end();
    await work();
    const runId = await start(chain(trigger, target.node('one', quick)));
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    const { rows } = await db.admin.query(
      `select extract(epoch from max(ts) filter (where payload ->> 'attempt' = '2') - min(ts)) as seconds
       from workflow_events where run_id = $1 and type = 'step.started'`,
      [runId],
    );
    expect(Number(rows[0].seconds)).toBeGreaterThanOrEqual(1);
  });

  test('is not tried again when that cannot help', async () => {
    await world();
    target.answer = ({ response }) => response.writeHead(404).end();
    await work();
    const runId = await start(chain(trigger, target.node('one', quick)));
    expect(await finished(runId)).toMatchObject({ status: 'error' });
    expect(target.calls).toHaveLength(1);
    const blocked = await start(
      chain(trigger, { id: 'inside', type: 'httpRequest', properties: { url: 'http://169.254.169.254/' }, ...quick }),
    );
    expect(await finished(blocked)).toMatchObject({ status: 'error', error: { code: 'SSRF_BLOCKED' } });
    expect((await eventsOf(blocked)).filter(({ type }) => type === 'step.started')).toHaveLength(1);
  });

  test('goes on, or to the error port, where its onError says so', async () => {
    await world();
    target.answer = ({ response }) => response.writeHead(404).end();
    await work();
    const goesOn = await start(chain(trigger, target.node('one', { onError: 'continue' }), { id: 'end', type: 'noOp' }));
    expect(await finished(goesOn)).toMatchObject({ status: 'success', output: { value: { error: { code: 'HTTP_STATUS' } } } });
    const toPort = await start(
      {
        nodes: [trigger, target.node('one', { onError: 'errorOutput' }), { id: 'good', type: 'noOp' }, { id: 'bad', type: 'noOp' }],
        connections: [
          { source: 'start', target: 'one' },
          { source: 'one', target: 'good' },
          { source: 'one', target: 'bad', sourceOutput: 'error' },
        ],
      },
      { from: 'caller' },
    );
    expect(await finished(toPort)).toMatchObject({ output: { value: { error: { code: 'HTTP_STATUS' }, input: { from: 'caller' } } } });
    expect(await typesOf(toPort)).not.toContain('step.succeeded good');
  });

  test('that takes too long is aborted and counts as failed', async () => {
    await world();
    target.answer = () => undefined;
    await work();
    const runId = await start(chain(trigger, target.node('one', { timeoutMs: 100, retry: { maxAttempts: 1 } })));
    expect(await finished(runId)).toMatchObject({ status: 'error', error: { code: 'TIMEOUT' } });
    await soon(() => target.calls.every(({ aborted }) => aborted)).toBe(true);
  });
});

test('a step that the database cannot digest ends its run, and no other one', async () => {
  await world();
  await db.admin.query(`
    create function public.indigestible() returns trigger language plpgsql as $$ begin raise exception 'indigestible'; end $$;
    create trigger indigestible before insert on workflow_events for each row
      when (new.type = 'step.started' and new.payload ->> 'node' = 'poison') execute function public.indigestible()`);
  closing.push(() => db.admin.query('drop function public.indigestible() cascade'));
  const poisoned = await start(chain(trigger, target.node('poison')));
  const healthy = await start(chain(trigger, target.node('one')));
  await work();
  expect(await finished(poisoned)).toMatchObject({ status: 'error', error: { code: 'REFUSED' } });
  expect(await finished(healthy)).toMatchObject({ status: 'success' });
  await soon(jobs).toBe(0);
});

test('a canceled run aborts what runs', async () => {
  await world();
  target.answer = () => undefined;
  await work();
  const runId = await start(chain(trigger, target.node('one')));
  await soon(() => target.calls.length).toBe(1);
  await db.admin.query('select engine.cancel_run($1)', [runId]);
  await expect.poll(() => target.calls[0]?.aborted, { interval: 20 }).toBe(true);
  expect(await typesOf(runId)).toEqual(['run.created', 'step.succeeded start', 'step.started one', 'run.canceled']);
  await soon(jobs).toBe(0);
});

test('held runs are let in as others end, and a command on many runs is worked off', async () => {
  await world();
  const held = { ...chain(trigger, target.node('one')), settings: { concurrency: { limit: 2 } } };
  const workflow = await publishWorkflow(organization, held);
  const request = { organizationId: organization.id, workflowId: workflow.id, mode: 'api' as const, input: {} };
  const runs = await Promise.all(Array.from({ length: 6 }, () => intake.startRun(request)));
  expect(runs.filter(({ status }) => status === 'waiting')).toHaveLength(4);
  await work();
  for (const { runId } of runs) expect(await finished(runId)).toMatchObject({ status: 'success' });

  target.answer = () => undefined;
  await Promise.all(Array.from({ length: 6 }, () => intake.startRun(request)));
  const { rows } = await organization.user.query<{ id: string }>('select id from cancel_runs($1)', [
    JSON.stringify({ workflowId: workflow.id }),
  ]);
  const progress = async () =>
    (await db.admin.query('select total, done, finished_at is not null as finished from bulk_operations where id = $1', [rows[0]!.id]))
      .rows[0];
  await soon(progress).toEqual({ total: 6, done: 6, finished: true });
  await soon(jobs).toBe(0);
});

describe('a worker that stops', () => {
  test('finishes what runs and begins nothing new', async () => {
    await world();
    const worker = await work({ graceMs: 10_000 });
    const runId = await start(chain(trigger, target.node('one'), target.node('two')));
    target.answer = ({ response }) => {
      worker.stop();
      response.end();
    };
    await soon(() => target.calls.length).toBe(1);
    await worker.stop();
    expect(await typesOf(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.started one',
      'step.succeeded one',
      'step.started two',
    ]);
    expect(await openSteps(runId)).toMatchObject([{ node: 'two', state: 'queued', failures: 0, crashes: 0 }]);
    target.answer = ({ response }) => response.end();
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    expect(target.calls.map(({ path }) => path)).toEqual(['/one', '/two']);
  });

  test.each([0, 5, 20, 60, 150])('says nothing, also %d ms after it has got more jobs than it can do', async (ms) => {
    await world();
    const workflow = await publishWorkflow(
      organization,
      chain(trigger, target.node('one', { retry: { maxAttempts: 1 } }), target.node('two')),
    );
    const request = { organizationId: organization.id, workflowId: workflow.id, mode: 'api' as const, input: {} };
    const problems: string[] = [];
    const onProblem = (message: string, error: unknown) => problems.push(`${message} ${error}`);
    const first = await work({ onProblem, graceMs: 200 });
    await soon(jobs).toBe(0);
    const runs = await Promise.all(Array.from({ length: 60 }, () => intake.startRun(request)));
    await delay(ms);
    await first.stop();
    const second = await work({ onProblem });
    for (const { runId } of runs) expect(await finished(runId)).toMatchObject({ status: 'success' });
    await second.stop();
    expect(problems).toEqual([]);
    expect(await attemptsOf(runs.map(({ runId }) => runId))).toEqual([]);
  });

  test('hands back what does not finish in time, to be done by another one', async () => {
    await world();
    target.answer = () => undefined;
    const problems: string[] = [];
    const worker = await work({ graceMs: 10, onProblem: (message) => problems.push(message) });
    const runId = await start(chain(trigger, target.node('one', { retry: { maxAttempts: 1 } })));
    await soon(() => target.calls.length).toBe(1);
    await worker.stop();
    expect(problems).toEqual([]);
    expect(target.calls[0]).toMatchObject({ aborted: true });
    expect(await openSteps(runId)).toMatchObject([{ node: 'one', state: 'queued', failures: 0, crashes: 0 }]);
    target.answer = ({ response }) => response.end();
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success' });
  });
});

test('a result that is on its way when a worker stops is recorded, and not handed back', async () => {
  await world();
  const lock = await db.admin.connect();
  closing.push(() => lock.release());
  await lock.query('begin');
  target.answer = async ({ path, response }) => {
    if (path !== '/one') return;
    // Whoever records it has to wait.
    await lock.query('select from workflow_runs where id = $1 for update', [runId]);
    response.end();
  };
  const worker = await work({ graceMs: 10 });
  const runId = await start(chain(trigger, target.node('one')));
  const hanging = await start(chain(trigger, target.node('hangs')));
  const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  await soon(async () => (await db.admin.query(waiting)).rowCount).toBe(1);
  await soon(() => target.calls.length).toBe(2);
  const stopped = worker.stop();
  await soon(async () => (await openSteps(hanging))[0]?.state).toBe('queued');
  await lock.query('commit');
  await stopped;
  expect((await stateOf(runId))?.status).toBe('success');
  expect(target.calls.filter(({ path }) => path === '/one')).toHaveLength(1);
  await db.admin.query('select engine.cancel_run($1)', [hanging]);
});

describe('recovery', () => {
  /** Lets 20 seconds pass for everything that was said until now. */
  const later = async () => {
    await db.admin.query(`update engine.workers set seen_at = seen_at - interval '20 s'`);
    await db.admin.query(`update engine.open_steps set lease_until = lease_until - interval '20 s' where lease_until is not null`);
  };

  test('a step whose worker was killed is done by another one, with the same key', async () => {
    await world();
    target.answer = () => undefined;
    const runId = await start(chain(trigger, target.node('one', { retry: { maxAttempts: 1 } }), target.node('two')));
    const victim = fork(new URL('process.ts', import.meta.url).pathname, [db.url('flowgres_worker'), target.host]);
    await soon(() => target.calls.length).toBe(1);
    victim.kill('SIGKILL');
    await once(victim, 'exit');
    await later();
    target.answer = ({ response }) => response.end();
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    expect(target.calls.map(({ path, key }) => [path, key])).toEqual([
      ['/one', `${runId}/one`],
      ['/one', `${runId}/one`],
      ['/two', `${runId}/two`],
    ]);
    expect((await typesOf(runId)).filter((type) => type === 'step.succeeded one')).toHaveLength(1);
    await soon(jobs).toBe(0);
  });

  test('a worker that lost all its connections in the middle of a step records its result', async () => {
    await world();
    await work();
    target.answer = async ({ response }) => {
      await db.admin.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'flowgres_worker' and datname = current_database()`,
      );
      response.end();
    };
    const runId = await start(chain(trigger, target.node('one')));
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    expect(target.calls).toHaveLength(1);
  });

  test('a frozen worker that wakes up after another has taken over changes nothing', async () => {
    await world();
    const frozen = new Engine(createEnginePool(db.url('flowgres_worker'), 'test frozen', 1));
    const runId = await start(chain(trigger, target.node('one')));
    const { task } = await frozen.beginStep({ runId, node: 'one' });
    await later();
    await work();
    expect(await finished(runId)).toMatchObject({ status: 'success' });
    const late = { runId, node: 'one', attempt: task!.attempt, ms: 1, ok: true as const, output: 'late' };
    expect(await frozen.completeStep(late)).toMatchObject({ outcome: 'stale' });
    expect((await typesOf(runId)).filter((type) => type.startsWith('step.succeeded one'))).toHaveLength(1);
  });
});
