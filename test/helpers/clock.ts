/** Times for tests that stop the clock, valid on any day. */

const DAY_MS = 86_400_000;
const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** Returns the current day in UTC, such as 2026-11-21. */
export const today = (): string => dayOf(Date.now());

let tomorrow = dayOf(Date.now() + DAY_MS);

/** Computes tomorrow once per file, so that it does not change in a test that runs past midnight. */
export function fixTomorrow(): void {
  tomorrow = dayOf(Date.now() + DAY_MS);
}

/**
 * Returns a time of tomorrow in UTC, such as `tomorrowAt('12:00:00')`. Tomorrow has partitions, and times that
 * the queue or a session takes from the real clock are before it.
 */
export function tomorrowAt(time: string): Date {
  return new Date(`${tomorrow}T${time}Z`);
}
