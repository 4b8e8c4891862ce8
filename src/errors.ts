/** FlowgresError: errors for users, with one line for what happened and one for what to do. */

/** Further properties of a FlowgresError. */
export interface ErrorOptions {
  /** What the reader can do about the failure. */
  hint?: string;
  /** Structured facts for programs, for example `{ limit: 100 }`. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** A failure with a stable code such as `PORT_IN_USE`, listed in docs/reference/errors.md. */
export class FlowgresError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FlowgresError';
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }
}

/** Returns why something failed, in words, whatever was thrown. */
export function reasonOf(error: unknown): string {
  // An AggregateError holds one failure per address of a host and has no message of its own.
  if (error instanceof AggregateError && !error.message) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
