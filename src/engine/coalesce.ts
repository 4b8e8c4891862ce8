/**
 * Coalesces concurrent calls of one process into batches, each of which is one transaction.
 *
 * A call with no batch in flight is sent at the end of the current iteration of the event loop. Behind one
 * batch in flight it waits until that batch ends, until a batch is full, or 5 ms; behind two, until one of them
 * ends.
 */
import { FlowgresError } from '../errors.ts';

/** Limits of a {@link Coalescer}. */
export interface CoalesceOptions {
  /** Most requests in a batch; 100 when not given. */
  maxRequests?: number;
  /** Most characters of encoded requests in a batch, 4 Mi when not given; a larger request is sent alone. */
  maxSize?: number;
  /** How long a request waits behind a batch in flight while another may start, in milliseconds; 5 when not given. */
  maxDelayMs?: number;
  /** Batches in flight at a time; 2 when not given. */
  maxInFlight?: number;
  /**
   * Requests of one owner without an answer, and their characters; further ones are refused. No limit when not
   * given.
   */
  ofOwner?: OwnerLimits;
}

/** Limits of one owner: requests without an answer, and their characters in all. */
export interface OwnerLimits {
  requests: number;
  size: number;
}

/** Value of retryAfterMs in a refusal. */
const RETRY_AFTER_MS = 1_000;

/** A request encoded as JSON, and its owner: owners get equal parts of a batch. */
export interface BatchRequest {
  text: string;
  owner: string;
}

/**
 * Handles a batch. Returns one result per request, in the order of the requests. A result that is a promise is
 * still in progress: neither the other requests nor the next batch wait for it. A rejection rejects all
 * requests.
 */
export type BatchHandler<Answer> = (requests: BatchRequest[]) => Promise<(PromiseSettledResult<Answer> | Promise<Answer>)[]>;

interface Waiting<Answer> extends BatchRequest {
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

const UNLIMITED: OwnerLimits = { requests: Number.POSITIVE_INFINITY, size: Number.POSITIVE_INFINITY };

/** Collects requests and passes them on in batches. */
export class Coalescer<Answer> {
  readonly #handle: BatchHandler<Answer>;
  readonly #limits: Required<CoalesceOptions>;
  /** Requests and characters of each owner that have no answer yet. */
  readonly #open = new Map<string, { requests: number; size: number }>();
  #queue: Waiting<Answer>[] = [];
  #inFlight = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(handle: BatchHandler<Answer>, options: CoalesceOptions = {}) {
    this.#handle = handle;
    this.#limits = { maxRequests: 100, maxSize: 4 * 1024 * 1024, maxDelayMs: 5, maxInFlight: 2, ofOwner: UNLIMITED, ...options };
  }

  /**
   * Resolves to the answer to one request, encoded as JSON in `text`.
   *
   * @throws FlowgresError RATE_LIMITED, before anything is sent, when the owner has too many requests without
   *   an answer
   */
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
      // Not immediately: other sockets may deliver requests for the same batch in this iteration of the event
      // loop.
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

  /**
   * Takes the oldest requests from the queue. When not all fit, each owner gets an equal part, so that an owner
   * with many requests delays no other.
   */
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

/** The first request of each owner, then the second of each, and so on. */
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
