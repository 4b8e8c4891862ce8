/** Pause and resume of a run, with attempts, timers and signals in flight. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tomorrowAt } from '../../../helpers/clock.ts';
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
beforeEach(() => engine.freeze(null));

const trigger = { id: 'start', type: 'apiTrigger' };
const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const wait = { id: 'sleep', type: 'wait', properties: { seconds: 60 } };

const start = async (definition: Definition) => (await engine.start(acme, await publishWorkflow(acme, definition))).run_id!;
const command = async (name: string, runId: string, reason?: string) => {
  const { rows } = await acme.user.query<{ status: string }>(`select status from ${name}($1, $2)`, [runId, reason ?? null]);
  return rows[0]!.status;
};
const jobs = async (runId: string) =>
  (
    await db.admin.query<{ node: string }>(
      `delete from graphile_worker._private_jobs where payload ->> 'runId' = $1 returning payload ->> 'node' as node`,
      [runId],
    )
  ).rows.map(({ node }) => node);

describe('a paused run', () => {
  test('begins nothing new, and records who paused it and why', async () => {
    const runId = await start(chain(trigger, call('a')));
    expect(await command('pause_run', runId, 'peer down')).toBe('paused');
    expect(await engine.begin(runId, 'a')).toBeNull();
    expect((await engine.log(runId)).at(-1)).toMatchObject({ type: 'run.paused', payload: { by: acme.userId, reason: 'peer down' } });
  });

  test('records what a running attempt comes to, but goes on only when it is resumed', async () => {
    const runId = await start(chain(trigger, call('a'), call('b')));
    const task = await engine.begin(runId, 'a');
    await command('pause_run', runId);
    expect(await engine.complete(task!, 1)).toMatchObject({ outcome: 'recorded', status: 'paused', next: null });
    expect(await engine.openSteps(runId)).toEqual([]);
    await jobs(runId);
    expect(await command('resume_run', runId)).toBe('running');
    expect(await jobs(runId)).toEqual(['b']);
    expect(await engine.finish(runId, 'b', 2)).toMatchObject({ status: 'success' });
    expect(await engine.story(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'step.started a',
      'run.paused',
      'step.succeeded a',
      'run.resumed',
      'step.started b',
      'step.succeeded b',
      'run.succeeded',
    ]);
  });

  test('finishes when it is resumed after its last step has ended', async () => {
    const runId = await start(chain(trigger, call('a'), { id: 'end', type: 'noOp' }));
    const task = await engine.begin(runId, 'a');
    await command('pause_run', runId);
    await engine.complete(task!, 'x');
    expect(await command('resume_run', runId)).toBe('success');
    expect(await engine.output(runId)).toBe('x');
  });

  test('fails on resume when an attempt failed for good meanwhile', async () => {
    const runId = await start(chain(trigger, call('a')));
    const task = await engine.begin(runId, 'a');
    await command('pause_run', runId);
    await engine.fail(task!, { code: 'BAD', message: 'bad', retryable: false });
    expect((await engine.run(runId)).status).toBe('paused');
    expect(await command('resume_run', runId)).toBe('error');
  });

  test('keeps the next attempt of a step until it is resumed', async () => {
    await engine.freeze(tomorrowAt('12:00:00'));
    const runId = await start(chain(trigger, call('a')));
    const task = await engine.begin(runId, 'a');
    await command('pause_run', runId);
    await engine.fail(task!, { code: 'DOWN', message: 'down', retryable: true });
    await engine.freeze(tomorrowAt('13:00:00'));
    expect(await engine.begin(runId, 'a')).toBeNull();
    await jobs(runId);
    await command('resume_run', runId);
    expect(await jobs(runId)).toEqual(['a']);
    expect(await engine.begin(runId, 'a')).toMatchObject({ attempt: 2 });
  });

  test('can be canceled', async () => {
    const runId = await start(chain(trigger, call('a')));
    await command('pause_run', runId);
    expect(await command('cancel_run', runId)).toBe('canceled');
  });
});

test('a run whose children ended while it was paused goes on when it is resumed', async () => {
  await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, call('a')), 'child');
  const runId = await start(chain(trigger, { id: 'sub', type: 'executeWorkflow', properties: { workflow: 'child' } }));
  await engine.begin(runId, 'sub');
  await command('pause_run', runId);
  const { rows } = await db.admin.query<{ id: string }>('select id from workflow_runs where parent_run_id = $1', [runId]);
  await engine.finish(rows[0]!.id, 'a', 'done');
  // The news of it comes to nothing now.
  expect(await jobs(runId)).toContain('sub');
  expect(await engine.begin(runId, 'sub')).toBeNull();
  expect(await command('resume_run', runId)).toBe('waiting');
  expect(await jobs(runId)).toEqual(['sub']);
  await engine.begin(runId, 'sub');
  expect(await engine.output(runId)).toBe('done');
});

describe('the time of a paused run', () => {
  test('lets a timer wait: one whose time came in the pause fires on resume, another one at its time', async () => {
    await engine.freeze(tomorrowAt('12:00:00'));
    const [late, early] = [await start(chain(trigger, wait)), await start(chain(trigger, wait))];
    for (const runId of [late, early]) expect(await command('pause_run', runId)).toBe('paused');
    await engine.freeze(tomorrowAt('12:00:30'));
    await jobs(early);
    expect(await command('resume_run', early)).toBe('waiting');
    expect(await jobs(early)).toEqual([]);
    await engine.freeze(tomorrowAt('12:01:01'));
    expect(await engine.begin(late, 'sleep')).toBeNull();
    expect((await engine.run(late)).status).toBe('paused');
    await jobs(late);
    await command('resume_run', late);
    expect(await jobs(late)).toEqual(['sleep']);
    for (const runId of [late, early]) {
      await engine.begin(runId, 'sleep');
      expect((await engine.run(runId)).status).toBe('success');
    }
  });

  test("is none of the reconciler's business", async () => {
    const runId = await start(chain(trigger, call('a')));
    await command('pause_run', runId);
    await db.admin.query(`update engine.open_steps set run_at = now() - interval '5 minutes' where run_id = $1`, [runId]);
    expect((await engine.reconcile()).filter(({ run_id }) => run_id === runId)).toEqual([]);
    expect((await db.admin.query('select * from monitor.stuck_runs()')).rows).toEqual([]);
  });

  test('counts towards the deadline', async () => {
    await engine.freeze(tomorrowAt('12:00:00'));
    const runId = await start({ ...chain(trigger, call('a')), settings: { deadlineMs: 60_000 } });
    await command('pause_run', runId);
    await engine.freeze(tomorrowAt('12:01:01'));
    await engine.reconcile();
    expect(await engine.run(runId)).toMatchObject({ status: 'error', error: { code: 'DEADLINE' } });
  });
});

test('pausing and resuming twice changes nothing, nor does either of a finished run', async () => {
  const runId = await start(chain(trigger, call('a')));
  expect(await command('resume_run', runId)).toBe('running');
  await command('pause_run', runId);
  await command('pause_run', runId);
  await command('resume_run', runId);
  await command('resume_run', runId);
  expect((await engine.story(runId)).slice(2)).toEqual(['run.paused', 'run.resumed']);
  await command('cancel_run', runId);
  expect(await command('pause_run', runId)).toBe('canceled');
  expect(await command('resume_run', runId)).toBe('canceled');
  expect(await command('cancel_run', runId)).toBe('canceled');
});

test('of a run of another organization nothing is found', async () => {
  const other = await createOrganization(db, 'Other');
  const runId = await start(chain(trigger, call('a')));
  for (const name of ['pause_run', 'resume_run', 'retry_run', 'fork_run', 'cancel_run']) {
    await expect(other.user.query(`select ${name}($1)`, [runId]), name).rejects.toMatchObject({ code: 'WF002' });
  }
});
