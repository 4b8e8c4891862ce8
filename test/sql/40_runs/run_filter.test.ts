/** The filter of runs: what it finds agrees with a second implementation, what it refuses, and how far it counts. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
interface Run {
  id: string;
  workflow_id: string;
  parent_run_id: string | null;
  started_by: string | null;
  status: string;
  mode: string;
  version: number;
  trigger_node: string | null;
  started_at: Date;
  finished_at: Date | null;
  code: string | null;
  metadata: Record<string, unknown> | null;
}
let runs: Run[];

const insertRuns = (organization: TestOrganization, workflow: { id: string }, count: number) =>
  db.admin.query(
    `insert into workflow_runs
       (id, organization_id, workflow_id, version, mode, status, parent_run_id, started_by, trigger_node, started_at, finished_at, error, metadata)
     select engine.uuid_v7(at), $1, $2, 1, (array['api', 'webhook', 'schedule'])[1 + n % 3], s,
       case when n % 5 = 0 then '01900000-0000-7000-8000-000000000000'::uuid end, case when n % 2 = 0 then $3::uuid end,
       case when n % 7 > 0 then 'start' end, at,
       case when s in ('success', 'error', 'canceled') then at + n * interval '1 second' end,
       case when s = 'error' then jsonb_build_object('code', (array['HTTP_STATUS', 'TIMEOUT'])[1 + n % 2], 'message', 'no') end,
       case when n % 2 = 0 then jsonb_build_object('order', n, 'customer', jsonb_build_object('name', 'Müller & "Söhne" ' || n % 4)) end
     from generate_series(1, $4) as n
     cross join lateral (select date_trunc('second', engine.now()) - n * interval '10 minutes' as at, (array['success', 'error', 'running', 'canceled', 'waiting', 'paused'])[1 + n % 6] as s) as x`,
    [organization.id, workflow.id, organization.userId, count],
  );

beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  const workflows = [];
  for (let each = 0; each < 2; each += 1) workflows.push(await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' })));
  for (const workflow of workflows) await insertRuns(acme, workflow, 60);
  const globex = await createOrganization(db, 'Globex');
  await insertRuns(globex, await publishWorkflow(globex, chain({ id: 'start', type: 'apiTrigger' })), 60);
  ({ rows: runs } = await db.admin.query<Run>(
    `select *, error ->> 'code' as code from workflow_runs where organization_id = $1 order by id desc`,
    [acme.id],
  ));
});

const found = async (filter: unknown) =>
  (
    await acme.user.query<{ id: string }>(
      'select r.id from workflow_runs as r where engine.run_matches(r, engine.checked_run_filter($1)) order by r.id desc',
      [JSON.stringify(filter)],
    )
  ).rows.map(({ id }) => id);
const count = async (filter: unknown) =>
  (await acme.user.query<{ count: number; is_exact: boolean }>('select * from workflow_run_count($1)', [JSON.stringify(filter)])).rows[0]!;

const durationOf = ({ started_at, finished_at }: Run) => finished_at && finished_at.getTime() - started_at.getTime();
/** A time between two runs. */
const middle = () => runs[50]!.started_at.toISOString();
const after = (time: Date | null, text: string) => time !== null && time.toISOString() > text;

const FILTERS: Record<string, [filter: () => unknown, matches: (run: Run) => boolean]> = {
  everything: [() => ({}), () => true],
  'a value alone': [() => ({ status: 'error' }), ({ status }) => status === 'error'],
  'a list alone': [() => ({ status: ['error', 'canceled'] }), ({ status }) => ['error', 'canceled'].includes(status)],
  'an id': [() => ({ id: { equalTo: runs[3]!.id } }), ({ id }) => id === runs[3]!.id],
  'ids of which one is unknown': [
    () => ({ id: { in: [runs[3]!.id, '01900000-0000-7000-8000-000000000001'] } }),
    ({ id }) => id === runs[3]!.id,
  ],
  'no status of a list': [() => ({ status: { in: [] } }), () => false],
  'another status': [() => ({ status: { notEqualTo: 'success' } }), ({ status }) => status !== 'success'],
  'a mode and a workflow': [
    () => ({ mode: 'webhook', workflowId: runs[0]!.workflow_id }),
    (run) => run.mode === 'webhook' && run.workflow_id === runs[0]!.workflow_id,
  ],
  'a version': [() => ({ version: { in: [1, 2] } }), ({ version }) => version < 3],
  'no parent': [() => ({ parentRunId: { isNull: true } }), (run) => run.parent_run_id === null],
  'a parent': [() => ({ parentRunId: '01900000-0000-7000-8000-000000000000' }), (run) => run.parent_run_id !== null],
  'who started it': [() => ({ startedById: acme.userId }), (run) => run.started_by === acme.userId],
  'a trigger': [() => ({ triggerNode: 'start' }), (run) => run.trigger_node === 'start'],
  'a code': [() => ({ errorCode: { equalTo: 'TIMEOUT' } }), ({ code }) => code === 'TIMEOUT'],
  'no code': [() => ({ errorCode: { isNull: true } }), ({ code }) => code === null],
  'any code': [() => ({ errorCode: { isNull: false } }), ({ code }) => code !== null],
  'a time of the start': [
    () => ({ startedAt: { greaterThanOrEqualTo: middle(), lessThan: runs[10]!.started_at.toISOString() } }),
    (run) => run.started_at.toISOString() < runs[10]!.started_at.toISOString() && run.started_at.toISOString() >= middle(),
  ],
  'a time of the end': [() => ({ finishedAt: { greaterThan: middle() } }), (run) => after(run.finished_at, middle())],
  'a duration': [
    () => ({ durationMs: { greaterThan: 20_000, lessThanOrEqualTo: 40_000 } }),
    (run) => (durationOf(run) ?? 0) > 20_000 && durationOf(run)! <= 40_000,
  ],
  'metadata that contain an object': [
    () => ({ metadata: { contains: { customer: { name: 'Müller & "Söhne" 2' } } } }),
    ({ metadata }) => JSON.stringify(metadata)?.includes('2"}') ?? false,
  ],
  'a text in metadata, in another case': [() => ({ metadata: { text: 'MÜLLER' } }), ({ metadata }) => metadata !== null],
  'a text in metadata with a quote': [
    () => ({ metadata: { text: '& "söhne" 2' } }),
    ({ metadata }) => /2"}/.test(JSON.stringify(metadata)),
  ],
  'a number in metadata': [() => ({ metadata: { text: '58' } }), ({ metadata }) => metadata?.['order'] === 58],
  'a name in metadata, which is no value': [() => ({ metadata: { text: 'customer' } }), () => false],
};

describe('a filter finds by', () => {
  test.each(Object.entries(FILTERS))('%s', async (_name, [filter, matches]) => {
    // The time of the end is compared in whole milliseconds, as JavaScript has them.
    const expected = runs.filter(matches).map(({ id }) => id);
    expect(await found(filter())).toEqual(expected);
    expect(await count(filter())).toEqual({ count: expected.length, is_exact: true });
  });
});

test('a filter on times reads the partitions of these times only', async () => {
  const { rows } = await db.admin.query<{ 'QUERY PLAN': string }>(
    `explain (costs off) select r.id from workflow_runs as r
     where engine.run_matches(r, engine.checked_run_filter('{"startedAt": {"lessThan": "2020-01-01"}}'))`,
  );
  expect(rows.map((row) => row['QUERY PLAN'])).toEqual(['Result', '  One-Time Filter: false']);
});

test.each([
  [{ wishes: 1 }, '/wishes'],
  [{ status: 'good' }, '/status/equalTo'],
  [{ status: { in: ['error', 'good'] } }, '/status/in/1'],
  [{ status: {} }, '/status'],
  [{ workflowId: null }, '/workflowId/equalTo'],
  [{ workflowId: { equalTo: null } }, '/workflowId/equalTo'],
  [{ workflowId: 'x' }, '/workflowId/equalTo'],
  [{ startedAt: '2026-01-01' }, '/startedAt/equalTo'],
  [{ startedAt: { greaterThan: '2026-99-99' } }, '/startedAt/greaterThan'],
  [{ startedAt: { greaterThan: 'now' } }, '/startedAt/greaterThan'],
  [{ durationMs: { lessThan: '1' } }, '/durationMs/lessThan'],
  [{ metadata: { order: 1 } }, '/metadata/order'],
  [{ metadata: { text: '' } }, '/metadata/text'],
  [[], ''],
  [1, ''],
])('the filter %j is refused, with the place', async (filter, pointer) => {
  await expect(count(filter)).rejects.toMatchObject({
    code: 'WF009',
    message: expect.stringContaining(`not valid: ${pointer} `),
    hint: expect.any(String),
  });
});

test('a list of more than 1,000 values is refused', async () => {
  const ids = (length: number) => ({ id: Array.from({ length }, () => '01900000-0000-7000-8000-000000000000') });
  await expect(count(ids(1001))).rejects.toMatchObject({ code: 'WF009', message: expect.stringContaining('/id/in ') });
  expect(await count(ids(1000))).toEqual({ count: 0, is_exact: true });
});

test('a filter above 64 KiB is refused', async () => {
  await expect(count({ metadata: { contains: { x: 'y'.repeat(70_000) } } })).rejects.toMatchObject({ code: 'WF010' });
});

test('the filter knows every status and mode that a run can have', async () => {
  const { rows } = await db.admin.query<{ values: string[]; known: string[] }>(
    `select (select array_agg(v[1] order by v[1]) from regexp_matches(pg_get_constraintdef(c.oid), '''(\\w+)''::text', 'g') as v) as values,
       (select array_agg(k order by k) from jsonb_array_elements_text(
         engine.run_filter_schema() #> array['properties', split_part(conname, '_', 3), 'properties', 'equalTo', 'enum']) as k) as known
     from pg_constraint as c
     where c.conrelid = 'workflow_runs'::regclass and conname in ('workflow_runs_mode_check', 'workflow_runs_status_check')`,
  );
  expect(rows).toHaveLength(2);
  for (const { values, known } of rows) expect(known).toEqual(values);
});

describe('statistics', () => {
  interface Stat {
    bucket: string | null;
    key: string | null;
    runs: number;
    success: number;
    error: number;
    waiting: number;
    avg_ms: number | null;
    p50_ms: number | null;
    p95_ms: number | null;
    p99_ms: number | null;
  }
  const statsOf = async (filter: unknown, groupBy: string | null, bucket: string | null) =>
    (
      await acme.user.query<{ runs: number; groups: Stat[] }>(
        'select (s.stats).runs, to_jsonb((s.stats).groups) as groups from (select workflow_run_stats($1, $2, $3) as stats) as s',
        [JSON.stringify(filter), groupBy, bucket],
      )
    ).rows[0]!;
  /** As percentile_cont has it: between two values in proportion. */
  const percentile = (sorted: number[], part: number) => {
    if (sorted.length === 0) return null;
    const place = part * (sorted.length - 1);
    const [low, high] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
    return low + (high - low) * (place - Math.floor(place));
  };
  const KEYS: Record<string, (run: Run) => string | null> = {
    status: ({ status }) => status,
    workflow: ({ workflow_id }) => workflow_id,
    error_code: ({ code }) => code,
    mode: ({ mode }) => mode,
  };
  const LENGTHS: Record<string, number> = { minute: 16, hour: 13, day: 10 };

  test.each([
    [{}, null, null],
    [{}, 'status', null],
    [{ status: ['success', 'error'] }, 'error_code', 'day'],
    [{ mode: 'api' }, 'workflow', 'hour'],
    [{}, 'mode', 'minute'],
    [{ status: 'waiting' }, null, null],
    [{ status: { in: [] } }, null, 'hour'],
  ])('of %j by %s and %s are what counting by hand gives', async (filter: { status?: unknown; mode?: string }, groupBy, bucket) => {
    const ids = new Set(await found(filter));
    const groups = new Map<string, Run[]>();
    for (const run of runs.filter(({ id }) => ids.has(id))) {
      const key = JSON.stringify([bucket && run.started_at.toISOString().slice(0, LENGTHS[bucket]), groupBy && KEYS[groupBy]!(run)]);
      groups.set(key, [...(groups.get(key) ?? []), run]);
    }
    const answer = await statsOf(filter, groupBy, bucket);
    expect(answer.runs).toBe(ids.size);
    expect(answer.groups).toHaveLength(groups.size);
    for (const stat of answer.groups) {
      const start = bucket && new Date(stat.bucket!).toISOString().slice(0, LENGTHS[bucket]);
      const own = groups.get(JSON.stringify([start, stat.key]))!;
      const sorted = own.flatMap((run) => durationOf(run) ?? []).sort((one, other) => one - other);
      expect(stat).toMatchObject({
        runs: own.length,
        success: own.filter(({ status }) => status === 'success').length,
        error: own.filter(({ status }) => status === 'error').length,
        waiting: own.filter(({ status }) => status === 'waiting').length,
      });
      for (const [name, part] of [
        ['p50_ms', 0.5],
        ['p95_ms', 0.95],
        ['p99_ms', 0.99],
      ] as const) {
        const expected = percentile(sorted, part);
        if (expected === null) expect(stat[name]).toBeNull();
        else expect(stat[name]).toBeCloseTo(expected, 3);
      }
      if (sorted.length > 0) expect(stat.avg_ms).toBeCloseTo(sorted.reduce((sum, each) => sum + each, 0) / sorted.length, 3);
    }
  });

  test('refuse a group or a bucket that is none', async () => {
    await expect(statsOf({}, 'color', null)).rejects.toMatchObject({ code: 'WF009' });
    await expect(statsOf({}, null, 'year')).rejects.toMatchObject({ code: 'WF009' });
  });

  test('refuse more rows and more runs than the limits', async () => {
    await db.admin.query(`create or replace function engine.max_run_groups() returns int language sql immutable parallel safe return 5`);
    await expect(statsOf({}, 'status', null)).rejects.toMatchObject({ code: 'WF010', hint: expect.stringContaining('startedAt') });
    await db.admin.query(
      `create or replace function engine.max_counted_runs() returns int language sql immutable parallel safe return 100`,
    );
    await expect(statsOf({}, null, null)).rejects.toMatchObject({ code: 'WF010' });
    expect(await statsOf({ id: runs[0]!.id }, null, null)).toMatchObject({ runs: 1 });
  });
});

test('counting ends at the limit and says so', async () => {
  await db.admin.query(`create or replace function engine.max_counted_runs() returns int language sql immutable parallel safe return 5`);
  expect(await count({})).toEqual({ count: 5, is_exact: false });
  expect(await count({ id: runs[0]!.id })).toEqual({ count: 1, is_exact: true });
});
