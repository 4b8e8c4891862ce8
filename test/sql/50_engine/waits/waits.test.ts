/** Waits for a time: when they fire, and what they pass on. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
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
const end = { id: 'end', type: 'noOp' };

async function startWait(properties: Record<string, unknown>, more: Partial<Definition> = {}, input: unknown = { kept: true }) {
  const wait = { id: 'pause', type: 'wait', properties };
  return engine.start(acme, await publishWorkflow(acme, { ...chain(trigger, wait, end), ...more }), input);
}

/** The time in the event that says that the run waits. */
async function untilOf(runId: string | null): Promise<string> {
  return String((await engine.log(runId)).find(({ type }) => type === 'step.waiting')!.payload['until']);
}

describe('a wait for a time', () => {
  test('is reached in the start: the run waits, and there is no job before its time', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const { run_id, status } = await startWait({ seconds: 3600 });
    expect(status).toBe('waiting');
    expect((await engine.log(run_id)).at(-1)).toMatchObject({
      type: 'step.waiting',
      payload: { node: 'pause', kind: 'time', until: '2026-11-21T13:00:00.000000Z' },
    });
    expect(await engine.jobs(run_id)).toEqual([]);

    await engine.freeze(new Date('2026-11-21T12:59:59.999Z'));
    expect(await engine.wake()).toEqual([]);
    await engine.freeze(new Date('2026-11-21T13:00:00Z'));
    expect(await engine.wake()).toEqual([{ run_id, node: 'pause' }]);
    expect(await engine.jobs(run_id)).toEqual(['pause']);
    expect(await engine.wake()).toEqual([]);
    await engine.begin(run_id, 'pause');
    expect((await engine.run(run_id)).status).toBe('success');
  });

  test('fires at the first moment that is not before its time, and passes its input on', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const { run_id } = await startWait({ until: '2026-11-21T12:30:00Z' });
    await engine.freeze(new Date('2026-11-21T12:29:59.999Z'));
    expect(await engine.begin(run_id, 'pause')).toBeNull();
    expect((await engine.run(run_id)).status).toBe('waiting');
    await engine.freeze(new Date('2026-11-21T12:30:00Z'));
    await engine.begin(run_id, 'pause');
    expect(await engine.run(run_id)).toMatchObject({ status: 'success', finished_at: new Date('2026-11-21T12:30:00Z') });
    expect(await engine.output(run_id)).toEqual({ kept: true });
  });

  test('that was overdue when everything was down fires at once', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const { run_id } = await startWait({ seconds: 60 });
    await engine.freeze(new Date('2026-11-24T09:00:00Z'));
    expect(await engine.reconcile()).toContainEqual({ action: 'wake', run_id, node: 'pause' });
    await engine.begin(run_id, 'pause');
    expect((await engine.run(run_id)).status).toBe('success');
  });

  test('gets another job after a minute when one was lost', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const { run_id } = await startWait({ seconds: 1 });
    await engine.freeze(new Date('2026-11-21T12:00:01Z'));
    await engine.wake();
    await db.admin.query('delete from graphile_worker._private_jobs');
    await engine.freeze(new Date('2026-11-21T12:01:01Z'));
    expect(await engine.wake()).toEqual([{ run_id, node: 'pause' }]);
    await engine.begin(run_id, 'pause');
    expect((await engine.run(run_id)).status).toBe('success');
  });

  test('for a time that has passed has a job at once', async () => {
    const { run_id } = await startWait({ until: '2020-01-01T00:00:00Z' });
    expect(await engine.jobs(run_id)).toEqual(['pause']);
    await engine.begin(run_id, 'pause');
    expect((await engine.run(run_id)).status).toBe('success');
  });

  test('two in a row: the second counts from the moment at which the first one fired', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const wait = (id: string) => ({ id, type: 'wait', properties: { seconds: 60 } });
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(trigger, wait('a'), wait('b'))));
    await engine.freeze(new Date('2026-11-21T12:05:00Z'));
    await engine.begin(run_id, 'a');
    expect(await engine.begin(run_id, 'b')).toBeNull();
    await engine.freeze(new Date('2026-11-21T12:06:00Z'));
    await engine.begin(run_id, 'b');
    expect((await engine.run(run_id)).status).toBe('success');
  });
});

describe('until', () => {
  test.each([
    ['2026-12-01T09:00', 'UTC', '2026-12-01T09:00:00.000000Z'],
    ['2026-12-01T09:00', 'Europe/Berlin', '2026-12-01T08:00:00.000000Z'],
    ['2027-07-01 09:00', 'Europe/Berlin', '2027-07-01T07:00:00.000000Z'],
    ['2027-02-28', 'America/New_York', '2027-02-28T05:00:00.000000Z'],
    ['2026-12-01T09:00:00+05:00', 'Europe/Berlin', '2026-12-01T04:00:00.000000Z'],
    // The clocks go forward at two: half past two is an hour later.
    ['2027-03-28T02:30', 'Europe/Berlin', '2027-03-28T01:30:00.000000Z'],
    // They go back at three: the first one of the two.
    ['2026-10-25T02:30', 'Europe/Berlin', '2026-10-25T00:30:00.000000Z'],
  ])('%s in %s is %s', async (until, timezone, expected) => {
    await engine.freeze(new Date('2026-10-01T00:00:00Z'));
    const { run_id } = await startWait({ until, timezone });
    expect(await untilOf(run_id)).toBe(expected);
    await acme.user.query('select cancel_run($1)', [run_id]);
  });

  test('is followed by nodes for which $.run.now is its end, in a replay as well', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const pause = { id: 'pause', type: 'wait', properties: { seconds: 3600 } };
    const stamp = { id: 'stamp', type: 'set', properties: { assign: { started: '{{ $.run.startedAt }}', at: '{{ $.run.now }}' } } };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(trigger, pause, stamp)), {});
    await engine.freeze(new Date('2026-11-21T13:00:00Z'));
    await engine.wake();
    await engine.begin(run_id, 'pause');
    expect(await engine.output(run_id)).toEqual({
      started: expect.stringMatching(/^2026-11-21T12:00:00/),
      at: expect.stringMatching(/^2026-11-21T13:00:00/),
    });
    await engine.freeze(null);
    expect(await engine.verify(run_id)).toEqual([]);
  });

  test('is in the time zone of the workflow when it names none', async () => {
    await engine.freeze(new Date('2026-11-01T00:00:00Z'));
    const { run_id } = await startWait({ until: '2026-12-01T09:00' }, { settings: { timezone: 'Asia/Tokyo' } });
    expect(await untilOf(run_id)).toBe('2026-12-01T00:00:00.000000Z');
    await acme.user.query('select cancel_run($1)', [run_id]);
  });

  test('a month later is the last day of a shorter month, at the same hour on either side of a change of clocks', async () => {
    await engine.freeze(new Date('2027-01-31T08:00:00Z'));
    const { run_id } = await startWait({ until: "{{ $.run.startedAt | add(2, 'months', 'Europe/Berlin') }}" });
    expect(await untilOf(run_id)).toBe('2027-03-31T07:00:00.000000Z');
    const { run_id: february } = await startWait({ until: "{{ $.run.startedAt | add(1, 'months', 'Europe/Berlin') }}" });
    expect(await untilOf(february)).toBe('2027-02-28T08:00:00.000000Z');
    for (const id of [run_id, february]) await acme.user.query('select cancel_run($1)', [id]);
  });

  test.each([
    [{ until: '{{ $.prev.kept }}' }],
    [{ until: '2026-12-01', timezone: '{{ "Mars/Olympus" }}' }],
    [{ seconds: '{{ $.prev.kept }}' }],
  ])('what is no time fails the step: %j', async (properties) => {
    expect(await startWait(properties)).toMatchObject({ status: 'error', error: { code: 'INVALID_ARGUMENT', node: 'pause' } });
  });

  test('more than five years away fails the step', async () => {
    expect(await startWait({ until: '2099-01-01' })).toMatchObject({ status: 'error', error: { code: 'INVALID_ARGUMENT' } });
  });
});

test('a wait knows its input when a branch before it failed and went on', async () => {
  const bad = { id: 'bad', type: 'transform', properties: { template: '{{ $.prev.x | number }}' }, onError: 'continue' };
  const wait = { id: 'pause', type: 'wait', properties: { seconds: 60 } };
  const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(trigger, bad, wait)), { x: 'many' });
  await engine.freeze(new Date(Date.now() + 61_000));
  await engine.begin(run_id, 'pause');
  expect(await engine.output(run_id)).toMatchObject({ error: { code: 'EXPRESSION_FILTER' } });
});

test('branches wait beside each other: the run waits when every open step does', async () => {
  const definition = {
    nodes: [
      trigger,
      { id: 'pause', type: 'wait', properties: { seconds: 60 } },
      { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } },
    ],
    connections: [
      { source: 'start', target: 'pause' },
      { source: 'start', target: 'call' },
    ],
  };
  const { run_id, status } = await engine.start(acme, await publishWorkflow(acme, definition), { a: 1 });
  expect(status).toBe('running');
  await engine.finish(run_id, 'call', 1);
  expect((await engine.run(run_id)).status).toBe('waiting');
  await engine.freeze(new Date(Date.now() + 61_000));
  await engine.begin(run_id, 'pause');
  expect(await engine.output(run_id)).toEqual({ pause: { a: 1 }, call: 1 });
});

test('a deadline counts through a wait', async () => {
  const { run_id } = await startWait({ seconds: 3600 }, { settings: { deadlineMs: 60_000 } });
  await engine.freeze(new Date(Date.now() + 61_000));
  await engine.reconcile();
  expect(await engine.run(run_id)).toMatchObject({ status: 'error', error: { code: 'DEADLINE' } });
  expect(await engine.openSteps(run_id)).toEqual([]);
});

describe('a step with a retry later', () => {
  test('has no job before its time either', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const call = { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } };
    const { run_id } = await engine.start(acme, await publishWorkflow(acme, chain(trigger, call)));
    const task = await engine.begin(run_id, 'call');
    await db.admin.query('delete from graphile_worker._private_jobs');
    await engine.fail(task!, { code: 'HTTP_429', message: 'later', retryable: true, retryAfterMs: 60_000 });
    expect(await engine.jobs(run_id)).toEqual([]);
    await engine.freeze(new Date('2026-11-21T12:01:00Z'));
    expect(await engine.wake()).toEqual([{ run_id, node: 'call' }]);
    await engine.finish(run_id, 'call', 1);
    expect((await engine.run(run_id)).status).toBe('success');
  });
});
