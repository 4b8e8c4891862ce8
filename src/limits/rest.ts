/**
 * Slow work rests: whoever held a place of a shared resource for long leaves it empty for as long again. Slow
 * statements of one caller then take at most half of the time of its places, and the rest of the machine, such
 * as the processors of the database, answers others meanwhile.
 */
import { LIMITS } from '../constants.ts';

/** Returns how long a place rests after work of `ms` milliseconds, in milliseconds; 0 after quick work. */
export function restOf(ms: number): number {
  return ms > LIMITS.rest.afterMs ? Math.min(ms, LIMITS.rest.mostMs) : 0;
}

/** Calls `work`, and `release` when the work has ended and its place has rested. Settles as `work` does, at once. */
export async function useThenRest<T>(work: () => Promise<T>, release: () => void): Promise<T> {
  const startedAt = performance.now();
  try {
    return await work();
  } finally {
    const rest = restOf(performance.now() - startedAt);
    // A process that ends does not wait for a place to rest.
    if (rest > 0) setTimeout(release, rest).unref();
    else release();
  }
}
