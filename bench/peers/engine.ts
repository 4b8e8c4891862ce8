/** The interface of the compared engines. Every call runs in a process of its own. */
import { setTimeout as delay } from 'node:timers/promises';
import { createPool } from '../../src/database/connections.ts';

/** A workflow of `steps` successive steps, each recorded. */
export interface Work {
  /**
   * An `effect` is executed by a worker. The engine may compute a `pure` node anywhere; the other engines make
   * it a step, too.
   */
  kind: 'effect' | 'pure';
  steps: number;
}

/** What a call of an engine gets. */
export interface Setup {
  /** Connection string of the engine's database as administrator. */
  databaseUrl: string;
  /** Of Flowgres only: the published workflow and its organization. */
  organizationId?: string;
  workflowId?: string;
  /** Duration of a step in milliseconds; 0 when not given. */
  stepMs?: number;
}

/** One engine. */
export interface Engine {
  /** Installs its schema, once. */
  install(setup: Setup): Promise<void>;
  /** Creates waiting runs; does nothing for an engine without a queue. */
  fill(setup: Setup, work: Work, runs: number): Promise<void>;
  /** Executes the waiting runs, or as many new ones. Resolves to the seconds until the last has ended. */
  drain(setup: Setup, work: Work, runs: number): Promise<number>;
  /** Resolves to the milliseconds from start to end of runs, one at a time. */
  latency(setup: Setup, work: Work, samples: number): Promise<number[]>;
  /** The query that counts unfinished runs after a crash; not given for an engine that stores no runs. */
  unfinished?: string;
}

/** Waits until the database has no unfinished run: an engine's function ends before that is recorded. */
export async function untilNone(setup: Setup, unfinished: string): Promise<void> {
  const pool = createPool(setup.databaseUrl, { name: 'bench', max: 1 });
  while ((await pool.query<{ count: number }>(unfinished)).rows[0]!.count > 0) await delay(10);
  await pool.end();
}

let working = false;

/** The step of every engine. If it takes time, it tells the parent when the first one has begun. */
export async function step(setup: Setup): Promise<{ done: true }> {
  if (setup.stepMs) {
    if (!working) process.send?.({ working: true });
    working = true;
    await delay(setup.stepMs);
  }
  return { done: true };
}

/** Calls `work` `calls` times, `atOnce` at a time. Resolves to the seconds. */
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

/** Resolves to the milliseconds of successive calls, after a tenth of them as warm-up. */
export async function oneByOne(samples: number, work: () => Promise<unknown>): Promise<number[]> {
  const all: number[] = [];
  for (let call = 0; call < samples * 1.1; call += 1) {
    const startedAt = performance.now();
    await work();
    all.push(performance.now() - startedAt);
  }
  return all.slice(-samples);
}
