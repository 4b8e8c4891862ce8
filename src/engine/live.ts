/**
 * Receives the engine's notifications of changed runs: one LISTEN connection per process, shared by all
 * subscribers.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { z } from 'zod';
import { connect } from '../database/connections.ts';

/** Ids of changed runs or of their workflows; `many` means that any of them may have changed. */
export type Changes = readonly string[] | 'many';
/** Called with the runs that have changed and the workflows that they belong to. */
export type Listener = (runs: Changes, workflows: Changes) => void;

const ids = z.union([z.array(z.string()), z.literal('many')]);
const notification = z.object({ runs: ids, workflows: ids });
const ANYTHING = { runs: 'many', workflows: 'many' } as const;

/**
 * Interval of heartbeats in milliseconds. The engine sends nothing while no listener's heartbeat is younger
 * than 15 s.
 */
const HEARTBEAT_MS = 5_000;
const RECONNECT_MS = [100, 500, 1_000, 2_000, 5_000];

/**
 * Listens while there are subscribers. A notification is only a hint: a subscriber reads again under its own
 * rights, and also reads every few seconds, so a lost connection delays changes but loses none.
 */
export class LiveRuns {
  readonly #connectionString: string;
  readonly #id = randomUUID();
  readonly #listeners = new Set<Listener>();
  readonly #closed = new AbortController();
  #running: Promise<void> | undefined;
  /** Ends the pause between two heartbeats. */
  #wake: () => void = () => undefined;

  /** @param connectionString logs in as a role that may call engine.listen: flowgres_api or flowgres_intake */
  constructor(connectionString: string) {
    this.#connectionString = connectionString;
  }

  /** Calls `listener` for changed runs until the returned function is called. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    // Send the first heartbeat at once: the engine sends nothing before it.
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

  /** Resolves when this object is closed; rejects when the connection is lost. */
  async #listen(client: pg.Client): Promise<void> {
    client.on('notification', ({ payload }) => this.#tell(parse(payload)));
    const lost = new Promise<never>((_, reject) => client.once('end', () => reject(new Error('connection lost'))));
    lost.catch(() => undefined);
    await client.query('listen flowgres_runs');
    let beating = false;
    while (!this.#closed.signal.aborted) {
      if (this.#listeners.size > 0) {
        await client.query('select engine.listen($1)', [this.#id]);
        // From here on no change is missed. Listeners read once for what has changed before.
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
