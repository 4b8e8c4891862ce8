import { type AddressInfo, type Socket, connect, createServer } from 'node:net';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { JsonText } from '../../src/json/json.ts';
import { everySecond } from '../../src/scheduler/every.ts';
import { ScheduleRunner } from '../../src/scheduler/schedules.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const db = await createTestDatabase();
const organization = await createOrganization(db);
const pure = await publishWorkflow(
  organization,
  chain({ id: 'start', type: 'apiTrigger' }, { id: 'double', type: 'set', properties: { assign: { id: '{{ $.input.id }}' } } }),
);
const waiting = await publishWorkflow(
  organization,
  chain({ id: 'start', type: 'apiTrigger' }, { id: 'write', type: 'log', properties: { message: '{{ $.input.message }}' } }),
);

const engines: { end(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((each) => each.end()));
});

function engineAt(url: string): Engine {
  const pool = createEnginePool(url, 'test engine');
  engines.push(pool);
  return new Engine(pool);
}

const start = (workflow: { id: string }, input: unknown, more: { key?: string } = {}) => ({
  organizationId: organization.id,
  workflowId: workflow.id,
  mode: 'api' as const,
  input,
  ...more,
});

function nested(levels: number): unknown {
  let value: unknown = [];
  for (let level = 1; level < levels; level += 1) value = [value];
  return value;
}

describe('starting runs', () => {
  test('of pure nodes gives their output, each caller its own, in a few transactions', async () => {
    const engine = engineAt(db.url('flowgres_intake'));
    const ids = Array.from({ length: 250 }, (_, index) => index);
    const answers = await Promise.all(ids.map((id) => engine.startRun(start(pure, { id }))));
    expect(answers.map((answer) => answer.output?.value)).toEqual(ids.map((id) => expect.objectContaining({ id })));
    const { rows } = await db.admin.query('select count(distinct xmin::text)::int as transactions from workflow_runs');
    expect(rows[0].transactions).toBeLessThan(10);
  });

  test('keeps the digits of large numbers', async () => {
    const engine = engineAt(db.url('flowgres_intake'));
    const answer = await engine.startRun(start(pure, new JsonText('{"id": 12345678901234567890}')));
    expect(answer.output?.text).toContain('12345678901234567890');
  });

  test.each([
    ['input', { input: nested(65) }],
    ['metadata', { input: {}, metadata: { a: nested(64) } }],
    ['large metadata', { input: {}, metadata: { a: 'x'.repeat(70_000) } }],
    ['input of large numbers', { input: new JsonText(`[${Array(10_000).fill('1e308').join()}]`) }],
  ])('refuses %s that is too deep or too large, and takes what is not', async (_case, { input, ...more }) => {
    const engine = engineAt(db.url('flowgres_intake'));
    await expect(engine.startRun({ ...start(pure, input), ...more })).rejects.toMatchObject({ code: 'TOO_LARGE' });
    await engine.startRun(start(waiting, nested(64)));
  });

  test('refuses one request of a batch without the others', async () => {
    const engine = engineAt(db.url('flowgres_intake'));
    const [good, bad] = await Promise.allSettled([
      engine.startRun(start(pure, { id: 1 })),
      engine.startRun(start({ id: organization.id }, {})),
    ]);
    expect(good).toMatchObject({ status: 'fulfilled', value: { status: 'success' } });
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'NOT_FOUND' } });
  });

  test('isolates a request that no batch survives', async () => {
    const engine = engineAt(db.url('flowgres_intake'));
    const outcomes = await Promise.allSettled([
      engine.startRun(start(pure, { id: 1 })),
      engine.startRun(start(pure, { id: 'a\u0000b' })),
      engine.startRun({ ...start(pure, {}), organizationId: 'not a uuid' }),
      engine.startRun(start(pure, { id: 2 })),
    ]);
    expect(outcomes).toMatchObject([
      { status: 'fulfilled', value: { status: 'success' } },
      { status: 'rejected', reason: { code: 'REFUSED', details: { sqlstate: '22P05' } } },
      { status: 'rejected', reason: { code: 'INVALID_ARGUMENT' } },
      { status: 'fulfilled', value: { status: 'success' } },
    ]);
  });

  test('with the same key gives the same run, also within one batch', async () => {
    const engine = engineAt(db.url('flowgres_intake'));
    const answers = await Promise.all([1, 2, 3].map(() => engine.startRun(start(pure, { id: 9 }, { key: 'once' }))));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(1);
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    await expect(engine.startRun(start(pure, { id: 10 }, { key: 'once' }))).rejects.toMatchObject({ code: 'CONFLICT' });
  });
});

describe('steps', () => {
  test('are begun, completed once, and stale afterwards', async () => {
    const starter = engineAt(db.url('flowgres_intake'));
    const worker = engineAt(db.url('flowgres_worker'));
    const { runId, status } = await starter.startRun(start(waiting, { message: 'hello' }));
    expect(status).toBe('running');
    const begun = await worker.beginStep({ runId, node: 'write' });
    expect(begun).toMatchObject({ outcome: 'begun', task: { type: 'log@1', attempt: 1, properties: { message: 'hello' } } });
    expect(await worker.heartbeat([{ runId, node: 'write', attempt: 1 }])).toEqual([]);
    const result = { runId, node: 'write', attempt: 1, ms: 3, ok: true as const, output: { a: 'b\u0000c' } };
    expect(await worker.completeStep(result)).toMatchObject({ outcome: 'recorded', status: 'success', next: null });
    expect(await worker.completeStep(result)).toMatchObject({ outcome: 'stale' });
    expect(await worker.heartbeat([{ runId, node: 'write', attempt: 1 }])).toEqual([{ runId, node: 'write', attempt: 1 }]);
    expect((await starter.runAnswers([runId]))[0]?.output?.value).toEqual({ a: 'b\ufffdc' });
  });

  test('whose task cannot be read cost nobody else of their batch anything', async () => {
    // A worker's function as a newer or broken database may have it: one row of two has no task at all.
    const worker = engineAt(db.url('flowgres_worker'));
    const starter = engineAt(db.url('flowgres_intake'));
    const runs = await Promise.all([1, 2].map((message) => starter.startRun(start(waiting, { message }))));
    await db.admin.query(`
      alter function engine.begin_steps(jsonb, uuid) rename to begin_steps_whole;
      create function engine.begin_steps(jsonb, uuid) returns table (index int, outcome text, run_id uuid, task jsonb) language sql
      security definer as $$
        select b.index, b.outcome, b.run_id, case b.index when 0 then '{"no": "task"}' else b.task end
        from engine.begin_steps_whole($1, $2) as b
      $$`);
    try {
      const answers = await Promise.allSettled(runs.map(({ runId }) => worker.beginStep({ runId, node: 'write' })));
      expect(answers).toMatchObject([
        { status: 'rejected', reason: { code: 'UNREADABLE' } },
        { status: 'fulfilled', value: { outcome: 'begun' } },
      ]);
    } finally {
      await db.admin.query(`
        drop function engine.begin_steps(jsonb, uuid);
        alter function engine.begin_steps_whole(jsonb, uuid) rename to begin_steps`);
    }
  });

  test.each([
    ['deeper than 64 levels', () => JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`), 'deeper than 64 levels'],
    ['deeper than JSON.stringify goes', () => nested(100_000), 'deeper than 64 levels'],
    ['larger than 1 MiB', () => 'x'.repeat(1_048_577), 'larger than 1 MiB'],
    ['with a number that is large as text only', () => Array(60).fill(JSON.rawJSON('1e130000')), 'number is too large'],
  ])('fail by an output %s', async (_case, output, reason) => {
    const worker = engineAt(db.url('flowgres_worker'));
    const { runId } = await engineAt(db.url('flowgres_intake')).startRun(start(waiting, { message: 'x' }));
    await worker.beginStep({ runId, node: 'write' });
    await worker.completeStep({ runId, node: 'write', attempt: 1, ms: 1, ok: true, output: output() });
    const [answer] = await worker.runAnswers([runId]).catch(() => engineAt(db.url('flowgres_intake')).runAnswers([runId]));
    expect(answer).toMatchObject({ status: 'error', error: { code: 'TOO_LARGE', message: expect.stringContaining(reason) } });
  });

  test('may write to the log of their run', async () => {
    const worker = engineAt(db.url('flowgres_worker'));
    const { runId } = await engineAt(db.url('flowgres_intake')).startRun(start(waiting, { message: 'x' }));
    const entry = { organizationId: organization.id, runId, node: 'write', level: 'info' as const };
    await Promise.all(['one', 'two\u0000'].map((message) => worker.appendLog({ ...entry, message, context: { n: 1 } })));
    const { rows } = await db.admin.query('select message, context from workflow_run_logs where run_id = $1 order by id', [runId]);
    expect(rows).toEqual([
      { message: 'one', context: { n: 1 } },
      { message: 'two\ufffd', context: { n: 1 } },
    ]);
  });
});

describe('after months without maintenance', () => {
  test('whoever cannot write makes the partitions, and nothing is lost', async () => {
    const later = await createTestDatabase();
    const ours = await createOrganization(later);
    const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
    const { id } = await publishWorkflow(ours, chain({ id: 'start', type: 'apiTrigger' }, call));
    const quick = await publishWorkflow(ours, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
    const timed = { id: 'start', type: 'scheduleTrigger', properties: { cron: '0 0 1 12 *' } };
    await publishWorkflow(ours, chain(timed, { id: 'end', type: 'noOp' }));
    const driver = new Driver(later);
    const { run_id: runId } = await driver.start(ours, { id });
    const task = (await driver.begin(runId, 'call'))!;
    const intake = engineAt(later.url('flowgres_intake'));
    const worker = engineAt(later.url('flowgres_worker'));

    await driver.freeze(new Date('2027-12-01'));
    const request = { organizationId: ours.id, workflowId: quick.id, mode: 'api' as const, input: {} };
    expect((await Promise.all([1, 2, 3].map(() => intake.startRun(request)))).map(({ status }) => status)).toEqual(
      Array(3).fill('success'),
    );
    await driver.freeze(new Date('2028-12-01'));
    expect(await worker.completeStep({ ...task, ok: true, output: 1, ms: 1 })).toMatchObject({ outcome: 'recorded', status: 'success' });
    await driver.freeze(new Date('2029-12-01'));
    await later.admin.query(`update schedules set next_run_at = '2029-12-01', fires_at = '2029-12-01'`);
    const schedules = new ScheduleRunner({
      connectionString: later.url('flowgres_worker'),
      mend: () => worker.ensurePartitions(),
      onProblem: (message, error) => console.error(message, error),
    });
    onTestFinished(() => schedules.stop());
    const timer = everySecond(() => schedules.fireDue());
    onTestFinished(() => timer.stop());
    const modes = async () => (await later.admin.query('select mode, count(*)::int from workflow_runs group by mode order by mode')).rows;
    await expect.poll(modes).toEqual([
      { mode: 'api', count: 4 },
      { mode: 'schedule', count: 1 },
    ]);
  });
});

describe('when the database is out of reach', () => {
  /** A proxy in front of the database that can lose an answer. */
  class FlakyProxy {
    readonly sockets = new Set<Socket>();
    readonly server = createServer((client) => this.#join(client));
    readonly #target = new URL(db.url('flowgres_intake'));
    loseNextAnswer = false;

    async start(): Promise<string> {
      await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
      const url = new URL(this.#target);
      url.port = String((this.server.address() as AddressInfo).port);
      return url.href;
    }

    #join(client: Socket): void {
      const upstream = connect(Number(this.#target.port), this.#target.hostname);
      const both = [client, upstream];
      for (const socket of both) {
        this.sockets.add(socket);
        socket.on('error', () => undefined).on('close', () => void both.map((each) => each.destroy()));
      }
      client.on('data', (data) => upstream.write(data));
      upstream.on('data', (data) => {
        if (!this.loseNextAnswer) return client.write(data);
        this.loseNextAnswer = false;
        return client.destroy();
      });
    }

    async end(): Promise<void> {
      this.server.close();
      for (const socket of this.sockets) socket.destroy();
    }
  }

  const started = async () => Number((await db.admin.query('select count(*) as n from workflow_runs')).rows[0].n);

  test('a start that never left is refused as unavailable, after a few tries', async () => {
    const engine = engineAt('postgres://flowgres_intake:x@127.0.0.1:1/nowhere');
    await expect(engine.startRun(start(pure, {}))).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { committed: 'no' } });
  });

  test('a start whose answer is lost is never repeated: it may have happened', async () => {
    const proxy = new FlakyProxy();
    engines.push(proxy);
    const engine = engineAt(await proxy.start());
    await engine.startRun(start(pure, { id: 1 }));
    const before = await started();
    proxy.loseNextAnswer = true;
    await expect(engine.startRun(start(pure, { id: 2 }))).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { committed: 'unknown' } });
    await expect.poll(started).toBe(before + 1);
    expect(await engine.startRun(start(pure, { id: 3 }))).toMatchObject({ status: 'success' });
    expect(await started()).toBe(before + 2);
  });
});
