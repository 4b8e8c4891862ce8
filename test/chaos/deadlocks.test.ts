/**
 * No two functions of the engine wait for each other in a circle: every ordered pair of those that write, on the same
 * runs in opposite orders, while a third session holds one of the runs, or one of their steps, until both are at work.
 */
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase, findBrokenInvariants } from '../helpers/database.ts';
import { Driver, type Task } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { tamper } from '../helpers/tamper.ts';

/** node-postgres knows which process serves it. */
type Session = pg.Client & { processID?: number | null };

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let workflows: Record<'limited' | 'plain' | 'timed' | 'parent' | 'asking', TestWorkflow>;
let first: Session;
let second: Session;
let gate: pg.Client;

const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const trigger = { id: 'start', type: 'apiTrigger' };

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  const alarm = await publishWorkflow(acme, {
    ...chain({ id: 'failed', type: 'errorTrigger' }, { id: 'end', type: 'noOp' }),
    settings: { concurrency: { limit: 1 } },
  });
  workflows = {
    limited: await publishWorkflow(acme, {
      ...chain(trigger, call('a'), call('b')),
      settings: { concurrency: { limit: 2 }, rateLimit: { limit: 10_000, perMs: 1 }, errorWorkflow: alarm.id },
    }),
    plain: await publishWorkflow(acme, {
      ...chain(trigger, call('a'), call('b')),
      settings: { errorWorkflow: alarm.id, deadlineMs: 86_400_000 },
    }),
    parent: { id: '', version: 0 },
    asking: await publishWorkflow(acme, {
      nodes: [
        trigger,
        { id: 'a', type: 'wait', properties: { approval: {} } },
        { id: 'b', type: 'wait', properties: { webhook: {} } },
        call('c'),
      ],
      connections: [
        { source: 'start', target: 'a' },
        { source: 'start', target: 'b' },
        { source: 'a', target: 'c', sourceOutput: 'approved' },
      ],
    }),
    timed: await publishWorkflow(acme, chain({ id: 'start', type: 'scheduleTrigger', properties: { every: { n: 1, unit: 'hours' } } })),
  };
  workflows.parent = await publishWorkflow(
    acme,
    chain(trigger, {
      id: 'a',
      type: 'forEach',
      properties: { workflow: workflows.limited.id, items: [1, 2, 3], input: '{{ $.item }}' },
    }),
  );
  [first, second, gate] = [await connect(db.adminUrl), await connect(db.adminUrl), await connect(db.adminUrl)];
  for (const client of [first, second]) await client.query(`set deadlock_timeout = '100ms'`);
});
// What the pairs before have left would only make it slow.
beforeEach(() =>
  tamper(
    db,
    `truncate workflow_runs, engine.start_keys, engine.flow_runs, engine.flow_starts, bulk_operations,
     graphile_worker._private_jobs cascade`,
  ),
);
afterAll(() => Promise.all([first, second, gate].map((client) => client?.end())));

interface World {
  /** Unfinished runs, in one order or the other. */
  runs: string[];
  tasks: Task[];
  /** Runs that have failed. */
  failed: string[];
  /** A run that waits for an approval and at an address. */
  asking: { runId: string; token: string };
  operations: { cancel: string; retry: string };
}

/** Runs in every state, and something to do for everybody. */
async function createWorld(): Promise<World> {
  const request = (workflow: TestWorkflow) => ({ organizationId: acme.id, workflowId: workflow.id, input: {} });
  const started = await engine.startAll([
    ...[1, 2, 3, 4].map(() => request(workflows.limited)),
    ...[1, 2, 3, 4].map(() => request(workflows.plain)),
    ...[1, 2].map(() => request(workflows.parent)),
    request(workflows.asking),
  ]);
  const asking = started.at(-1)!.run_id!;
  const { rows: tokens } = await db.admin.query<{ token: string }>(
    `select engine.resume_token(p.resume_key, $1, 'b') as token from engine.compiled_versions as p where p.workflow_id = $2`,
    [asking, workflows.asking.id],
  );
  const begun = started.filter(({ status }) => status === 'running').map(({ run_id }) => run_id!);
  const { rows } = await db
    .pool('flowgres_worker')
    .query<{ task: Task }>(`select task from engine.begin_steps($1, $2) where task is not null`, [
      JSON.stringify(begun.map((runId) => ({ runId, node: 'a' }))),
      engine.worker,
    ]);
  const tasks = rows.map(({ task }) => task);
  const failed = [tasks.shift()!, tasks.pop()!];
  for (const task of failed) await engine.fail(task, { code: 'BAD', message: 'bad', retryable: false });
  const runs = started.map(({ run_id }) => run_id!).filter((id) => !failed.some(({ runId }) => runId === id));
  // Of the plain ones, the worker of one has died, that of another for the fifth time, and the third is late.
  const plain = tasks.filter(({ runId }) => started.findIndex(({ run_id }) => run_id === runId) >= 4).map(({ runId }) => runId);
  await db.admin.query(
    `update engine.open_steps set lease_until = now() - interval '1 minute', crashes = case run_id when $1 then 4 else 0 end
     where run_id in ($1, $2)`,
    plain.slice(0, 2),
  );
  await db.admin.query(`update workflow_runs set deadline_at = now() - interval '1 minute' where id = $1`, [plain[2] ?? plain[1]]);
  await db.admin.query(`update schedules set fires_at = now() - interval '1 second', next_run_at = now() - interval '1 second'`);
  const operation = async (command: string) => (await acme.user.query<{ id: string }>(`select id from ${command}($1)`, ['{}'])).rows[0]!.id;
  return {
    runs,
    tasks,
    failed: failed.map(({ runId }) => runId),
    asking: { runId: asking, token: tokens[0]!.token },
    operations: { cancel: await operation('cancel_runs'), retry: await operation('retry_runs') },
  };
}

type Call = (world: World) => [text: string, ...values: unknown[]];
const json = JSON.stringify;
const results = ({ tasks }: World, ok: boolean) =>
  json(tasks.map(({ runId, node, attempt }) => ({ runId, node, attempt, ok, output: 1, error: { code: 'BAD', message: 'bad' }, ms: 1 })));
const steps = ({ runs }: World) => json(runs.flatMap((runId) => ['start', 'a', 'b'].map((node) => ({ runId, node }))));

/** The functions that write, as they are called in production: one call is one transaction. */
const CALLS: Record<string, Call> = {
  start_runs: ({ runs }) => [
    'select from engine.start_runs($1)',
    json(
      [workflows.limited, workflows.plain].flatMap(({ id }) =>
        runs.slice(0, 2).map((key) => ({ organizationId: acme.id, workflowId: id, input: {}, key })),
      ),
    ),
  ],
  begin_steps: (world) => ['select from engine.begin_steps($1, $2)', steps(world), engine.worker],
  'complete_steps, well': (world) => ['select from engine.complete_steps($1, $2)', results(world, true), engine.worker],
  'complete_steps, badly': (world) => ['select from engine.complete_steps($1, $2)', results(world, false), engine.worker],
  heartbeat: ({ tasks }) => ['select from engine.heartbeat($1, $2)', engine.worker, json(tasks)],
  release_steps: ({ tasks }) => ['select engine.release_steps($1, $2)', engine.worker, json(tasks)],
  reconcile: () => ['select from engine.reconcile()'],
  wake_steps: () => ['select from engine.wake_steps()'],
  cancel_children: ({ failed }) => ['select engine.cancel_children($1)', failed[0]],
  signal_run: ({ runs }) => [`select engine.signal_run($1, 'news', '1')`, runs[0]],
  approve_step: ({ asking }) => [`select engine.approve_step($1, 'a', true, null, null)`, asking.runId],
  'resume_run, by its address': ({ asking }) => [`select engine.resume_by_token($1, '{"method": "POST"}')`, asking.token],
  repair_runs: () => ['select from engine.repair_runs()'],
  fire_schedule: () => ['select engine.fire_schedule(organization_id, workflow_id, node) from engine.due_schedules()'],
  release_runs: () => [`select engine.release_runs($1, 'concurrency', '')`, workflows.limited.id],
  cancel_run: ({ runs }) => ['select engine.cancel_run($1)', runs[0]],
  fail_run: ({ runs }) => [`select engine.fail_run($1, 'POISON', 'x')`, runs[0]],
  pause_run: ({ runs }) => ['select engine.pause_run($1)', runs[0]],
  resume_run: ({ runs }) => ['select engine.resume_run($1)', runs[0]],
  retry_run: ({ failed }) => ['select engine.retry_run($1)', failed[0]],
  fork_run: ({ runs }) => ['select engine.fork_run($1)', runs[0]],
  'work_bulk_operation, canceling': ({ operations }) => ['select engine.work_bulk_operation($1)', operations.cancel],
  'work_bulk_operation, retrying': ({ operations }) => ['select engine.work_bulk_operation($1)', operations.retry],
  verify_run: ({ runs }) => ['select engine.verify_run($1)', runs[0]],
};

const reversed = (world: World): World => ({
  ...world,
  runs: world.runs.toReversed(),
  tasks: world.tasks.toReversed(),
  failed: world.failed.toReversed(),
});

/** Sends a call, and resolves when it waits for a lock, or is through; what comes of it follows. */
async function begin(client: Session, [text, ...values]: ReturnType<Call>): Promise<{ outcome: Promise<string> }> {
  let isDone = false;
  const outcome = client.query(text, values).then(
    () => 'done',
    (error: { code?: string; message: string }) => (error.code?.startsWith('WF') ? 'done' : `${error.code} ${error.message}`),
  );
  void outcome.finally(() => (isDone = true));
  await vi.waitFor(
    async () => {
      if (isDone) return;
      const { rows } = await db.admin.query('select from pg_stat_activity where pid = $1 and wait_event_type = $2', [
        client.processID,
        'Lock',
      ]);
      expect(rows).toHaveLength(1);
    },
    { timeout: 20_000, interval: 2 },
  );
  return { outcome };
}

const GATES: Record<string, (world: World) => [string, ...unknown[]]> = {
  'a run is held': ({ runs }) => ['select from workflow_runs where id = $1 for update', runs[Math.floor(runs.length / 2)]],
  'a step is held': ({ tasks }) => [
    'select from engine.open_steps where run_id = $1 for update',
    tasks[Math.floor(tasks.length / 2)]!.runId,
  ],
};

test.each(Object.keys(GATES).flatMap((held) => Object.keys(CALLS).map((name) => [name, held] as const)))(
  '%s goes together with every other one, while %s',
  async (name, held) => {
    const outcomes: Record<string, string[]> = {};
    for (const [other, otherCall] of Object.entries(CALLS)) {
      const world = await createWorld();
      const [text, ...values] = GATES[held]!(world);
      await gate.query('begin');
      await gate.query(text, values);
      const calls = [await begin(first, CALLS[name]!(world)), await begin(second, otherCall(reversed(world)))];
      await gate.query('commit');
      outcomes[other] = await Promise.all(calls.map(({ outcome }) => outcome));
    }
    expect(await findBrokenInvariants(db.admin)).toEqual([]);
    expect(outcomes).toEqual(Object.fromEntries(Object.keys(CALLS).map((other) => [other, ['done', 'done']])));
  },
  120_000,
);
