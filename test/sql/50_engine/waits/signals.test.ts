/** Signals: which wait consumes one, and how early ones are kept. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

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
const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
const waitFor = (signal: string, id = signal, more: Record<string, unknown> = {}) => ({
  id,
  type: 'wait',
  properties: { signal, ...more },
});
const edge = (source: string, target: string, sourceOutput = 'main') => ({ source, target, sourceOutput });

async function start(...nodes: { id: string; type: string; [key: string]: unknown }[]) {
  return (await engine.start(acme, await publishWorkflow(acme, chain(trigger, ...nodes)), { order: 7 })).run_id;
}
const signal = async (runId: string | null, name: string, payload: unknown = null) =>
  (await acme.user.query('select status from signal_run($1, $2, $3)', [runId, name, JSON.stringify(payload)])).rows[0]!['status'];

describe('a wait for a signal', () => {
  test('goes on when it comes, with its payload as the output', async () => {
    const runId = await start(waitFor('paid'));
    expect((await engine.log(runId)).at(-1)).toMatchObject({
      type: 'step.waiting',
      payload: { node: 'paid', kind: 'signal', name: 'paid' },
    });
    expect(await engine.jobs(runId)).toEqual([]);
    expect(await signal(runId, 'paid', { amount: 120 })).toBe('success');
    expect(await engine.output(runId)).toEqual({ amount: 120 });
    expect((await engine.log(runId)).slice(-3)).toMatchObject([
      { type: 'run.signaled', payload: { name: 'paid', payload: { amount: 120 }, by: acme.userId } },
      { type: 'step.succeeded', payload: { node: 'paid', attempt: 1, port: 'main', output: { amount: 120 } } },
      { type: 'run.succeeded' },
    ]);
  });

  test('may take its name from an expression', async () => {
    const runId = await start(waitFor('order-{{ $.prev.order }}', 'wait'));
    expect(await signal(runId, 'order-8')).toBe('waiting');
    expect(await signal(runId, 'order-7', 1)).toBe('success');
  });

  test('leaves a signal of another name to others', async () => {
    const runId = await start(waitFor('paid'));
    expect(await signal(runId, 'shipped')).toBe('waiting');
    expect(await signal(runId, 'paid', 1)).toBe('success');
  });

  test('hands the effect after it to a worker', async () => {
    const runId = await start(waitFor('paid'), call);
    expect(await signal(runId, 'paid', { id: 1 })).toBe('running');
    expect(await engine.jobs(runId)).toEqual(['call']);
    await engine.finish(runId, 'call', 'done');
    expect(await engine.output(runId)).toBe('done');
  });
});

describe('a signal that comes before its wait', () => {
  test('is kept, and taken as soon as the wait is reached', async () => {
    const runId = await start(call, waitFor('paid'));
    expect(await signal(runId, 'paid', 'early')).toBe('running');
    expect(await engine.finish(runId, 'call', 1)).toMatchObject({ status: 'success' });
    expect(await engine.output(runId)).toBe('early');
    expect(await engine.story(runId)).toEqual([
      'run.created',
      'step.succeeded start',
      'run.signaled',
      'step.started call',
      'step.succeeded call',
      'step.waiting paid',
      'step.succeeded paid',
      'run.succeeded',
    ]);
  });

  test('first in, first out: each wait takes the oldest one', async () => {
    const runId = await start(call, waitFor('item', 'a'), waitFor('item', 'b'), {
      id: 'both',
      type: 'transform',
      properties: { template: ['{{ $.nodes.a }}', '{{ $.nodes.b }}'] },
    });
    await signal(runId, 'item', 1);
    await signal(runId, 'item', 2);
    await signal(runId, 'item', 3);
    await engine.finish(runId, 'call', null);
    expect(await engine.output(runId)).toEqual([1, 2]);
  });

  test('is for the oldest wait when several branches wait for it', async () => {
    const definition = {
      nodes: [trigger, waitFor('go', 'a'), waitFor('go', 'b')],
      connections: [edge('start', 'a'), edge('start', 'b')],
    };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition));
    await signal(run_id, 'go', 'first');
    expect(await engine.openSteps(run_id)).toMatchObject([{ node: 'b' }]);
    await signal(run_id, 'go', 'second');
    expect(await engine.output(run_id)).toEqual({ a: 'first', b: 'second' });
  });

  test('is refused when 100 are kept', async () => {
    const runId = await start(call, waitFor('paid'));
    for (let count = 1; count <= 100; count += 1) await signal(runId, 'other', count);
    await expect(signal(runId, 'paid')).rejects.toMatchObject({ code: 'WF006' });
    await acme.user.query('select cancel_run($1)', [runId]);
  });
});

describe('a wait that nothing comes for', () => {
  test('goes on at its port timeout, with its input', async () => {
    const definition = {
      nodes: [trigger, waitFor('paid', 'paid', { timeoutSeconds: 60 }), { id: 'fine', type: 'noOp' }, { id: 'late', type: 'noOp' }],
      connections: [edge('start', 'paid'), edge('paid', 'fine'), edge('paid', 'late', 'timeout')],
    };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition), { order: 7 });
    await engine.freeze(new Date(Date.now() + 61_000));
    expect(await engine.wake()).toContainEqual({ run_id, node: 'paid' });
    await engine.begin(run_id, 'paid');
    expect(await engine.output(run_id)).toEqual({ order: 7 });
    expect(await engine.story(run_id)).toContain('step.succeeded late');
  });

  test('fails with WAIT_TIMEOUT when nothing is connected there, and onError decides', async () => {
    const stopped = await start(waitFor('paid', 'paid', { timeoutSeconds: 60 }));
    const continued = await start({ ...waitFor('paid', 'paid', { timeoutSeconds: 60 }), onError: 'continue' });
    await engine.freeze(new Date(Date.now() + 61_000));
    await engine.begin(stopped, 'paid');
    await engine.begin(continued, 'paid');
    expect(await engine.run(stopped)).toMatchObject({ status: 'error', error: { code: 'WAIT_TIMEOUT', node: 'paid' } });
    expect(await engine.output(continued)).toMatchObject({ error: { code: 'WAIT_TIMEOUT' } });
  });

  test('takes no kept signal with it: a later one of that name is for the next wait', async () => {
    const definition = {
      nodes: [trigger, waitFor('paid', 'a', { timeoutSeconds: 60 }), waitFor('paid', 'b')],
      connections: [edge('start', 'a'), edge('a', 'b', 'timeout')],
    };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, definition));
    await engine.freeze(new Date(Date.now() + 61_000));
    await engine.begin(run_id, 'a');
    expect(await signal(run_id, 'paid', 'late')).toBe('success');
    expect(await engine.output(run_id)).toBe('late');
  });
});

describe('signal_run', () => {
  test('refuses a run that has ended, a strange name, another organization and a large payload', async () => {
    const runId = await start(waitFor('paid'));
    await expect(signal(runId, 'resume:paid')).rejects.toMatchObject({ code: 'WF009' });
    await expect(signal(runId, 'paid', 'x'.repeat(1_100_000))).rejects.toMatchObject({ code: 'WF010' });
    const other = await createOrganization(db, 'Other');
    await expect(other.user.query(`select signal_run($1, 'paid')`, [runId])).rejects.toMatchObject({ code: 'WF002' });
    await signal(runId, 'paid');
    await expect(signal(runId, 'paid')).rejects.toMatchObject({ code: 'WF007' });
  });

  test('needs the scope runs:write', async () => {
    const runId = await start(waitFor('paid'));
    const { rows } = await acme.user.query<{ secret: string }>(`select secret from create_api_token('reader', '{runs:read}')`);
    const reader = asUser(db, rows[0]!.secret);
    await expect(reader.query(`select signal_run($1, 'paid')`, [runId])).rejects.toMatchObject({ code: 'WF005' });
    await acme.user.query('select cancel_run($1)', [runId]);
  });
});
