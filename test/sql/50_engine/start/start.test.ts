/** start_runs(): idempotency keys, triggers, refusals, batches. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let echo: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  echo = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
});

describe('an idempotency key', () => {
  test('with the same input answers with the same run', async () => {
    const first = await engine.start(acme, echo, { n: 1 }, { key: 'one' });
    const second = await engine.start(acme, echo, { n: 1 }, { key: 'one' });
    expect(second).toMatchObject({ run_id: first.run_id, status: 'success', duplicate: true });
  });

  test('with another input is a conflict and starts nothing', async () => {
    await engine.start(acme, echo, { n: 1 }, { key: 'two' });
    expect(await engine.start(acme, echo, { n: 2 }, { key: 'two' })).toMatchObject({ run_id: null, error: { code: 'CONFLICT' } });
  });

  test('twice in one batch starts one run', async () => {
    const request = { organizationId: acme.id, workflowId: echo.id, input: {}, key: 'three' };
    const [first, second] = await engine.startAll([request, request]);
    expect(second).toMatchObject({ run_id: first!.run_id, status: 'success', duplicate: true });
  });

  test('starts one run from twenty callers at once', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => engine.start(acme, echo, { n: 1 }, { key: 'crowd' })));
    expect(new Set(answers.map((answer) => answer.run_id)).size).toBe(1);
    expect(answers.filter((answer) => !answer.duplicate)).toHaveLength(1);
  });

  test('is free again after seven days', async () => {
    const first = await engine.start(acme, echo, { n: 1 }, { key: 'old' });
    await db.admin.query(`update engine.start_keys set expires_at = now() - interval '1 second' where key = 'old'`);
    const second = await engine.start(acme, echo, { n: 2 }, { key: 'old' });
    expect(second).toMatchObject({ duplicate: false, status: 'success' });
    expect(second.run_id).not.toBe(first.run_id);
  });

  test('is not used up by a start that was refused', async () => {
    const draft = await acme.user.query<{ id: string }>(`select id from create_workflow('Draft', $1)`, [
      JSON.stringify(chain({ id: 'start', type: 'apiTrigger' })),
    ]);
    const workflow = { id: draft.rows[0]!.id };
    expect(await engine.start(acme, workflow, {}, { key: 'early' })).toMatchObject({ error: { code: 'NOT_PUBLISHED' } });
    await acme.user.query('select publish_workflow($1)', [workflow.id]);
    expect(await engine.start(acme, workflow, {}, { key: 'early' })).toMatchObject({ status: 'success', duplicate: false });
  });

  test.each(['', 'x'.repeat(257)])('of a length that no key has is refused', async (key) => {
    expect(await engine.start(acme, echo, {}, { key })).toMatchObject({ run_id: null, error: { code: 'INVALID_ARGUMENT' } });
  });
});

describe('a start that cannot be', () => {
  test('is answered with its own error while the others of its batch go on', async () => {
    const good = { organizationId: acme.id, workflowId: echo.id, input: {} };
    const answers = await engine.startAll([{ ...good, workflowId: acme.id }, good, {}, good]);
    expect(answers.map((answer) => answer.error?.code ?? answer.status)).toEqual(['NOT_FOUND', 'success', 'INVALID_ARGUMENT', 'success']);
  });

  test('of a workflow of another organization does not find it', async () => {
    const other = await createOrganization(db, 'Other');
    expect(await engine.start(other, echo)).toMatchObject({ run_id: null, error: { code: 'NOT_FOUND' } });
  });

  test('with an input above 1 MiB is refused', async () => {
    expect(await engine.start(acme, echo, { text: 'x'.repeat(1_100_000) })).toMatchObject({ error: { code: 'TOO_LARGE' } });
  });

  test('with metadata above 64 KiB is refused', async () => {
    const metadata = { text: 'x'.repeat(70_000) };
    expect(await engine.start(acme, echo, {}, { metadata })).toMatchObject({ run_id: null, error: { code: 'TOO_LARGE' } });
  });

  test.each([
    { organizationId: 'not a uuid' },
    { mode: 'nonsense' },
    { trigger: 'nobody' },
    { version: 'latest' },
    { version: 99 },
    { metadata: [] },
    { startedBy: 'me' },
  ])('because of $0 is an error of the request', async (wrong) => {
    const answer = await engine.start(acme, echo, {}, wrong);
    expect(answer).toMatchObject({ run_id: null, error: { code: expect.stringMatching(/^(INVALID_ARGUMENT|NOT_FOUND|NOT_PUBLISHED)$/) } });
  });
});

test('a run stays on the version it was started with', async () => {
  const effect = (path: string) =>
    chain({ id: 'start', type: 'apiTrigger' }, { id: 'call', type: 'httpRequest', properties: { url: `https://example.com/${path}` } });
  const workflow = await publishWorkflow(acme, effect('one'));
  const { run_id } = await engine.start(acme, workflow);
  await acme.user.query('select save_workflow(id => $1, definition => $2, expected_revision => 1)', [
    workflow.id,
    JSON.stringify(effect('two')),
  ]);
  await acme.user.query('select publish_workflow($1)', [workflow.id]);
  expect(await engine.begin(run_id, 'call')).toMatchObject({ properties: { url: 'https://example.com/one' } });
  const later = await engine.start(acme, workflow);
  expect(await engine.begin(later.run_id, 'call')).toMatchObject({ properties: { url: 'https://example.com/two' } });
});

describe('the priority of a run', () => {
  const job = async (runId: string | null) =>
    (await db.admin.query(`select priority from graphile_worker._private_jobs where payload ->> 'runId' = $1`, [runId])).rows;
  const effect = chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } },
  );

  test('is that of its workflow, or of the request, and that of its jobs', async () => {
    const workflow = await publishWorkflow(acme, { ...effect, settings: { priority: 7 } });
    expect(await job((await engine.start(acme, workflow)).run_id)).toEqual([{ priority: 7 }]);
    expect(await job((await engine.start(acme, workflow, {}, { priority: -3 })).run_id)).toEqual([{ priority: -3 }]);
  });

  test('is that of the wake-ups of its steps, too', async () => {
    const timer = chain({ id: 'start', type: 'apiTrigger' }, { id: 'pause', type: 'wait', properties: { seconds: 60 } });
    const slept = await engine.start(acme, await publishWorkflow(acme, { ...timer, settings: { priority: 7 } }));
    await db.admin.query('update engine.open_steps set wake_at = now() where run_id = $1', [slept.run_id]);
    expect(await engine.wake()).toContainEqual({ run_id: slept.run_id, node: 'pause' });
    expect(await job(slept.run_id)).toEqual([{ priority: 7 }]);

    const died = await engine.start(acme, await publishWorkflow(acme, { ...effect, settings: { priority: 9 } }));
    await engine.begin(died.run_id, 'call');
    await db.admin.query('delete from graphile_worker._private_jobs');
    await db.admin.query(`update engine.open_steps set lease_until = now() - interval '1 s' where run_id = $1`, [died.run_id]);
    await engine.reconcile();
    expect(await job(died.run_id)).toEqual([{ priority: 9 }]);
  });

  test.each([1001, -1001, 'high', 1.5])('of %j is refused', async (priority) => {
    expect(await engine.start(acme, echo, {}, { priority })).toMatchObject({ run_id: null, error: { code: 'INVALID_ARGUMENT' } });
  });
});

describe('a start whose caller takes the first step', () => {
  const trigger = { id: 'start', type: 'apiTrigger' };
  const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
  const claim = async (workflow: TestWorkflow) => engine.start(acme, workflow, {}, { claim: true });

  test('adds no job for it: the caller begins it', async () => {
    const { run_id, claimed } = await claim(await publishWorkflow(acme, chain(trigger, call('a'), call('b'))));
    expect(claimed).toBe('a');
    expect(await engine.jobs(run_id)).toEqual([]);
    expect((await engine.finish(run_id, 'a', {})).next).toMatchObject({ node: 'b' });
  });

  test('that does not begin it leaves it to another after five seconds', async () => {
    const { run_id } = await claim(await publishWorkflow(acme, chain(trigger, call('a'))));
    const { rows } = await db.admin.query<{ started_at: Date }>('select started_at from workflow_runs where id = $1', [run_id]);
    const moveTo = (ms: number) => engine.freeze(new Date(rows[0]!.started_at.getTime() + ms));
    await moveTo(4_900);
    expect(await engine.wake()).not.toContainEqual({ run_id, node: 'a' });
    await moveTo(5_100);
    expect(await engine.wake()).toContainEqual({ run_id, node: 'a' });
    expect(await engine.jobs(run_id)).toEqual(['a']);
    await engine.freeze(null);
  });

  test('takes one of several, and none of a run that waits or has ended', async () => {
    const connections = ['a', 'b', 'c'].map((target) => ({ source: 'start', target }));
    const { run_id, claimed } = await claim(
      await publishWorkflow(acme, { nodes: [trigger, call('a'), call('b'), call('c')], connections }),
    );
    expect(claimed).toBe('a');
    expect(await engine.jobs(run_id)).toEqual(['b', 'c']);
    expect(await claim(echo)).toMatchObject({ status: 'success', claimed: null });
    const waiting = await publishWorkflow(acme, chain(trigger, { id: 'pause', type: 'wait', properties: { signal: 'go' } }));
    expect(await claim(waiting)).toMatchObject({ status: 'waiting', claimed: null });
  });

  test('takes nothing of a run that was there before', async () => {
    const workflow = await publishWorkflow(acme, chain(trigger, call('a')));
    const first = await engine.start(acme, workflow, {}, { key: 'claimed' });
    expect(await engine.start(acme, workflow, {}, { key: 'claimed', claim: true })).toMatchObject({ run_id: first.run_id, claimed: null });
  });
});

describe('a workflow that is unpublished or archived', () => {
  const wait = { id: 'pause', type: 'wait', properties: { signal: 'go' } };
  const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };

  test.each(['unpublish_workflow', 'archive_workflow'])('by %s starts nothing, and what has begun goes on', async (command) => {
    const definition = chain({ id: 'start', type: 'apiTrigger' }, wait, call);
    const workflow = await publishWorkflow(acme, { ...definition, settings: { concurrency: { limit: 1 } } });
    const [begun, held] = [await engine.start(acme, workflow), await engine.start(acme, workflow)];
    await acme.user.query(`select ${command}($1)`, [workflow.id]);
    expect(await engine.start(acme, workflow)).toMatchObject({ run_id: null, error: { code: 'NOT_PUBLISHED' } });

    for (const { run_id } of [begun, held]) {
      await engine.release();
      await engine.begin(run_id, 'start');
      await acme.user.query(`select signal_run($1, 'go')`, [run_id]);
      expect(await engine.finish(run_id, 'call', 1)).toMatchObject({ status: 'success' });
    }
  });
});
