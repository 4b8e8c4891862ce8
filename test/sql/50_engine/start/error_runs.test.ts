/** Error workflows: when they are started, once, and with what. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { beforeStartsOf } from '../../../helpers/slow.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

const trigger = { id: 'start', type: 'apiTrigger' };
const call = { id: 'a', type: 'httpRequest', properties: { url: 'https://example.com' } };
const stop = { id: 'stop', type: 'stopAndError', properties: { message: 'no', code: 'NO' } };
const onError = { id: 'failed', type: 'errorTrigger' };

const runsOf = async (workflow: { id: string }) =>
  (
    await db.admin.query<{ id: string; mode: string; status: string }>('select * from workflow_runs where workflow_id = $1 order by id', [
      workflow.id,
    ])
  ).rows;
const logsOf = async (runId: string | null) => (await db.admin.query('select * from workflow_run_logs where run_id = $1', [runId])).rows;
const failing = (errorWorkflow: string, ...nodes: { id: string; type: string; properties?: Record<string, unknown> }[]) =>
  publishWorkflow(acme, { ...chain(trigger, ...nodes), settings: { errorWorkflow } });

describe('an error workflow', () => {
  test('is started once when a run fails, with the error and the run as its input', async () => {
    const alarm = await publishWorkflow(acme, chain(onError, { id: 'end', type: 'noOp' }));
    const workflow = await failing(alarm.id, call);
    const { run_id } = await engine.start(acme, workflow, {}, { metadata: { order: 1 } });
    expect(await runsOf(alarm)).toEqual([]);
    await engine.fail((await engine.begin(run_id, 'a'))!, { code: 'BAD', message: 'bad', retryable: false });
    const [run, ...others] = await runsOf(alarm);
    expect(others).toEqual([]);
    expect(run).toMatchObject({ mode: 'error', status: 'success' });
    expect(await engine.output(run!.id)).toEqual({
      error: { code: 'BAD', message: 'bad', retryable: false, node: 'a' },
      run: { id: run_id, mode: 'api', startedAt: expect.any(String), metadata: { order: 1 } },
      workflow: { id: workflow.id, name: 'Test', version: 1 },
    });
  });

  test('is looked up once for a run that fails', async () => {
    const alarm = await publishWorkflow(acme, chain(onError, { id: 'end', type: 'noOp' }));
    const { run_id } = await engine.start(acme, await failing(alarm.id, call));
    await engine.begin(run_id, 'a');
    const client = await db.admin.connect();
    try {
      await client.query('begin');
      await client.query(`set local track_functions = 'all'`);
      const result = { runId: run_id, node: 'a', attempt: 1, ok: false, error: { code: 'BAD', message: 'bad', retryable: false }, ms: 0 };
      await client.query('select engine.complete_steps($1, $2)', [JSON.stringify([result]), engine.worker]);
      const { rows } = await client.query(`select calls::int from pg_stat_xact_user_functions where funcname = 'error_workflow_of'`);
      expect(rows).toEqual([{ calls: 1 }]);
      await client.query('commit');
    } finally {
      client.release();
    }
    expect(await runsOf(alarm)).toHaveLength(1);
  });

  test('is started for a run that fails while it starts, and for one that is ended by its deadline', async () => {
    const alarm = await publishWorkflow(acme, chain(onError, { id: 'end', type: 'noOp' }));
    await engine.start(acme, await failing(alarm.id, stop));
    expect(await runsOf(alarm)).toHaveLength(1);
    const { run_id } = await engine.start(acme, await failing(alarm.id, call));
    await db.admin.query(`select engine.fail_run($1, 'DEADLINE', 'late')`, [run_id]);
    expect(await runsOf(alarm)).toHaveLength(2);
  });

  test('is not started for a run that succeeds or is canceled', async () => {
    const alarm = await publishWorkflow(acme, chain(onError, { id: 'end', type: 'noOp' }));
    const workflow = await failing(alarm.id, call);
    await engine.finish((await engine.start(acme, workflow)).run_id, 'a', 1);
    await acme.user.query('select cancel_run($1)', [(await engine.start(acme, workflow)).run_id]);
    expect(await runsOf(alarm)).toEqual([]);
  });

  test('that fails starts no other one, nor does its retry or fork', async () => {
    const outer = await publishWorkflow(acme, chain(onError, { id: 'end', type: 'noOp' }));
    const alarm = await publishWorkflow(acme, { ...chain(onError, stop), settings: { errorWorkflow: outer.id } });
    await engine.start(acme, await failing(alarm.id, stop));
    const [run] = await runsOf(alarm);
    expect(run).toMatchObject({ mode: 'error', status: 'error' });
    await acme.user.query('select retry_run($1), fork_run($1)', [run!.id]);
    expect((await runsOf(alarm)).map(({ mode, status }) => `${mode} ${status}`).sort()).toEqual([
      'error error',
      'fork error',
      'retry error',
    ]);
    expect(await runsOf(outer)).toEqual([]);
  });

  test('may be the workflow itself, and is started once', async () => {
    const alone = chain(trigger, stop);
    const { rows } = await acme.user.query<{ id: string }>(`select id from create_workflow('Alone', $1)`, [JSON.stringify(alone)]);
    const workflow = rows[0]!;
    const definition = JSON.stringify({ ...alone, settings: { errorWorkflow: workflow.id } });
    await acme.user.query('select save_workflow($1, $2, 1), publish_workflow($1)', [workflow.id, definition]);
    await engine.start(acme, workflow);
    expect((await runsOf(workflow)).map(({ mode, status }) => `${mode} ${status}`)).toEqual(['api error', 'error error']);
  });

  test('that cannot be started keeps no failure from being recorded, and the log of the run says so', async () => {
    const { rows } = await acme.user.query<{ id: string }>(`select id from create_workflow('Draft', '{}')`);
    const { run_id } = await engine.start(acme, await failing(rows[0]!.id, stop));
    expect(await engine.run(run_id)).toMatchObject({ status: 'error', error: { code: 'NO' } });
    expect(await logsOf(run_id)).toMatchObject([{ level: 'warning', context: { code: 'NOT_PUBLISHED' } }]);
  });

  test('that does not exist is refused when the workflow is published', async () => {
    for (const errorWorkflow of ['01900000-0000-7000-8000-000000000000', 'alarm', 5]) {
      const definition = { ...chain(trigger, call), settings: { errorWorkflow } };
      const { rows } = await acme.user.query('select pointer from validate_workflow($1)', [JSON.stringify(definition)]);
      expect(rows).toEqual([{ pointer: '/settings/errorWorkflow' }]);
    }
  });
});

describe('when an error workflow cannot be started for now', () => {
  /** A run that has failed when `fail` resolves, in an organization of its own; what starts its error workflow meets `statement`. */
  async function failingBeside(statement: string) {
    const own = await createOrganization(db, 'Own');
    const alarm = await publishWorkflow(own, chain(onError, { id: 'end', type: 'noOp' }));
    const workflow = await publishWorkflow(own, { ...chain(trigger, call), settings: { errorWorkflow: alarm.id } });
    const { run_id } = await engine.start(own, workflow);
    const step = (await engine.begin(run_id, 'a'))!;
    await beforeStartsOf(db, own.id, statement);
    const fail = () => engine.fail(step, { code: 'BAD', message: 'bad', retryable: false });
    return { own, alarm, run_id, fail };
  }

  test.each(['40P01', '55P03', '53100'])('because of SQLSTATE %s, the failure is recorded later, and then it is started', async (code) => {
    const { own, alarm, run_id, fail } = await failingBeside(`raise sqlstate '${code}'`);
    await expect(fail()).rejects.toMatchObject({ code });
    expect((await engine.run(run_id)).status).toBe('running');
    await beforeStartsOf(db, own.id, 'null');
    await fail();
    expect(await runsOf(alarm)).toHaveLength(1);
  });
});
