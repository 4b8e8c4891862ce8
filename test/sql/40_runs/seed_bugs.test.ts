/** Faults of the first SQL for partitioning the log of events, each with its test. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { createLog, databaseAt, lines } from '../../helpers/partitions.ts';

const EVENTS = 'test/sql/40_runs/event_partitions.test.ts';
const HERE = 'test/sql/40_runs/seed_bugs.test.ts';
const VERIFY = 'test/tools/verify_event_partitioning.test.ts';

/** The bug; then file and beginning of each test that would find it. */
const BUGS: Record<string, [file: string, sentence: string][]> = {
  '1: no partition could be made once the migration had renamed the table': [[EVENTS, 'keeps the log writable for years']],
  '2: the migration lost row-level security and grants, so tenants saw each other': [
    ['test/sql/40_runs/policies.test.ts', '%s shows each organization its own rows'],
    ['test/sql/40_runs/policies.test.ts', '%s is reached through its parent only'],
    ['test/sql/40_runs/policies.test.ts', 'a partition that maintenance makes is closed as well'],
  ],
  '3: ids began again at 1': [[HERE, 'ids go on rising']],
  '4: rows older than two months made the migration fail': [[HERE, 'an event of any month has a place']],
  '5: the statistics failed, and had neither dates nor exact counts': [[EVENTS, 'rows are counted, dates are those of the bounds']],
  '6: the view said one row for each partition': [[EVENTS, 'the view shows each partition once']],
  '7: retention went by name, and dropped archives or everything': [
    ['test/sql/10_partitions/retire/retire.test.ts', 'names do not matter'],
    ['test/sql/10_partitions/retire/retire.test.ts', 'the current, future and last partitions stay'],
    [EVENTS, 'refuses %s months and drops nothing'],
  ],
  '8: the documented call with a timestamp did not exist': [[EVENTS, 'of %s is %s, in every time zone']],
  '9: the current month counted as one ahead, and a hole stayed': [
    [EVENTS, 'returns how many it made, and three whole months after the current one are there'],
    [EVENTS, 'repairs a hole before later partitions'],
  ],
  '10: bounds followed the time zone of the session, and tables its search path': [
    ['test/sql/10_partitions/catalog/periods.test.ts', 'bounds are the same to the byte in a session of %s'],
    [EVENTS, 'works whatever the search path'],
  ],
  '11: another table of the name passed for the partition': [
    ['test/sql/10_partitions/create/create.test.ts', 'a table with the wanted name that is no partition is an error'],
  ],
  '12: a new partition locked the log for as long as somebody read it': [
    ['test/sql/10_partitions/create/maintain.test.ts', 'a reader that does not end holds up neither maintenance nor inserts'],
    ['test/sql/10_partitions/create/maintain.test.ts', 'of two maintainers one does the work'],
    ['test/concurrency/partitions.test.ts', 'no insert fails or waits for long'],
  ],
  '13: indexes were made for each partition, not for the table': [
    ['test/sql/10_partitions/create/create.test.ts', "has the parent's indexes under its own name, and they are part of the parent's"],
  ],
  '14: the events of a run missed the last day, and were looked for in all partitions': [
    ['test/sql/40_runs/run_events.test.ts', 'takes a day as end with all its hours'],
    ['test/sql/40_runs/run_events.test.ts', 'of 72 months it locks and reads only those of the run'],
  ],
  '15: what referred to a run probed every partition': [
    ['test/plans/locks.test.ts', 'completing a step touches the one partition of the log'],
    ['test/sql/40_runs/partitioning.test.ts', 'a month of runs leaves with its events'],
  ],
  '16: a schedule that could not be made was hidden, and ran elsewhere': [
    ['test/sql/70_cron/maintenance.test.ts', 'the jobs are there as rows'],
    ['test/sql/70_cron/maintenance.test.ts', 'flowgres_maintenance may do what its jobs say'],
    ['test/system/pg_cron.test.ts', 'creates no scheduler of its own and lets pg_cron run its maintenance'],
  ],
  '17: the verification passed with failures and left rows behind; everybody could call everything': [
    [VERIFY, 'a sound database passes, and nothing is left behind'],
    [VERIFY, '%s fails loudly'],
    ['test/schema/catalog.test.ts', 'no function is executable by everybody'],
  ],
  '18: the text to look for in a plan does not exist': [[HERE, 'a plan says which partitions are read']],
};

test.each(Object.entries(BUGS))('%s', async (_bug, tests) => {
  for (const [file, sentence] of tests) {
    const text = await readFile(new URL(`../../../${file}`, import.meta.url), 'utf8');
    expect(
      ["'", '"', '`'].some((quote) => text.includes(quote + sentence)),
      `${file}: ${sentence}`,
    ).toBe(true);
  }
});

describe('of those bugs', () => {
  test('ids go on rising from partition to partition, also in one that is made later', async () => {
    const db = await databaseAt('2026-11-21');
    const { addRun } = await createLog(db);
    await addRun('2026-10-15', ['2026-10-15', '2026-11-15']);
    await db.admin.query(`select create_workflow_events_partition('2024-05-01'::date), partitions.create('workflow_runs', '2024-05-01')`);
    await addRun('2024-05-15', ['2024-05-15']);
    await addRun('2026-12-15', ['2026-12-15']);
    expect(await lines(db, `select id, to_char(ts, 'YYYY-MM') from workflow_events order by id`)).toEqual([
      '1 2026-10',
      '2 2026-11',
      '3 2024-05',
      '4 2026-12',
    ]);
  });

  test('an event of any month has a place as soon as its partition is made, and is refused until then', async () => {
    const db = await databaseAt('2026-11-21');
    const { addRun } = await createLog(db);
    await db.admin.query(`select partitions.create('workflow_runs', '2019-02-01')`);
    await expect(addRun('2019-02-03', ['2019-02-03'])).rejects.toMatchObject({ code: '23514' });
    await db.admin.query(`select create_workflow_events_partition('2019-02-01'::date)`);
    await addRun('2019-02-03', ['2019-02-03']);
    expect(await lines(db, `select tableoid::regclass from workflow_events`)).toEqual(['workflow_events_y2019m02']);
  });

  test('a plan says which partitions are read, and how many were left out at run time', async () => {
    const db = await databaseAt('2026-11-21');
    const plan = async (bound: string) =>
      (await lines(db, `explain (costs off) select * from workflow_events where ts >= ${bound}`)).join('\n');
    const constant = await plan(`timestamptz '2027-01-15'`);
    expect(constant.match(/workflow_events_y\w+/g)).toEqual(['workflow_events_y2027m01', 'workflow_events_y2027m02']);
    expect(await plan(`timestamptz '2027-02-15' - interval '1 month'`)).toContain('Subplans Removed: 4');
  });
});
