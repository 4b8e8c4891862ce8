/** Runs maintenance and retirement of partitions through months while other sessions write and read. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { connect, createPool } from '../../src/database/connections.ts';
import { maintainPartitions, retirePartitions } from '../../src/maintenance/partitions.ts';
import type { TestDatabase } from './database.ts';
import { createLog, freezeClock, lines } from './partitions.ts';

const DAY_MS = 864e5;
/** Days by which the clock advances at a time; three whole months are always created ahead. */
const LEAP_DAYS = 6;
/** Messages of work that is left to the next call. */
const LATER =
  /held a lock for too long|Another session holds the maintenance lock|has not ended|due to lock timeout|already pending detach/;

/** Longest wait of an insert; maintenance itself gives way after 200 ms. */
const LONGEST_WAIT = '5s';
/** At least this many months pass, and one is retired, however slow the machine is. */
const MONTHS = 3;

/** Options of {@link soakPartitions}. */
export interface SoakOptions {
  /** Duration in seconds; up to four times as long until the months have passed. */
  seconds: number;
  /** How long the first reader reads, in seconds. */
  readerSeconds: number;
}

/**
 * Runs two maintainers, two inserters, a retirement and a reader at once while the clock crosses months. Checks
 * that no insert fails or waits long, no session fails, and no row is missing at the end.
 */
export async function soakPartitions(db: TestDatabase, { seconds, readerSeconds }: SoakOptions): Promise<void> {
  const begin = Date.now();
  let now = begin;
  await freezeClock(db, new Date(now).toISOString());
  const writers = createPool(db.adminUrl, { name: 'writers', settings: { lock_timeout: LONGEST_WAIT } });
  const { addRun } = await createLog(db, writers);
  await db.admin.query(`update partitions.managed_tables set retention = '5 months' where retention > '5 months'`);
  const startedAt = performance.now();
  const months = () => Math.round((now - begin) / DAY_MS / 30);
  let left = 0;
  const goOn = () => {
    const passed = (performance.now() - startedAt) / 1000;
    return passed < seconds || (passed < 4 * seconds && (months() < MONTHS || left === 0));
  };

  const insert = async () => {
    while (goOn()) {
      const at = new Date(now).toISOString();
      await addRun(at, [at, at, at]);
    }
  };
  const errors = new Set<string>();
  const note = (actions: { detail: string | null }[]) => {
    for (const { detail } of actions) if (detail && !LATER.test(detail)) errors.add(detail);
  };
  const maintain = async () => {
    while (goOn()) {
      note(await maintainPartitions(db.url('flowgres_maintenance')));
      note((await db.admin.query('select * from partitions.maintain()')).rows);
    }
  };
  const retire = async () => {
    while (goOn()) {
      const actions = await retirePartitions(db.url('flowgres_maintenance'), { lockTimeoutMs: 1000 });
      note(actions);
      left += actions.filter(({ action, done }) => action === 'drop' && done).length;
      // While it waits for a reader, nobody else can maintain the table; leave time for the maintainers.
      await delay(1000);
    }
  };
  const read = async () => {
    const reader = await connect(db.adminUrl);
    // One long reader, then short ones: a concurrent detach completes only between readers.
    await reader.query(`begin; select count(*) from workflow_events; select pg_sleep(${readerSeconds}); commit`);
    while (goOn()) await reader.query('begin; select count(*) from workflow_events; select pg_sleep(0.5); commit');
    await reader.end();
  };
  const passTime = async () => {
    while (goOn()) {
      // Advance the clock after a maintenance, which runs every hour.
      const ahead = await lines(
        db,
        `select 14 < all (select extract(day from max(o.upper) - engine.now())
           from partitions.managed_tables as p, partitions.of(p.parent) as o group by p.parent)`,
      );
      if (ahead[0] === 'true') now += LEAP_DAYS * DAY_MS;
      await freezeClock(db, new Date(now).toISOString());
      await delay(50);
    }
  };
  await Promise.all([insert(), insert(), maintain(), maintain(), retire(), read(), passTime()]);
  await writers.end();

  expect([...errors]).toEqual([]);
  expect(months()).toBeGreaterThanOrEqual(MONTHS);
  expect(left, 'partitions that left').toBeGreaterThan(0);
  await maintainPartitions(db.url('flowgres_maintenance'));
  await retirePartitions(db.url('flowgres_maintenance'));
  expect(await lines(db, `select "check", detail from partitions.doctor() where severity <> 'info'`)).toEqual([]);
  // No row outside of retired partitions is missing.
  expect(
    await lines(db, `select count(*) from workflow_runs as r where (select count(*) from workflow_events as e where e.run_id = r.id) <> 3`),
  ).toEqual(['0']);
}
