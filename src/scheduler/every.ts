/** Timers whose calls never overlap. */
import { setTimeout as delay } from 'node:timers/promises';

/** Milliseconds after the full second: allows for a small difference to the server's clock. */
const PAST_THE_SECOND_MS = 3;

/** Resolves at the next full second, or when `signal` aborts. */
export async function untilNextSecond(signal: AbortSignal): Promise<void> {
  await delay(1_000 - (Date.now() % 1_000) + PAST_THE_SECOND_MS, undefined, { signal }).catch(() => undefined);
}

/** Calls `work` at each full second unless the last call still runs. `work` handles its own errors. */
export function everySecond(work: () => Promise<void>): { stop(): void } {
  const stopped = new AbortController();
  const run = async () => {
    while (!stopped.signal.aborted) {
      await untilNextSecond(stopped.signal);
      if (!stopped.signal.aborted) await work();
    }
  };
  void run();
  return { stop: () => stopped.abort() };
}

/** Calls `work` every `ms` milliseconds, counted from the end of the last call. `work` handles its own errors. */
export function every(ms: number, work: () => Promise<void>): { stop(): void } {
  let stopped = false;
  let timer: NodeJS.Timeout;
  const next = () => {
    timer = setTimeout(async () => {
      await work();
      if (!stopped) next();
    }, ms);
  };
  next();
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
