/** Classifies failed statements, and maps them to FlowgresError. */
import pg from 'pg';
import type { RunError } from './types.ts';
import { FlowgresError, reasonOf } from '../errors.ts';

/** The statement was not sent, because there was no connection. */
export class NotSent extends Error {
  constructor(cause: unknown) {
    super(reasonOf(cause), { cause });
  }
}

/**
 * A failed statement. Its kinds:
 * - `not_sent`: nothing was executed;
 * - `unknown`: the connection was lost before the answer, so it may have been committed;
 * - `conflict`: rolled back because of another transaction; a repetition may succeed;
 * - `unable`: rolled back because of the server's state (disk full, read-only, a migration missing);
 * - `no_partition`: rolled back because a partition is missing, which can be created;
 * - `timed_out`: rolled back because it exceeded the statement timeout;
 * - `refused`: rolled back because of a request in the batch.
 */
export interface Failure {
  kind: 'not_sent' | 'unknown' | 'conflict' | 'unable' | 'no_partition' | 'timed_out' | 'refused';
  message: string;
  /** SQLSTATE, if the server reported one. */
  sqlstate: string | undefined;
  cause: unknown;
}

const QUERY_CANCELED = '57014';
const CONFLICTS = new Set(['40001', '40P01', '55P03']);
/** SQLSTATEs of missing resources, read-only servers, and a process and schema that do not fit each other. */
const UNABLE = /^(?:25006|53|57P|58|42)/;
/** Without a constraint name it means that no partition accepts the row. */
const CHECK_VIOLATION = '23514';

/** Classifies the error of a statement. */
export function classifyFailure(error: unknown): Failure {
  const message = reasonOf(error);
  const failure = { message, cause: error, sqlstate: undefined };
  if (error instanceof NotSent) return { ...failure, kind: 'not_sent' };
  // FATAL and PANIC end the connection at any time, also after a commit.
  if (!(error instanceof pg.DatabaseError) || error.severity !== 'ERROR') return { ...failure, kind: 'unknown' };
  const sqlstate = error.code ?? '';
  return { ...failure, sqlstate, kind: kindOf(sqlstate, error.constraint) };
}

function kindOf(sqlstate: string, constraint: string | undefined): Failure['kind'] {
  if (CONFLICTS.has(sqlstate)) return 'conflict';
  if (sqlstate === QUERY_CANCELED) return 'timed_out';
  if (UNABLE.test(sqlstate)) return 'unable';
  if (sqlstate === CHECK_VIOLATION && !constraint) return 'no_partition';
  return 'refused';
}

/** Whether the same batch may be sent again without executing a request twice. */
export function mayRepeat(failure: Failure, idempotent: boolean): boolean {
  return failure.kind === 'not_sent' || failure.kind === 'conflict' || (failure.kind === 'unknown' && idempotent);
}

/**
 * Returns UNAVAILABLE. `details.committed` is `no` when the statement was certainly not committed, else
 * `unknown`.
 */
export function unavailable(failure: Failure): FlowgresError {
  return new FlowgresError('UNAVAILABLE', 'The database is not available.', {
    hint: 'Try again in a moment.',
    details: { committed: failure.kind === 'unknown' ? 'unknown' : 'no' },
    cause: failure.cause,
  });
}

/** Whether the statement itself failed, so that it would fail again. */
export function isLasting(failure: Failure): boolean {
  return failure.kind === 'refused' || failure.kind === 'timed_out';
}

/**
 * Returns the error for a request that fails every time when sent alone: the one that the schema raised, else
 * REFUSED.
 */
export function refused(failure: Failure): FlowgresError {
  return (
    raisedError(failure) ??
    new FlowgresError('REFUSED', `The database refuses the request every time: ${failure.message}`, {
      details: { sqlstate: failure.sqlstate },
      cause: failure.cause,
    })
  );
}

/** Returns UNREADABLE: the request was executed, but its answer cannot be parsed. */
export function unreadable(name: string, cause: unknown): FlowgresError {
  return new FlowgresError('UNREADABLE', `The answer of ${name} cannot be read.`, { cause });
}

/** Returns the error that `private.raise_error` raised; undefined for any other failure. */
export function raisedError(failure: Failure): FlowgresError | undefined {
  if (!failure.sqlstate?.startsWith('WF') || !(failure.cause instanceof pg.DatabaseError)) return undefined;
  const { detail, hint } = failure.cause;
  const { code, ...details } = JSON.parse(detail ?? '{}') as { code?: string };
  return requestError({ code: code ?? failure.sqlstate, message: failure.message, hint, details });
}

/** Returns the engine's answer to one failed request as an error. */
export function requestError(error: RunError): FlowgresError {
  return new FlowgresError(error.code, error.message, {
    ...(error.hint ? { hint: error.hint } : {}),
    ...(error.details ? { details: error.details } : {}),
  });
}
