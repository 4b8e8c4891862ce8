/** Moments for tests that stop the clock, right on whatever day they run. */

const DAY_MS = 86_400_000;
const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** The day in UTC, such as 2026-11-21. */
export const today = (): string => dayOf(Date.now());

// Once for the whole file: a test that runs past midnight keeps its tomorrow.
const tomorrow = dayOf(Date.now() + DAY_MS);

/**
 * A time of tomorrow in UTC, such as `tomorrowAt('12:00:00')`. Tomorrow has its partitions, and what the queue or a
 * session dates by the real clock is in its past.
 */
export function tomorrowAt(time: string): Date {
  return new Date(`${tomorrow}T${time}Z`);
}
