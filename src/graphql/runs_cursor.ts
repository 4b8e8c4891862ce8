/** How far a subscriber knows the runs of a workflow: the last one, and those that were not finished. */
import { requestError } from '../http/errors.ts';

/** Runs are committed in another order than their ids have; none so much later. */
const MARGIN_MS = 10_000;
const MAX_OPEN = 100;
const NIL = '00000000-0000-0000-0000-000000000000';
const FINAL = new Set(['success', 'error', 'canceled']);

export class RunsCursor {
  #last = NIL;
  /** Status of each run told of that is unfinished or near the last one; empty when only the cursor knows it. */
  readonly #notified = new Map<string, string>();

  /** Of its text: 16 bytes for the last run, 16 for each unfinished one. */
  static parse(text: string): RunsCursor {
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.length === 0 || bytes.length % 16 !== 0 || bytes.length > 16 * (MAX_OPEN + 1)) {
      throw requestError(400, 'INVALID_ARGUMENT', 'This is no cursor of the subscription workflowRuns.');
    }
    const ids = Array.from({ length: bytes.length / 16 }, (_, place) => formatUuid(bytes.subarray(place * 16, place * 16 + 16)));
    const cursor = new RunsCursor();
    cursor.#last = ids[0]!;
    for (const id of ids.slice(1)) cursor.#notified.set(id, '');
    return cursor;
  }

  toString(): string {
    return Buffer.from([this.#last, ...this.open].map((id) => id.replaceAll('-', '')).join(''), 'hex').toString('base64url');
  }

  /** Runs up to here need not be looked for any more. */
  get floor(): string {
    const time = Math.max(0, Number.parseInt(this.#last.replaceAll('-', '').slice(0, 12), 16) - MARGIN_MS);
    const hex = time.toString(16).padStart(12, '0');
    return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
  }

  /** Runs above the floor that were told of, in their order: subscribers that know the same ask the same. */
  get recent(): string[] {
    const { floor } = this;
    return [...this.#notified.keys()].filter((id) => id > floor).sort();
  }

  /** Unfinished runs that were told of, the newest of them. */
  get open(): string[] {
    return [...this.#notified]
      .filter(([, status]) => !FINAL.has(status))
      .map(([id]) => id)
      .sort()
      .slice(-MAX_OPEN);
  }

  isOpen(id: string): boolean {
    return this.#notified.has(id) && !FINAL.has(this.#notified.get(id)!);
  }

  /** Notes the status of a run; whether that is news. */
  tell(id: string, status: string): boolean {
    if (this.#notified.get(id) === status) return false;
    this.#notified.set(id, status);
    if (id > this.#last) this.#last = id;
    if (this.#notified.size > 2 * MAX_OPEN) this.#forget();
    return true;
  }

  #forget(): void {
    const { floor } = this;
    const open = new Set(this.open);
    for (const id of this.#notified.keys()) {
      if (id <= floor && !open.has(id)) this.#notified.delete(id);
    }
  }
}

function formatUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
