/** The cursor of `workflowRuns`: the last run that a subscriber knows, and the known runs that were unfinished. */
import { requestError } from '../http/errors.ts';

/** Runs may be committed in another order than that of their ids, but at most this many milliseconds later. */
const MARGIN_MS = 10_000;
const MAX_OPEN = 100;
const NIL = '00000000-0000-0000-0000-000000000000';
const FINAL = new Set(['success', 'error', 'canceled']);

/** What one subscriber knows of the runs of a workflow. */
export class RunsCursor {
  #last = NIL;
  /**
   * Status of each sent run that is unfinished or close to the last one; empty when only the cursor's text
   * lists the run.
   */
  readonly #notified = new Map<string, string>();

  /**
   * Parses a cursor: base64 with 16 bytes for the last run and 16 for each unfinished one. Throws
   * INVALID_ARGUMENT.
   */
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

  /** All runs with smaller ids are known. */
  get floor(): string {
    const time = Math.max(0, Number.parseInt(this.#last.replaceAll('-', '').slice(0, 12), 16) - MARGIN_MS);
    const hex = time.toString(16).padStart(12, '0');
    return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
  }

  /** Sent runs above the floor, sorted, so that subscribers in the same state send the same query. */
  get recent(): string[] {
    const { floor } = this;
    return [...this.#notified.keys()].filter((id) => id > floor).sort();
  }

  /** The newest unfinished runs that were sent. */
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

  /** Records the status of a run. Returns whether it has changed. */
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
