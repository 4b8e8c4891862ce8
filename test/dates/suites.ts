/** The test files that a date can break. */
import { glob, readFile } from 'node:fs/promises';

/** What reads or stops a clock, makes partitions, or computes with dates. */
const TOUCHES_TIME = /Date\.now|new Date\(|\bnow\(\)|clock_timestamp|current_date|tomorrowAt|freeze|databaseAt|interval '/;

/**
 * Those that are run at each date by default, some minutes in all: for each way in which the product uses the clock the
 * quickest file that does. `DATES_SUITES=all` runs every file that touches time, which takes as long as `npm test` for each.
 */
const CHOSEN = [
  // Days, weeks, months and years of partitions, and who makes them in time.
  'test/sql/10_partitions/catalog/periods.test.ts',
  'test/sql/10_partitions/create/maintain.test.ts',
  'test/sql/40_runs/event_partitions.test.ts',
  'test/concurrency/month_change.test.ts',
  // Sealed days, counted months, terms.
  'test/sql/15_audit/seals.test.ts',
  'test/sql/25_plans/admission.test.ts',
  'test/sql/25_plans/subscriptions.test.ts',
  // Timers, windows, leases and keys beside the real clock of the queue.
  'test/sql/50_engine/start/start.test.ts',
  'test/sql/50_engine/flow_control/flow.test.ts',
  'test/sql/50_engine/waits/waits.test.ts',
  'test/sql/50_engine/commands/pause.test.ts',
  'test/sql/50_engine/waits/signals.test.ts',
  'test/sql/50_engine/recovery/recover.test.ts',
  // Schedules and jobs.
  'test/sql/00_foundation/clock.test.ts',
  'test/sql/00_foundation/cron.test.ts',
  'test/sql/60_triggers/schedules.test.ts',
  'test/sql/60_triggers/slow_schedules.test.ts',
  'test/sql/70_cron/queue.test.ts',
  'test/sql/70_cron/maintenance.test.ts',
  // What is looked at by time, and what ends with it.
  'test/sql/30_workflows/filters/dates.test.ts',
  'test/sql/90_monitor/invariants.test.ts',
  'test/sql/95_api/organizations/invitations.test.ts',
  'test/sql/95_api/organizations/organizations.test.ts',
  'test/api/access_log.test.ts',
  'test/docs/nodes.test.ts',
];

/** Paths of the test files to run at each date. */
export async function suitesThatTouchTime(): Promise<string[]> {
  if (process.env['DATES_SUITES'] !== 'all') return CHOSEN;
  const paths: string[] = [];
  for await (const path of glob('test/**/*.test.ts')) {
    if (/^test\/(system|chaos|dates)\//.test(path)) continue;
    if (TOUCHES_TIME.test(await readFile(path, 'utf8'))) paths.push(path);
  }
  return paths.toSorted();
}
