/** Fixtures for tests of archives: months with runs, and a hash of everything that a restore must bring back. */
import { expect } from 'vitest';
import type { TestDatabase } from './database.ts';
import { createLog, databaseAt, freezeClock, lines } from './partitions.ts';

/**
 * A database with runs in January to March 2025, one of which spans all three, at the time 2026-02-01, when
 * January may be retired.
 */
export async function monthsOfRuns(status = 'success'): Promise<TestDatabase> {
  const db = await databaseAt('2025-03-15');
  await fillMonths(db, status);
  return db;
}

/** Adds the same runs to an existing database. */
export async function fillMonths(db: TestDatabase, status = 'success'): Promise<void> {
  await freezeClock(db, '2025-03-15');
  await db.admin.query('select partitions.maintain()');
  const { addRun } = await createLog(db);
  await addRun('2025-01-10', ['2025-01-10'], status);
  await addRun('2025-01-31 23:00+00', ['2025-01-31 23:00+00', '2025-02-01 01:00+00', '2025-03-01 00:00+00']);
  await addRun('2025-02-10');
  await addRun('2025-03-10');
  await db.admin.query(
    `update partitions.managed_tables set retention = null where parent not in ('workflow_runs'::regclass, 'workflow_events'::regclass)`,
  );
  await freezeClock(db, '2026-02-01');
  await db.admin.query('select partitions.maintain()');
}

/** Returns the number of runs and events, with a hash of them. */
export async function contentOf(db: TestDatabase): Promise<string[]> {
  const content = await lines(
    db,
    `select 'runs', count(*), md5(string_agg(r::text, ',' order by id)) from workflow_runs as r
     union all
     select 'events', count(*), md5(string_agg(e::text, ',' order by id)) from workflow_events as e`,
  );
  expect(content).toHaveLength(2);
  return content;
}

/** Returns the rows of the archive catalog as `kind rows`. */
export async function archived(db: TestDatabase): Promise<string[]> {
  return lines(db, 'select kind, row_count from partitions.archives order by kind, location');
}
