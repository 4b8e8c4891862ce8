/** Errors that a person is meant to read: one line of what happened, one of what to do. */

export interface ErrorOptions {
  /** What the reader can do about it. */
  hint?: string;
  /** Structured facts for programs, for example `{ limit: 100 }`. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** A failure with a stable code, e.g. `PORT_IN_USE`. */
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
