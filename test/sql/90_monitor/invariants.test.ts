/** monitor.invariants(): silent on what the engine does, and each breach is named. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let other: TestOrganization;
let engine: Driver;
let workflow: { id: string };

/** `start → call → nap → last`: a run of it can be stopped in each state. */
const definition = chain(
  { id: 'start', type: 'apiTrigger' },
  { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' } },
  { id: 'nap', type: 'wait', properties: { seconds: 3600 } },
  { id: 'last', type: 'httpRequest', properties: { url: 'https://example.com' } },
);
/** In the past of the queue, which goes by the real clock; `freeze` makes the partitions of that month. */
const NOON = new Date('2026-11-21T12:00:00Z');

beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  other = await createOrganization(db, 'Other');
  engine = new Driver(db);
  workflow = await publishWorkflow(acme, definition);
});

beforeEach(async () => {
  await engine.freeze(NOON);
});

async function started(more: Record<string, unknown> = {}): Promise<string> {
  return (await engine.start(acme, workflow, {}, more)).run_id!;
}

async function napping(): Promise<string> {
  const id = await started();
  await engine.finish(id, 'call', 'first');
  return id;
}

async function finished(): Promise<string> {
  const id = await napping();
  await engine.freeze(new Date(NOON.getTime() + 3_601_000));
  const last = await engine.begin(id, 'nap');
  await engine.complete(last!, 'second');
  return id;
}

/** Breaks something, and undoes it when the monitor has said what it saw. */
async function broken(statement: string, values: unknown[] = [], since = '-infinity'): Promise<Record<string, string | null>> {
  const client = await db.admin.connect();
  try {
    await client.query('begin');
    // As a lost row or a fault of ours would: no constraint stands in the way.
    await client.query('set local session_replication_role = replica');
    await client.query(statement, values);
    const { rows } = await client.query<{ invariant: string; run_id: string | null }>('select * from monitor.invariants($1)', [since]);
    // Statistics count what was rolled back, too: the log has a test of its own.
    return Object.fromEntries(
      rows.filter(({ invariant }) => invariant !== 'I16 no event was changed').map(({ invariant, run_id }) => [invariant, run_id]),
    );
  } finally {
    await client.query('rollback');
    client.release();
  }
}

const event = (type: string, payload: Record<string, unknown>, ts = "max(e.ts) + interval '1 ms'", seq = 'max(e.seq) + 1') =>
  `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
   select e.organization_id, e.run_id, ${seq}, ${ts}, '${type}', '${JSON.stringify(payload)}'
   from workflow_events as e where e.run_id = $1 group by 1, 2`;

test('of what the engine does by itself, nothing is broken', async () => {
  await finished();
  await engine.freeze(NOON);
  await Promise.all([started(), napping(), started({ key: 'once' })]);
  await engine.begin(await started(), 'call');
  expect((await db.admin.query('select * from monitor.invariants()')).rows).toEqual([]);
});

// What is broken is named, with its run.
describe('of starts and logs', () => {
  test('I1 a start that was accepted has no run', async () => {
    const id = await started({ key: 'lost' });
    expect(await broken('delete from workflow_runs where id = $1', [id])).toMatchObject({ 'I1 an accepted start has a run': id });
  });

  test('I1 two keys have one run', async () => {
    const id = await started({ key: 'first' });
    const statement = `insert into engine.start_keys select organization_id, workflow_id, 'second', run_id, request_hash, expires_at
      from engine.start_keys where run_id = $1`;
    expect(await broken(statement, [id])).toEqual({ 'I1 a run was started under one key': id });
  });

  test('I2 an event is missing, and time went back', async () => {
    const id = await napping();
    const gap = { 'I2 the events of a run are numbered 1, 2, 3 … without a gap': id };
    expect(await broken('delete from workflow_events where run_id = $1 and seq = 2', [id])).toMatchObject(gap);
    expect(await broken('delete from workflow_events where run_id = $1 and seq = 1', [id])).toMatchObject(gap);
    expect(await broken(event('run.paused', {}, `max(e.ts) - interval '1 minute'`), [id])).toEqual({
      'I2 the time of events increases with their number': id,
    });
  });

  test('I3 the row of a run is not what its log says', async () => {
    const id = await finished();
    expect(await broken(`update workflow_runs set status = 'canceled' where id = $1`, [id])).toMatchObject({
      'I3 the row of a run agrees with its log': id,
    });
  });

  test('I4 a step succeeds twice, and a run ends twice', async () => {
    const id = await finished();
    const success = { node: 'call', attempt: 1, output: 'again' };
    expect(await broken(event('step.succeeded', success, `min(e.ts) + interval '1 s'`, '2'), [id])).toMatchObject({
      'I4 a step ends at most once': id,
    });
    const ends = 'I4 a run has at most one terminal event, and it is the last one';
    expect(await broken(event('run.succeeded', {}), [id])).toMatchObject({ [ends]: id });
    expect(await broken(event('step.started', { node: 'more', attempt: 1 }), [id])).toMatchObject({ [ends]: id });
  });
});

describe('of what is not finished', () => {
  test('I5 nothing moves an unfinished run, or nothing has for too long', async () => {
    const id = await napping();
    expect(await broken('delete from engine.open_steps where run_id = $1', [id])).toEqual({
      'I5 an unfinished run has something that moves it on': id,
    });
    const late = `update engine.open_steps set run_at = engine.now() - interval '3 minutes' where run_id = $1`;
    expect(await broken(late, [id])).toEqual({
      'I5 nothing waits for longer than two minutes after its time': id,
      'I5 a step that has something to do has a job': id,
    });
    expect(await broken(`update workflow_runs set status = 'running' where id = $1`, [id])).toEqual({
      'I5 the status of an unfinished run follows from its open steps': id,
    });
  });

  test('I5 a child goes on long after its parent has ended', async () => {
    const [parent, child] = [await finished(), await napping()];
    await engine.freeze(new Date(NOON.getTime() + 2 * 3_600_000));
    const statement = `update workflow_runs set parent_run_id = $2, parent_node = 'each', parent_index = 0 where id = $1`;
    expect(await broken(statement, [child, parent])).toMatchObject({ 'I5 a child ends soon after the parent that waits for it': child });
  });

  test('I6 a finished run has an open step, or a slot', async () => {
    const id = await finished();
    const step = `insert into engine.open_steps (organization_id, run_id, node, branch, state) select organization_id, id, 'call', 'call', 'waiting'
      from workflow_runs where id = $1`;
    expect(await broken(step, [id])).toMatchObject({ 'I6 a finished run has no open step': id });
    const slot = `insert into engine.flow_runs (run_id, organization_id, workflow_id, version, priority, is_held, concurrency_key)
      select id, organization_id, workflow_id, 1, 0, false, '' from workflow_runs where id = $1`;
    expect(await broken(slot, [id])).toMatchObject({ 'I6 a slot of a concurrency limit is held by an unfinished run': id });
  });

  test('I6 a node is open twice', async () => {
    const id = await started();
    const statement = `insert into engine.open_steps (organization_id, run_id, node, branch, state)
      select organization_id, run_id, node, 'other', 'waiting' from engine.open_steps where run_id = $1`;
    expect(await broken(statement, [id])).toMatchObject({ 'I6 each node of a run is open once at most': id });
  });

  test('I6 a step runs in an attempt that the log does not know', async () => {
    const id = await started();
    await engine.begin(id, 'call');
    expect(await broken('update engine.open_steps set attempt = 2 where run_id = $1', [id])).toEqual({
      'I6 the attempt that runs is the one that the log has begun last': id,
    });
  });

  test('I6 a worker that is gone holds a job', async () => {
    await engine.freeze(null);
    const id = await started();
    const statement = `with gone as (
        insert into engine.workers (id, pool_id, started_at, seen_at)
        values (gen_random_uuid(), 'gone', now() - interval '1 hour', now() - $2::interval)
      )
      update graphile_worker._private_jobs set locked_at = now() - interval '5 minutes', locked_by = 'gone'
      where payload ->> 'runId' = $1`;
    expect(await broken(statement, [id, '2 minutes'])).toMatchObject({
      'I6 no job is held by a worker that has been gone for a minute': id,
    });
    expect(await broken(statement, [id, '20 seconds'])).not.toHaveProperty([
      'I6 no job is held by a worker that has been gone for a minute',
    ]);
  });
});

describe('of attempts and times', () => {
  test('I7 a result is of an attempt that was not the last', async () => {
    const id = await started();
    await engine.begin(id, 'call');
    const late = `with again as (${event('step.started', { node: 'call', attempt: 2 })}) ${event('step.failed', { node: 'call', attempt: 1, retryAt: NOON }, `max(e.ts) + interval '2 ms'`, 'max(e.seq) + 2')}`;
    expect(await broken(late, [id])).toMatchObject({ 'I7 a result carries the attempt that was begun last': id });
  });

  test('I8 a timer fires early', async () => {
    const id = await napping();
    const early = { 'I8 a timer never fires early': id };
    expect(await broken(event('step.succeeded', { node: 'nap', output: null }), [id])).toMatchObject(early);
    const timeout = { node: 'nap', error: { code: 'WAIT_TIMEOUT', message: 'too soon' } };
    expect(await broken(event('step.failed', timeout), [id])).toMatchObject(early);
  });

  test('I8 a tick of a schedule has two runs', async () => {
    const [first, second] = [await started(), await started()];
    const statement = `update workflow_events set payload = payload || '{"mode": "schedule", "input": {"scheduledAt": "2026-11-21T12:00:00Z"}}'
      where run_id in ($1, $2) and seq = 1`;
    const later = [first, second].toSorted()[1];
    expect(await broken(statement, [first, second])).toEqual({ 'I8 a tick of a schedule starts at most one run': later });
  });
});

describe('of what belongs together', () => {
  test('I9 the events of a run have left before it', async () => {
    const id = await started();
    expect(await broken('delete from workflow_events where run_id = $1', [id])).toEqual({ 'I9 a run has events': id });
  });

  test('I10 there is no partition for now, or one without row-level security', async () => {
    const { rows } = await db.admin.query<{ child: string }>(
      `select partitions.qualified('workflow_run_logs', partitions.find('workflow_run_logs', engine.now())) as child`,
    );
    const child = rows[0]!.child;
    expect(await broken(`alter table public.workflow_run_logs detach partition ${child}`)).toEqual({
      'I10 there is a partition for now': null,
    });
    expect(await broken(`alter table ${child} disable row level security`)).toEqual({
      'I10 a partition has the row-level security of its table': null,
    });
    expect(await broken('create table public.rest partition of public.workflow_run_logs default')).toMatchObject({
      'I10 no partition is a default partition': null,
    });
  });

  test('I11 something belongs to another organization than what it refers to', async () => {
    const [first, second] = [await started({ key: 'mine' }), await started()];
    expect(await broken('update engine.start_keys set organization_id = $2 where run_id = $1', [first, other.id])).toEqual({
      "I11 the key of a start is of its run's organization": first,
    });
    const parent = `update workflow_runs set parent_run_id = $2, organization_id = $3, parent_node = 'each' where id = $1`;
    expect(await broken(parent, [first, second, other.id])).toMatchObject({
      'I11 a parent and its child belong to one organization': first,
    });
    const repeated = 'update workflow_runs set retry_of = $2, organization_id = $3 where id = $1';
    expect(await broken(repeated, [first, second, other.id])).toMatchObject({
      'I11 a run and the one that it repeats belong to one organization': first,
    });
    const held = `insert into engine.flow_runs (run_id, organization_id, workflow_id, version, priority, is_held, rate_key)
      values ($1, $2, gen_random_uuid(), 1, 0, true, '')`;
    expect(await broken(held, [first, other.id])).toEqual({ "I11 a place in the queue of a workflow is of its run's organization": first });
  });
});

test('runs that started earlier are left out when asked so, but for what is not finished', async () => {
  const id = await napping();
  await engine.freeze(new Date(NOON.getTime() + 20_000));
  const later = new Date(NOON.getTime() + 10_000).toISOString();
  expect(await broken('delete from workflow_events where run_id = $1 and seq = 2', [id], later)).toEqual({});
  expect(await broken('delete from engine.open_steps where run_id = $1', [id], later)).toEqual({
    'I5 an unfinished run has something that moves it on': id,
  });
  const young = await napping();
  expect(await broken('delete from workflow_events where run_id in ($1, $2) and seq = 2', [id, young], later)).toMatchObject({
    'I2 the events of a run are numbered 1, 2, 3 … without a gap': young,
  });
});
