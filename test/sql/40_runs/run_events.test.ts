/** get_workflow_run_events(): times, order, rights, and the partitions that it reads. */
import { beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { createOrganization } from '../../helpers/factory.ts';
import { createLog, databaseAt, lines } from '../../helpers/partitions.ts';
import { tamper } from '../../helpers/tamper.ts';

describe('get_workflow_run_events', async () => {
  const db = await databaseAt('2025-02-15');
  const log = await createLog(db);
  let run: string;
  const times = ['2025-01-10 10:00+00', '2025-01-31 12:00+00', '2025-02-01 00:00+00', '2025-02-03 08:00+00'];

  beforeAll(async () => {
    await db.admin.query('select maintain_workflow_events_partitions()');
    run = await log.addRun(times[0]!, times);
    await log.addRun(times[0]!, times);
  });

  const seqs = async (...range: (string | null)[]) =>
    (await lines(db, 'select seq from get_workflow_run_events($1, $2, $3)', [run, range[0] ?? null, range[1] ?? null])).map(Number);

  test('gives the whole log of the run in its order', async () => expect(await seqs()).toEqual([1, 2, 3, 4]));
  test('starts at start_time, included', async () => expect(await seqs('2025-01-31 12:00+00')).toEqual([2, 3, 4]));
  test('ends at end_time, included', async () => expect(await seqs(null, '2025-01-31 12:00+00')).toEqual([1, 2]));
  test('takes a day as end with all its hours', async () => expect(await seqs('2025-01-01+00', '2025-01-31+00')).toEqual([1, 2]));
  test('is empty for a run that is not there', async () => {
    expect(await lines(db, `select * from get_workflow_run_events(gen_random_uuid())`)).toEqual([]);
    expect(await lines(db, `select * from get_workflow_run_events(null)`)).toEqual([]);
  });

  test("is for the run's organization only", async () => {
    const other = await createOrganization(db, 'Other');
    const count = 'select count(*)::int as count from get_workflow_run_events($1)';
    expect((await log.organization.user.query(count, [run])).rows).toEqual([{ count: 4 }]);
    expect((await other.user.query(count, [run])).rows).toEqual([{ count: 0 }]);
  });
});

test('of 72 months it locks and reads only those of the run', async () => {
  const db = await databaseAt('2026-11-21');
  await db.admin.query(`
    select partitions.create(parent, timestamptz '2021-01-01 00:00+00' + make_interval(months => month))
    from unnest('{workflow_runs,workflow_events}'::regclass[]) as parent, generate_series(0, 71) as month`);
  const { addRun } = await createLog(db);
  const run = await addRun('2021-03-15', ['2021-03-15', '2021-03-16']);
  const ended = await addRun('2021-03-31 12:00+00', ['2021-03-31 12:00+00', '2021-04-01 00:00+00']);
  await tamper(db, `update workflow_events set type = 'run.failed' where run_id = $1 and seq = 2`, [ended]);
  const endless = await addRun('2026-10-15', ['2026-10-15', '2026-11-20'], 'waiting');
  const client = await connect(db.adminUrl);
  const locked = async (name: string) => {
    const { rows } = await client.query<{ tables: string[] | null; locks: number }>(
      `select count(*)::int as locks, array_agg(distinct c.relname::text order by c.relname::text) filter (where c.relkind = 'r') as tables
       from pg_locks as l join pg_class as c on c.oid = l.relation and c.relname ~ $1
       where l.pid = pg_backend_pid()`,
      [name],
    );
    return rows[0];
  };
  const read = async (id: string) => {
    await client.query('begin');
    const { rowCount } = await client.query('select * from get_workflow_run_events($1)', [id]);
    const [events, runs, all] = [await locked('^workflow_events'), await locked('^workflow_runs'), await locked('^workflow_')];
    await client.query('commit');
    return { rowCount, events: events?.tables, runs: runs?.tables, locks: all?.locks };
  };
  // Each of the two tables and its indexes, and the same of one partition.
  const [indexes] = await lines(
    db,
    `select count(*) from pg_index where indrelid in ('workflow_runs'::regclass, 'workflow_events'::regclass)`,
  );
  const needed = 2 * (2 + Number(indexes));
  for (let time = 0; time < 8; time += 1) {
    // Also from the sixth call on, when PostgreSQL would take to a generic plan.
    const { locks, ...tables } = await read(run);
    expect(tables).toEqual({ rowCount: 2, events: ['workflow_events_y2021m03'], runs: ['workflow_runs_y2021m03'] });
    expect(locks).toBeLessThanOrEqual(needed);
  }
  // A run whose last event says that it is over is not looked up.
  const months = ['workflow_events_y2021m03', 'workflow_events_y2021m04'];
  expect(await read(ended)).toMatchObject({ rowCount: 2, events: months, runs: null });
  const { events } = await read(endless);
  expect(events).toEqual(['y2026m10', 'y2026m11', 'y2026m12', 'y2027m01', 'y2027m02'].map((month) => `workflow_events_${month}`));
  await client.end();
});
