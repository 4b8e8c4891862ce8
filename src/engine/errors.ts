/** What a failed statement means for the requests in it. */
import pg from 'pg';
import type { RunError } from './types.ts';
import { FlowgresError } from '../errors.ts';

/** The statement never left this process: there was no connection. */
export class NotSent extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/**
 * - `not_sent`: nothing happened;
 * - `unknown`: the connection was lost before the answer, so it may have been committed;
 * - `conflict`: rolled back because of another transaction, worth trying again;
 * - `unable`: rolled back because of the server's state (disk full, read-only, a migration missing);
 * - `no_partition`: rolled back because there is none for now, which can be mended;
 * - `timed_out`: rolled back because it took longer than a statement may;
 * - `refused`: rolled back because of a request in the batch.
 */
export interface Failure {
  kind: 'not_sent' | 'unknown' | 'conflict' | 'unable' | 'no_partition' | 'timed_out' | 'refused';
  message: string;
  /** SQLSTATE, if the server said one. */
  sqlstate: string | undefined;
  cause: unknown;
}

const QUERY_CANCELED = '57014';
const CONFLICTS = new Set(['40001', '40P01', '55P03']);
/** Resources, read-only servers, and whatever says that this process and the schema do not fit each other. */
const UNABLE = /^(?:25006|53|57P|58|42)/;
/** Without the name of a constraint it is about the bounds of partitions. */
const CHECK_VIOLATION = '23514';

/** Sorts the error of a statement. */
export function classifyFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error);
  const failure = { message, cause: error, sqlstate: undefined };
  if (error instanceof NotSent) return { ...failure, kind: 'not_sent' };
  // FATAL and PANIC end the connection at any moment, after a commit too.
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

/** Whether the same batch may be sent again. */
export function mayRepeat(failure: Failure, idempotent: boolean): boolean {
  return failure.kind === 'not_sent' || failure.kind === 'conflict' || (failure.kind === 'unknown' && idempotent);
}

/** The database cannot do it now. `details.committed` is `no` when certainly nothing happened. */
export function unavailable(failure: Failure): FlowgresError {
  return new FlowgresError('UNAVAILABLE', 'The database is not available.', {
    hint: 'Try again in a moment.',
    details: { committed: failure.kind === 'unknown' ? 'unknown' : 'no' },
    cause: failure.cause,
  });
}

/** Whether it is the statement itself that failed, and would again. */
export function isLasting(failure: Failure): boolean {
  return failure.kind === 'refused' || failure.kind === 'timed_out';
}

/** A request that fails on its own every time: an error with a code of ours as it is, anything else is REFUSED. */
export function refused(failure: Failure): FlowgresError {
  return (
    raisedError(failure) ??
    new FlowgresError('REFUSED', `The database refuses the request every time: ${failure.message}`, {
      details: { sqlstate: failure.sqlstate },
      cause: failure.cause,
    })
  );
}

/** The request was executed, but nobody can tell what it came to. */
export function unreadable(name: string, cause: unknown): FlowgresError {
  return new FlowgresError('UNREADABLE', `The answer of ${name} cannot be read.`, { cause });
}

/** The error that `private.raise_error` raised; undefined for any other. */
export function raisedError(failure: Failure): FlowgresError | undefined {
  if (!failure.sqlstate?.startsWith('WF') || !(failure.cause instanceof pg.DatabaseError)) return undefined;
  const { detail, hint } = failure.cause;
  const { code, ...details } = JSON.parse(detail ?? '{}') as { code?: string };
  return requestError({ code: code ?? failure.sqlstate, message: failure.message, hint, details });
}

/** The error that the engine gave as the answer to one request. */
export function requestError(error: RunError): FlowgresError {
  return new FlowgresError(error.code, error.message, {
    ...(error.hint ? { hint: error.hint } : {}),
    ...(error.details ? { details: error.details } : {}),
  });
}
