import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LIMITS } from '../../src/constants.ts';
import { SharedSlots } from '../../src/engine/slots.ts';
import { FairQueue } from '../../src/limits/fair_queue.ts';

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const PLACES = {
  'of a queue': () => {
    const queue = new FairQueue({ total: 1, maxWaiting: 10, maxWaitMs: 60_000 });
    return (work: () => Promise<unknown>) => queue.use('a', work);
  },
  'of an owner': () => {
    const slots = new SharedSlots(1);
    return (work: () => Promise<unknown>) => slots.use('a', work);
  },
};

for (const [name, create] of Object.entries(PLACES)) {
  /** Lets one call take so long, and returns how much later the next one began. */
  const waitAfter = async (ms: number): Promise<number> => {
    const use = create();
    const first = use(() => new Promise((resolve) => setTimeout(resolve, ms)));
    let begun = Number.NaN;
    const second = use(async () => {
      begun = Date.now();
    });
    await vi.advanceTimersByTimeAsync(ms);
    await first;
    const ended = Date.now();
    await vi.advanceTimersByTimeAsync(LIMITS.rest.mostMs);
    await second;
    return begun - ended;
  };

  test(`a place ${name} rests after slow work for as long as the work took, at most ${LIMITS.rest.mostMs} ms`, async () => {
    expect(await waitAfter(LIMITS.rest.afterMs)).toBe(0);
    expect(await waitAfter(400)).toBe(400);
    expect(await waitAfter(30_000)).toBe(LIMITS.rest.mostMs);
  });

  test(`slow work ${name} is answered before its place rests`, async () => {
    const answer = create()(() => new Promise((resolve) => setTimeout(() => resolve('yes'), 3_000)));
    await vi.advanceTimersByTimeAsync(3_000);
    await expect(answer).resolves.toBe('yes');
  });
}
