/** Changes of runs, as the engine sends them: one LISTEN connection per process, shared by everybody who waits. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { connect } from '../database/connections.ts';

/** Ids, of runs that have changed or of their workflows, or `many`: any of them may have. */
export type Changes = readonly string[] | 'many';
/** Hears which runs have changed, and which workflows they are of. */
export type Listener = (runs: Changes, workflows: Changes) => void;

const ids = z.union([z.array(z.string()), z.literal('many')]);
const notification = z.object({ runs: ids, workflows: ids });
const ANYTHING = { runs: 'many', workflows: 'many' } as const;

/** The engine sends nothing when nobody's heartbeat is younger than 15 s. */
const HEARTBEAT_MS = 5_000;
const RECONNECT_MS = [100, 500, 1_000, 2_000, 5_000];

/**
 * Listens while there is somebody to tell. A notification is a hint, never the news itself: whoever hears one reads again
 * under its own rights, and reads every few seconds anyway, so that a lost connection delays and loses nothing.
 */
export class LiveRuns {
  readonly #connectionString: string;
  readonly #id = randomUUID();
  readonly #listeners = new Set<Listener>();
  readonly #closed = new AbortController();
  #running: Promise<void> | undefined;
  /** Ends the pause between two heartbeats. */
  #wake: () => void = () => undefined;

  /** @param connectionString of a role that may call engine.listen: flowgres_api or flowgres_intake */
  constructor(connectionString: string) {
    this.#connectionString = connectionString;
  }

  /** Tells `listener` of changed runs until the returned function is called. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    // The first one must not wait for the next turn: until there is a heartbeat, nothing is sent.
    if (this.#listeners.size === 1) this.#wake();
    if (!this.#closed.signal.aborted) this.#running ??= this.#run();
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#listeners.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#closed.signal.aborted; ) {
      const client = await connect(this.#connectionString).catch(() => undefined);
      if (client) {
        failures = 0;
        await this.#listen(client).catch(() => undefined);
        await client.end().catch(() => undefined);
      }
      await this.#pause(RECONNECT_MS[Math.min(failures++, RECONNECT_MS.length - 1)]!);
    }
  }

  /** Returns when this is closed; throws when the connection is lost. */
  async #listen(client: pg.Client): Promise<void> {
    client.on('notification', ({ payload }) => this.#tell(parse(payload)));
    const lost = new Promise<never>((_, reject) => client.once('end', () => reject(new Error('connection lost'))));
    lost.catch(() => undefined);
    await client.query('listen flowgres_runs');
    let beating = false;
    while (!this.#closed.signal.aborted) {
      if (this.#listeners.size > 0) {
        await client.query('select engine.listen($1)', [this.#id]);
        // From now on nothing is missed; what happened before is found by reading once.
        if (!beating) this.#tell(ANYTHING);
      } else if (beating) {
        await client.query('select engine.unlisten($1)', [this.#id]);
      }
      beating = this.#listeners.size > 0;
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([this.#pause(HEARTBEAT_MS), lost, woken]);
    }
    if (beating) await client.query('select engine.unlisten($1)', [this.#id]);
  }

  #tell({ runs, workflows }: z.infer<typeof notification>): void {
    for (const listener of this.#listeners) listener(runs, workflows);
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#closed.signal, ref: false }).catch(() => undefined);
  }
}

function parse(payload: string | undefined): z.infer<typeof notification> {
  try {
    return notification.parse(JSON.parse(payload ?? ''));
  } catch {
    return ANYTHING;
  }
}
