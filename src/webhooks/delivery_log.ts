/**
 * The list of requests to webhooks, written in batches after the answers: no request waits for it. Entries that
 * cannot be written, or are more than an organization's share, are lost.
 */
import type { Engine, WebhookDelivery } from '../engine/engine.ts';
import { LIMITS } from '../constants.ts';

const FLUSH_MS = 1_000;
const MAX_ENTRIES = LIMITS.webhooks.deliveriesWaiting;
const OF_ORGANIZATION = LIMITS.webhooks.deliveriesPerFlush;

/** Collects deliveries and writes them once a second. */
export class DeliveryLog {
  readonly #engine: Pick<Engine, 'logDeliveries'>;
  readonly #onProblem: (message: string, error: unknown) => void;
  readonly #counts = new Map<string, number>();
  #entries: WebhookDelivery[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(engine: Pick<Engine, 'logDeliveries'>, onProblem: (message: string, error: unknown) => void) {
    this.#engine = engine;
    this.#onProblem = onProblem;
  }

  /** Adds a delivery, unless its organization has added too many in this second. */
  add(entry: WebhookDelivery): void {
    const count = (this.#counts.get(entry.organizationId) ?? 0) + 1;
    this.#counts.set(entry.organizationId, count);
    if (count > OF_ORGANIZATION || this.#entries.length >= MAX_ENTRIES) return;
    this.#entries.push(entry);
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  /** Writes the remaining entries. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    this.#timer = undefined;
    this.#counts.clear();
    const entries = this.#entries;
    if (!entries.length) return;
    this.#entries = [];
    this.#writing = this.#engine
      .logDeliveries(entries)
      .catch((error: unknown) => this.#onProblem('The list of webhook deliveries could not be written.', error));
  }
}
