/**
 * Whatever wakes an unfinished run may be lost, at every point where a run can wait: the monitor says so, and what every
 * worker does by the clock brings the run to its end within a minute. Nothing else does: no job is left.
 */
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { tomorrowAt } from '../../../helpers/clock.ts';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver, type Task } from '../../../helpers/driver.ts';
import { type Definition, type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

const MINUTE_MS = 60_000;
/** When the monitor is asked: what comes by a clock of its own has come by then, and nothing has been rescued. */
const SOON_MS = 20_000;

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let clock: Date;

const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  await engine.freeze(tomorrowAt('12:00:00'));
  const called = { id: 'start', type: 'subworkflowTrigger' };
  await publishWorkflow(acme, chain(called, call), 'child');
  await publishWorkflow(acme, chain(called, { id: 'rest', type: 'wait', properties: { signal: 'go' } }), 'sleeper');
});
beforeEach(async () => {
  clock = tomorrowAt('12:00:00');
  await engine.freeze(clock);
});

async function pass(ms: number): Promise<void> {
  clock = new Date(clock.getTime() + ms);
  await engine.freeze(clock);
}
const start = async (definition: Definition, input: unknown = {}, more: Record<string, unknown> = {}) =>
  (await engine.start(acme, await publishWorkflow(acme, definition), input, more)).run_id!;
const loseJobs = () => db.admin.query('delete from graphile_worker._private_jobs');
const stuck = async () =>
  (await db.admin.query<{ invariant: string; run_id: string | null }>('select invariant, run_id from monitor.stuck_runs()')).rows;
const children = async (runId: string) =>
  (await db.admin.query<{ id: string }>('select id from workflow_runs where parent_run_id = $1 order by parent_index', [runId])).rows.map(
    ({ id }) => id,
  );

/** What each worker does by the clock. */
async function byTheClock(): Promise<void> {
  await engine.reconcile();
  await engine.wake();
  await db.pool('flowgres_worker').query('select from engine.repair_runs()');
}

/** Does all jobs that are due, and those that come of them. */
async function work(): Promise<void> {
  const worker = db.pool('flowgres_worker');
  const tasks: Record<string, (payload: Record<string, string>) => Promise<unknown>> = {
    run_step: async ({ runId, node }) => {
      let task: Task | null = await engine.begin(runId!, node!);
      while (task) task = (await engine.complete(task, { n: 1 })).next;
    },
    release_runs: ({ workflowId, by, key }) => worker.query('select engine.release_runs($1, $2, $3)', [workflowId, by, key]),
    work_bulk_operation: ({ id }) => worker.query('select engine.work_bulk_operation($1)', [id]),
    cancel_children: ({ runId }) => worker.query('select engine.cancel_children($1)', [runId]),
  };
  for (;;) {
    const { rows } = await db.admin.query<{ task: string; payload: Record<string, string> }>(
      `delete from graphile_worker._private_jobs as j using graphile_worker._private_tasks as t
       where t.id = j.task_id and j.id = (
         select d.id from graphile_worker._private_jobs as d where d.run_at <= $1 or d.run_at = d.created_at order by d.run_at, d.id limit 1
       ) returning t.identifier as task, j.payload`,
      [clock],
    );
    if (!rows[0]) return;
    await tasks[rows[0].task]!(rows[0].payload);
  }
}

/** Gets runs to a point where something has just woken them; answers with those that must be moved by that. */
const POINTS: Record<string, () => Promise<string[]>> = {
  'a step that was queued': async () => [await start(chain(trigger, call))],

  'a step that its starter has claimed, and never begun': async () => [await start(chain(trigger, call), {}, { claim: true })],

  'a branch that was queued beside another one': async () => {
    const id = await start({
      nodes: [trigger, call, { ...call, id: 'other' }],
      connections: [
        { source: 'start', target: 'call' },
        { source: 'start', target: 'other' },
      ],
    });
    await engine.finish(id, 'call', 1);
    return [id];
  },

  'a timer': async () => {
    const id = await start(chain(trigger, { id: 'nap', type: 'wait', properties: { seconds: 3600 } }, call));
    await pass(3_600_000);
    await engine.wake();
    return [id];
  },

  'a signal that does not come in time': async () => {
    const id = await start(chain(trigger, { id: 'nap', type: 'wait', properties: { signal: 'go', timeoutSeconds: 3600 } }));
    await pass(3_600_000);
    await engine.wake();
    return [id];
  },

  'a signal that has come': async () => {
    const id = await start(chain(trigger, { id: 'nap', type: 'wait', properties: { signal: 'go', timeoutSeconds: 3600 } }, call));
    await acme.user.query(`select signal_run($1, 'go')`, [id]);
    return [id];
  },

  'another attempt': async () => {
    const id = await start(chain(trigger, call));
    await engine.fail((await engine.begin(id, 'call'))!, { code: 'DOWN', message: 'down', retryable: true, retryAfterMs: 30_000 });
    await pass(30_000);
    await engine.wake();
    return [id];
  },

  'a step whose worker has died': async () => {
    const id = await start(chain(trigger, call));
    await engine.begin(id, 'call');
    await pass(15_000);
    return [id];
  },

  'a child run': async () => {
    const id = await start(chain(trigger, { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'child' } }, call));
    await engine.begin(id, 'sub');
    await engine.finish((await children(id))[0]!, 'call', 1);
    return [id];
  },

  'a child run that was canceled': async () => {
    const sub = { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'sleeper' }, onError: 'continue' };
    const id = await start(chain(trigger, sub, call));
    await engine.begin(id, 'sub');
    await acme.user.query('select cancel_run($1)', [(await children(id))[0]]);
    return [id];
  },

  'the first turn of a forEach': async () => [
    await start(chain(trigger, { id: 'each', type: 'forEach', properties: { workflow: 'child' } }), [1, 2, 3]),
  ],

  'the last children of a forEach': async () => {
    const id = await start(chain(trigger, { id: 'each', type: 'forEach', properties: { workflow: 'child' } }, call), [1, 2, 3]);
    await engine.begin(id, 'each');
    for (const child of await children(id)) await engine.finish(child, 'call', 1);
    return [id];
  },

  'a turn of a repeat': async () => {
    const repeat = { id: 'again', type: 'repeat', properties: { workflow: 'child', until: '$.item.n == 1' } };
    const id = await start(chain(trigger, repeat));
    await engine.begin(id, 'again');
    await engine.finish((await children(id))[0]!, 'call', { n: 0 });
    return [id];
  },

  'the children of a run that was canceled': async () => {
    const id = await start(chain(trigger, { id: 'each', type: 'forEach', properties: { workflow: 'sleeper' } }), [1, 2]);
    await engine.begin(id, 'each');
    await acme.user.query('select cancel_run($1)', [id]);
    return children(id);
  },

  'a run that is held for a slot': async () => {
    const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings: { concurrency: { limit: 1 } } });
    const [first, second] = [await engine.start(acme, workflow), await engine.start(acme, workflow)];
    await engine.finish(first.run_id, 'call', 1);
    return [second.run_id!];
  },

  'runs that are held behind one that is paused': async () => {
    const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings: { concurrency: { limit: 1 } } });
    const [first, paused, third] = [
      await engine.start(acme, workflow),
      await engine.start(acme, workflow),
      await engine.start(acme, workflow),
    ];
    await acme.user.query('select pause_run($1)', [paused.run_id]);
    await engine.finish(first.run_id, 'call', 1);
    await loseJobs();
    await byTheClock(); // the monitor does not look behind the paused one
    await work();
    expect((await engine.run(third.run_id)).status).toBe('success');
    await acme.user.query('select resume_run($1)', [paused.run_id]);
    return [paused.run_id!];
  },

  'runs that are held for a rate': async () => {
    const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings: { rateLimit: { limit: 2, perMs: 30_000 } } });
    const runs = [];
    for (let count = 0; count < 4; count += 1) runs.push(await engine.start(acme, workflow));
    await pass(30_000);
    return runs.slice(2).map(({ run_id }) => run_id!);
  },

  'runs that are held for a debounce, each with a key of its own': async () => {
    const settings = { debounce: { ms: 30_000, key: '$.input.k' } };
    const workflow = await publishWorkflow(acme, { ...chain(trigger, call), settings });
    const runs = [];
    for (let k = 0; k < 12; k += 1) runs.push(await engine.start(acme, workflow, { k }));
    await pass(30_000);
    return runs.map(({ run_id }) => run_id!);
  },

  'a run that was paused and goes on': async () => {
    const id = await start(chain(trigger, call));
    await acme.user.query('select pause_run($1)', [id]);
    await pass(600_000);
    await acme.user.query('select resume_run($1)', [id]);
    return [id];
  },

  'a timer that has fired in a pause': async () => {
    const id = await start(chain(trigger, { id: 'nap', type: 'wait', properties: { seconds: 3600 } }));
    await pass(3_590_000);
    await acme.user.query('select pause_run($1)', [id]);
    await pass(20_000);
    await byTheClock();
    await work();
    await acme.user.query('select resume_run($1)', [id]);
    return [id];
  },

  'children that have ended in a pause': async () => {
    const id = await start(chain(trigger, { id: 'each', type: 'forEach', properties: { workflow: 'child' } }), [1, 2]);
    await engine.begin(id, 'each');
    await acme.user.query('select pause_run($1)', [id]);
    for (const child of await children(id)) await engine.finish(child, 'call', 1);
    await work();
    await acme.user.query('select resume_run($1)', [id]);
    return [id];
  },

  'a deadline': async () => {
    const nap = { id: 'nap', type: 'wait', properties: { signal: 'go' } };
    const id = await start({ ...chain(trigger, nap), settings: { deadlineMs: 3_600_000 } });
    await pass(3_600_000);
    return [id];
  },

  'the deadline of a paused run': async () => {
    const id = await start({ ...chain(trigger, call), settings: { deadlineMs: 3_600_000 } });
    await acme.user.query('select pause_run($1)', [id]);
    await pass(3_600_000);
    return [id];
  },
};

test.each(Object.keys(POINTS))('%s', async (point) => {
  const ids = await POINTS[point]!();
  await loseJobs();
  await pass(SOON_MS);
  const named = await stuck();
  // Of many that wait for the same limit the first one is named.
  expect(named.map(({ run_id }) => run_id).filter((id) => ids.includes(id!))).not.toEqual([]);

  await pass(MINUTE_MS - SOON_MS);
  await byTheClock();
  await work();
  for (const id of ids) expect((await engine.run(id)).finished_at).not.toBeNull();
  expect(await stuck()).toEqual([]);
});

test('one of several children that run at a time: the next one is started while the others go on', async () => {
  const each = { id: 'each', type: 'forEach', properties: { workflow: 'sleeper', concurrency: 2 } };
  const id = await start(chain(trigger, each), [1, 2, 3]);
  await engine.begin(id, 'each');
  await acme.user.query(`select signal_run($1, 'go')`, [(await children(id))[0]]);
  await loseJobs();
  expect(await stuck()).toEqual([{ invariant: 'I5 a step that has something to do has a job', run_id: id }]);
  await pass(MINUTE_MS);
  await byTheClock();
  await work();
  expect(await children(id)).toHaveLength(3);
  expect(await stuck()).toEqual([]);
});

test('an operation on many runs', async () => {
  const workflow = await publishWorkflow(acme, chain(trigger, { id: 'nap', type: 'wait', properties: { signal: 'go' } }));
  const runs = [await engine.start(acme, workflow), await engine.start(acme, workflow)];
  await pass(1_000);
  await acme.user.query('select cancel_runs($1)', [JSON.stringify({ workflowId: workflow.id })]);
  await loseJobs();
  await pass(SOON_MS);
  expect(await stuck()).toEqual([{ invariant: 'I5 an operation on many runs has a job', run_id: null }]);
  await pass(MINUTE_MS - SOON_MS + 1);
  await byTheClock();
  await work();
  for (const { run_id } of runs) expect((await engine.run(run_id)).status).toBe('canceled');
  expect(await stuck()).toEqual([]);
});

test('nothing is named that waits for somebody else, or whose job waits for a worker', async () => {
  await start(chain(trigger, call));
  await start(chain(trigger, { id: 'nap', type: 'wait', properties: { seconds: 3600 } }));
  await start(chain(trigger, { id: 'nap', type: 'wait', properties: { signal: 'go' } }));
  const parent = await start(chain(trigger, { id: 'each', type: 'forEach', properties: { workflow: 'sleeper', concurrency: 1 } }), [1, 2]);
  await engine.begin(parent, 'each');
  const limited = await publishWorkflow(acme, { ...chain(trigger, call), settings: { concurrency: { limit: 1 } } });
  await engine.start(acme, limited);
  await engine.start(acme, limited);
  const rated = await publishWorkflow(acme, { ...chain(trigger, call), settings: { rateLimit: { limit: 1, perMs: 3_600_000 } } });
  await engine.start(acme, rated);
  await engine.start(acme, rated);
  await pass(SOON_MS);
  expect(await stuck()).toEqual([]);
  await pass(MINUTE_MS);
  await byTheClock();
  const { rows } = await db.admin.query(`select from graphile_worker._private_jobs where key = 'due:' || $1 || '/each'`, [parent]);
  expect(rows).toHaveLength(0);
  await work();
});
