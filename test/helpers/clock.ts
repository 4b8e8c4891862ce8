/** Moments for tests that stop the clock, right on whatever day they run. */

const DAY_MS = 86_400_000;
// Once for the whole file: a test that runs past midnight keeps its tomorrow.
const tomorrow = new Date(Date.now() + DAY_MS).toISOString().slice(0, 10);

/**
 * A time of tomorrow in UTC, such as `tomorrowAt('12:00:00')`. Tomorrow has its partitions, and what the queue or a
 * session dates by the real clock is in its past.
 */
export function tomorrowAt(time: string): Date {
  return new Date(`${tomorrow}T${time}Z`);
}
