/** Timers that never overlap. */
import { setTimeout as delay } from 'node:timers/promises';

/** The server's clock and ours agree well enough that a little later it is that second there as well. */
const PAST_THE_SECOND_MS = 3;

/** Resolves when the next second of the clock has begun, or as soon as `signal` aborts. */
export async function untilNextSecond(signal: AbortSignal): Promise<void> {
  await delay(1_000 - (Date.now() % 1_000) + PAST_THE_SECOND_MS, undefined, { signal }).catch(() => undefined);
}

/** Calls `work` at the beginning of each second that it is not still at work in. `work` handles its own errors. */
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

/** Calls `work` every `ms`, counted from the end of the call before. `work` handles its own errors. */
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
