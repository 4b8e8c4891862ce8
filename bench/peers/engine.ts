/** What each engine must do to be compared. Every call happens in a process of its own. */
import { setTimeout as delay } from 'node:timers/promises';
import { createPool } from '../../src/database/connections.ts';

/** A workflow of so many steps in a row; each is recorded by itself. */
export interface Work {
  /** An effect is executed by a worker. A pure node may be computed where the engine likes; the others make it a step as well. */
  kind: 'effect' | 'pure';
  steps: number;
}

export interface Setup {
  /** Connection string of the engine's own database, as administrator. */
  databaseUrl: string;
  /** Flowgres only: what was published for the work, and for whom. */
  organizationId?: string;
  workflowId?: string;
  /** Milliseconds that a step takes; 0 when not given. */
  stepMs?: number;
}

export interface Engine {
  /** Installs its schema, once. */
  install(setup: Setup): Promise<void>;
  /** Makes runs wait; an engine without a queue has nothing to do. */
  fill(setup: Setup, work: Work, runs: number): Promise<void>;
  /** Executes what waits, or as many runs, until the last is done; answers with the seconds of that. */
  drain(setup: Setup, work: Work, runs: number): Promise<number>;
  /** Milliseconds from start to finish of runs that are alone on the system. */
  latency(setup: Setup, work: Work, samples: number): Promise<number[]>;
  /** The query that counts unfinished runs, for the crash; none where an engine keeps no runs. */
  unfinished?: string;
}

/** Waits until the database knows of no unfinished run: an engine's function ends before that is recorded. */
export async function untilNone(setup: Setup, unfinished: string): Promise<void> {
  const pool = createPool(setup.databaseUrl, { name: 'bench', max: 1 });
  while ((await pool.query<{ count: number }>(unfinished)).rows[0]!.count > 0) await delay(10);
  await pool.end();
}

let working = false;

/** The step of every engine; one that takes time tells the parent when the first has begun. */
export async function step(setup: Setup): Promise<{ done: true }> {
  if (setup.stepMs) {
    if (!working) process.send?.({ working: true });
    working = true;
    await delay(setup.stepMs);
  }
  return { done: true };
}

/** Calls `work` so many times, so many at once; answers with the seconds. */
export async function inFlight(calls: number, atOnce: number, work: (index: number) => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (next < calls) await work(next++);
    }),
  );
  return (performance.now() - startedAt) / 1000;
}

/** Milliseconds of calls, one after the other; the first tenth is for warming up. */
export async function oneByOne(samples: number, work: () => Promise<unknown>): Promise<number[]> {
  const all: number[] = [];
  for (let call = 0; call < samples * 1.1; call += 1) {
    const startedAt = performance.now();
    await work();
    all.push(performance.now() - startedAt);
  }
  return all.slice(-samples);
}
