/** start_workflow_run() and what is read of runs. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { tamper } from '../../../helpers/tamper.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let pure: string;
let effect: string;
beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  engine = new Driver(db);
  const trigger = { id: 'start', type: 'apiTrigger' };
  pure = (await publishWorkflow(acme, chain(trigger, { id: 'echo', type: 'noOp' }))).id;
  effect = (await publishWorkflow(acme, chain(trigger, { id: 'tell', type: 'log', properties: { message: 'x' } }))).id;
});

const start = async (...values: unknown[]) => {
  const places = values.map((_, index) => `$${index + 1}`).join(', ');
  const { rows } = await acme.user.query<{ id: string; status: string; started_by: string; mode: string }>(
    `select * from start_workflow_run(${places})`,
    values,
  );
  return rows[0]!;
};

const columns = async (runId: string) => {
  const { rows } = await acme.user.query(
    `select
       workflow_runs_input(r) as input,
       workflow_runs_output(r) as output,
       workflow_runs_duration_ms(r) as duration,
       workflow_runs_events_expired(r) as expired,
       array(select e.type from workflow_runs_events(r) as e) as events,
       array(select s.node || ' ' || s.status from workflow_runs_steps(r) as s) as steps,
       array(select l.message from workflow_runs_logs(r) as l) as logs
     from workflow_runs as r where r.id = $1`,
    [runId],
  );
  return rows[0]!;
};

describe('start_workflow_run', () => {
  test('runs a workflow of pure nodes to its end', async () => {
    const run = await start(pure, '{"total": 1}');
    expect(run).toMatchObject({ status: 'success', mode: 'api', started_by: acme.userId });
    expect(await columns(run.id)).toEqual({
      input: { total: 1 },
      output: { total: 1 },
      duration: expect.any(Number),
      expired: false,
      events: ['run.created', 'step.succeeded', 'step.succeeded', 'run.succeeded'],
      steps: ['start success', 'echo success'],
      logs: [],
    });
  });

  test('with the same key and input returns the same run, with other input refuses', async () => {
    const first = await start(pure, '{"n": 1}', 'key-1');
    expect(await start(pure, '{"n": 1}', 'key-1')).toEqual(first);
    await expect(start(pure, '{"n": 2}', 'key-1')).rejects.toMatchObject({ code: 'WF003' });
  });

  test('takes an empty object when there is no input', async () => {
    expect(await columns((await start(pure)).id)).toMatchObject({ input: {} });
    expect(await columns((await start(pure, null)).id)).toMatchObject({ input: {} });
  });

  test('refuses a workflow that is not published, not there, or null', async () => {
    const { rows } = await acme.user.query<{ id: string }>(`select id from create_workflow('Draft', '{}')`);
    await expect(start(rows[0]!.id)).rejects.toMatchObject({ code: 'WF011' });
    await expect(start('01900000-0000-7000-8000-000000000000')).rejects.toMatchObject({ code: 'WF002' });
    await expect(start(null)).rejects.toMatchObject({ code: 'WF002' });
  });
});

describe('cancel_run', () => {
  test('ends an unfinished run at once and records who and why', async () => {
    const run = await start(effect);
    expect(run.status).toBe('running');
    const task = await engine.begin(run.id, 'tell');
    const { rows } = await acme.user.query('select status from cancel_run($1, $2)', [run.id, 'wrong']);
    expect(rows).toEqual([{ status: 'canceled' }]);
    expect((await engine.log(run.id)).at(-1)).toMatchObject({ type: 'run.canceled', payload: { by: acme.userId, reason: 'wrong' } });
    expect(await columns(run.id)).toMatchObject({ steps: ['start success', 'tell canceled'], output: null });
    expect(await engine.complete(task!, {})).toMatchObject({ outcome: 'stale' });
  });

  test('leaves a finished run as it is', async () => {
    const run = await start(pure);
    const { rows } = await acme.user.query('select status from cancel_run($1)', [run.id]);
    expect(rows).toEqual([{ status: 'success' }]);
  });
});

test('verify_run finds nothing in a whole log, and what was changed in another', async () => {
  const run = await start(pure, '{"a": 1}');
  expect((await acme.user.query('select * from verify_run($1)', [run.id])).rows).toEqual([]);
  await tamper(db, `update workflow_events set payload = payload || '{"output": 5}' where run_id = $1 and seq = 3`, [run.id]);
  const { rows } = await acme.user.query('select seq, problem from verify_run($1)', [run.id]);
  expect(rows[0]).toMatchObject({ seq: 3, problem: expect.any(String) });
});

test('a step that waits for its next attempt is queued, and one that has failed says why', async () => {
  const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'tell', type: 'log', properties: { message: 'x' } });
  const once = await publishWorkflow(acme, { ...definition, settings: { maxRetries: 1 } });
  const run = await start(once.id);
  const step = async () =>
    (
      await acme.user.query(
        `select status, attempt, error ->> 'code' as code, finished_at from workflow_run_steps where run_id = $1 and node = 'tell'`,
        [run.id],
      )
    ).rows[0];
  await engine.fail((await engine.begin(run.id, 'tell'))!, { code: 'DOWN', message: 'down', retryable: true });
  expect(await step()).toEqual({ status: 'queued', attempt: 1, code: 'DOWN', finished_at: null });
  await db.admin.query('update engine.open_steps set run_at = now() where run_id = $1', [run.id]);
  await engine.fail((await engine.begin(run.id, 'tell'))!, { code: 'DOWN', message: 'down', retryable: true });
  expect(await step()).toEqual({ status: 'error', attempt: 2, code: 'DOWN', finished_at: expect.any(Date) });
});

test('a run that another one has started is no dead letter, and is not retried by itself', async () => {
  const run = await start(effect);
  await engine.fail((await engine.begin(run.id, 'tell'))!, { code: 'BAD', message: 'bad' });
  await db.admin.query(`update workflow_runs set parent_run_id = gen_random_uuid(), parent_node = 'each', parent_index = 0 where id = $1`, [
    run.id,
  ]);
  await expect(acme.user.query('select retry_run($1)', [run.id])).rejects.toMatchObject({ code: 'WF003' });
  expect((await acme.user.query('select from dead_letters() where id = $1', [run.id])).rows).toEqual([]);
});

test('a run whose log has expired is neither retried nor forked', async () => {
  const run = await start(effect);
  await acme.user.query('select cancel_run($1)', [run.id]);
  await tamper(db, 'delete from workflow_events where run_id = $1', [run.id]);
  for (const command of ['retry_run', 'fork_run']) {
    await expect(acme.user.query(`select ${command}($1)`, [run.id]), command).rejects.toMatchObject({ code: 'WF014' });
  }
});

test('a run whose events have expired says so', async () => {
  const run = await start(pure);
  await tamper(db, 'delete from workflow_events where run_id = $1', [run.id]);
  expect(await columns(run.id)).toMatchObject({ expired: true, input: null, output: null, events: [], steps: [] });
});

describe('a token', () => {
  const token = async (scopes: string) => {
    const { rows } = await acme.user.query<{ secret: string }>(`select secret from create_api_token('t', $1)`, [scopes]);
    return asUser(db, rows[0]!.secret);
  };

  test('reads only what its scopes name', async () => {
    const run = await start(effect);
    await db
      .pool('flowgres_worker')
      .query('select engine.append_logs($1)', [
        JSON.stringify([{ organizationId: acme.id, runId: run.id, node: 'tell', level: 'info', message: 'x' }]),
      ]);
    const tables = {
      'workflows:read': ['workflows', 'workflow_versions'],
      'runs:read': ['workflow_runs', 'workflow_events', 'workflow_run_logs', 'workflow_run_steps'],
      'organization:read': ['organization_users'],
    };
    for (const [scope, readable] of Object.entries(tables)) {
      const reader = await token(`{${scope}}`);
      for (const table of Object.values(tables).flat()) {
        const { rows } = await reader.query(`select exists (select from ${table}) as any_row`);
        expect(rows, `${scope}: ${table}`).toEqual([{ any_row: readable.includes(table) }]);
      }
    }
  });

  test('starts and cancels with runs:write only', async () => {
    const reader = await token('{runs:read, workflows:write}');
    const run = await start(effect);
    await expect(reader.query('select start_workflow_run($1)', [pure])).rejects.toMatchObject({ code: 'WF005' });
    await expect(reader.query('select cancel_run($1)', [run.id])).rejects.toMatchObject({ code: 'WF005' });
    const writer = await token('{runs:write}');
    await writer.query('select cancel_run($1)', [run.id]);
  });
});
