/** Maintenance and retirement of partitions while others write and read, through months and years. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { connect } from '../../src/database.ts';
import { maintainPartitions, retirePartitions } from '../../src/ops/partitions.ts';
import type { TestDatabase } from './database.ts';
import { createLog, freezeClock, lines } from './partitions.ts';

const DAY_MS = 864e5;
/** The clock goes this far at a time; three whole months are always made ahead. */
const LEAP_DAYS = 6;
/** Why something is left to the next time. */
const LATER = /held a lock for too long|Another session is at it|is still on its way out|due to lock timeout|already pending detach/;

export interface SoakOptions {
  seconds: number;
  /** How long the first reader stays. */
  readerSeconds: number;
}

/**
 * Two maintainers, two inserters, a retirement and a reader at once, with the clock crossing months: no insert fails or
 * waits for long, nobody errs, and nothing is missing in the end.
 */
export async function soakPartitions(db: TestDatabase, { seconds, readerSeconds }: SoakOptions): Promise<void> {
  const begin = Date.now();
  let now = begin;
  await freezeClock(db, new Date(now).toISOString());
  const { addRun } = await createLog(db);
  await db.admin.query(`update partitions.policies set retention = '5 months' where retention > '5 months'`);
  const end = performance.now() + seconds * 1000;
  const goOn = () => performance.now() < end;

  let inserted = 0;
  let slowest = 0;
  const insert = async () => {
    while (goOn()) {
      const at = new Date(now).toISOString();
      const started = performance.now();
      await addRun(at, [at, at, at]);
      slowest = Math.max(slowest, performance.now() - started);
      inserted += 1;
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
  let left = 0;
  const retire = async () => {
    while (goOn()) {
      const actions = await retirePartitions(db.url('flowgres_maintenance'), { lockTimeoutMs: 1000 });
      note(actions);
      left += actions.filter(({ action, done }) => action === 'drop' && done).length;
      // While it waits for a reader nobody maintains that table; they must get their turn.
      await delay(1000);
    }
  };
  const read = async () => {
    const reader = await connect(db.adminUrl);
    // One long reader, then short ones: only those let a concurrent detach come to its end.
    await reader.query(`begin; select count(*) from workflow_events; select pg_sleep(${readerSeconds}); commit`);
    while (goOn()) await reader.query('begin; select count(*) from workflow_events; select pg_sleep(0.5); commit');
    await reader.end();
  };
  const passTime = async () => {
    while (goOn()) {
      // Time passes when maintenance has had its turn, as it has every hour.
      const ahead = await lines(
        db,
        `select 14 < all (select extract(day from max(o.upper) - engine.now())
           from partitions.policies as p, partitions.of(p.parent) as o group by p.parent)`,
      );
      if (ahead[0] === 'true') now += LEAP_DAYS * DAY_MS;
      await freezeClock(db, new Date(now).toISOString());
      await delay(50);
    }
  };
  await Promise.all([insert(), insert(), maintain(), maintain(), retire(), read(), passTime()]);

  const months = Math.round((now - begin) / DAY_MS / 30);
  expect([...errors]).toEqual([]);
  expect(inserted).toBeGreaterThan(seconds * 10);
  expect(months).toBeGreaterThanOrEqual(Math.min(seconds / 4, 6));
  expect(left, 'partitions that left').toBeGreaterThan(0);
  expect(slowest).toBeLessThan(1500);
  await maintainPartitions(db.url('flowgres_maintenance'));
  await retirePartitions(db.url('flowgres_maintenance'));
  expect(await lines(db, `select "check", detail from partitions.doctor() where severity <> 'info'`)).toEqual([]);
  // Of what was not retired nothing is missing.
  expect(
    await lines(db, `select count(*) from workflow_runs as r where (select count(*) from workflow_events as e where e.run_id = r.id) <> 3`),
  ).toEqual(['0']);
}
