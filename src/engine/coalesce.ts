/**
 * Coalescing: concurrent calls of one process become one batch, and with it one transaction.
 *
 * Nobody waits without a reason. With nothing in flight a call goes at the end of the current turn of the event loop;
 * behind one batch in flight it waits for that batch's end, for a full batch, or 5 ms; behind two, for the end of either.
 */
import { FlowgresError } from '../errors.ts';

export interface CoalesceOptions {
  /** Most requests in a batch. */
  maxRequests?: number;
  /** Most characters of encoded requests in a batch; one larger request goes alone. */
  maxSize?: number;
  /** How long a request waits behind a batch in flight while another may start, in milliseconds. */
  maxDelayMs?: number;
  /** Batches in flight at a time. */
  maxInFlight?: number;
  /** Requests of one owner that have no answer yet, and their characters; more are refused. No limit when not given. */
  ofOwner?: OwnerLimits;
}

export interface OwnerLimits {
  requests: number;
  size: number;
}

/** When to come again after a refusal, in milliseconds. */
const RETRY_AFTER_MS = 1_000;

/** A request of a batch, encoded as JSON, and whose it is: owners get equal parts of a batch. */
export interface BatchRequest {
  text: string;
  owner: string;
}

/**
 * Handles a batch: one result per request, in the order of the requests. One that is a promise is still worked on, by
 * itself: the others do not wait for it, nor does the next batch. Rejecting rejects all of them.
 */
export type BatchHandler<Answer> = (requests: BatchRequest[]) => Promise<(PromiseSettledResult<Answer> | Promise<Answer>)[]>;

interface Waiting<Answer> extends BatchRequest {
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

const UNLIMITED: OwnerLimits = { requests: Number.POSITIVE_INFINITY, size: Number.POSITIVE_INFINITY };

/** Collects requests, each already encoded as JSON, and hands them on in batches. */
export class Coalescer<Answer> {
  readonly #handle: BatchHandler<Answer>;
  readonly #limits: Required<CoalesceOptions>;
  /** Of each owner that has requests without an answer. */
  readonly #open = new Map<string, { requests: number; size: number }>();
  #queue: Waiting<Answer>[] = [];
  #inFlight = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(handle: BatchHandler<Answer>, options: CoalesceOptions = {}) {
    this.#handle = handle;
    this.#limits = { maxRequests: 100, maxSize: 4 * 1024 * 1024, maxDelayMs: 5, maxInFlight: 2, ofOwner: UNLIMITED, ...options };
  }

  /** The answer to one request. Throws RATE_LIMITED, before anything is sent, when the owner has too many without an answer. */
  async call(text: string, owner = ''): Promise<Answer> {
    const { requests, size } = this.#limits.ofOwner;
    const open = this.#open.get(owner) ?? { requests: 0, size: 0 };
    if (open.requests > 0 && (open.requests >= requests || open.size + text.length > size)) throw tooMany();
    open.requests += 1;
    open.size += text.length;
    this.#open.set(owner, open);
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#queue.push({ text, owner, resolve, reject });
        this.#schedule();
      });
    } finally {
      open.requests -= 1;
      open.size -= text.length;
      if (open.requests === 0) this.#open.delete(owner);
    }
  }

  #schedule(): void {
    const { maxInFlight, maxRequests, maxDelayMs } = this.#limits;
    if (this.#inFlight >= maxInFlight) return;
    if (this.#inFlight === 0 || this.#queue.length >= maxRequests) {
      // Not at once: other sockets of this round may bring requests for the same batch.
      this.#scheduled ??= setImmediate(() => this.#send());
    } else {
      this.#timer ??= setTimeout(() => this.#send(), maxDelayMs);
    }
  }

  #send(): void {
    clearImmediate(this.#scheduled);
    clearTimeout(this.#timer);
    this.#scheduled = undefined;
    this.#timer = undefined;
    if (!this.#queue.length || this.#inFlight >= this.#limits.maxInFlight) return;
    const batch = this.#nextBatch();
    this.#inFlight += 1;
    void this.#settle(batch);
    if (this.#queue.length) this.#schedule();
  }

  async #settle(batch: Waiting<Answer>[]): Promise<void> {
    let results: (PromiseSettledResult<Answer> | Promise<Answer>)[] = [];
    let failure: unknown = new Error('The batch has no answer for this request.');
    try {
      results = await this.#handle(batch);
    } catch (error) {
      failure = error;
    }
    this.#inFlight -= 1;
    batch.forEach((waiting, index) => {
      const result = results[index] ?? { status: 'rejected', reason: failure };
      if (result instanceof Promise) result.then(waiting.resolve, waiting.reject);
      else if (result.status === 'fulfilled') waiting.resolve(result.value);
      else waiting.reject(result.reason);
    });
    if (this.#queue.length) this.#schedule();
  }

  /** The oldest requests; when not all fit in, each owner's part is equal, so that one with many delays no other. */
  #nextBatch(): Waiting<Answer>[] {
    const { maxRequests, maxSize } = this.#limits;
    const order = this.#queue.length <= maxRequests ? this.#queue : roundRobin(this.#queue);
    let size = 0;
    let count = 0;
    for (const { text } of order) {
      size += text.length;
      if (count === maxRequests || (count > 0 && size > maxSize)) break;
      count += 1;
    }
    const batch = order.slice(0, count);
    if (order === this.#queue) {
      this.#queue = this.#queue.slice(count);
    } else {
      const inBatch = new Set(batch);
      this.#queue = this.#queue.filter((waiting) => !inBatch.has(waiting));
    }
    return batch;
  }
}

/** The first of each owner, then the second of each, and so on. */
function roundRobin<T extends { owner: string }>(queue: readonly T[]): T[] {
  const counts = new Map<string, number>();
  const rounds: T[][] = [];
  for (const waiting of queue) {
    const round = counts.get(waiting.owner) ?? 0;
    counts.set(waiting.owner, round + 1);
    const others = rounds[round];
    if (others) others.push(waiting);
    else rounds.push([waiting]);
  }
  return rounds.flat();
}

function tooMany(): FlowgresError {
  return new FlowgresError('RATE_LIMITED', 'Too many requests of the organization wait.', {
    hint: 'Nothing was started. Wait for retryAfterMs, and send fewer at a time.',
    details: { retryAfterMs: RETRY_AFTER_MS },
  });
}
