/** Turns failures into HTTP answers: one JSON shape, one table from codes to statuses, no internal details. */
import { randomUUID } from 'node:crypto';
import { FlowgresError } from '../errors.ts';

/** A complete HTTP answer. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer | null;
}

/** The statuses of codes; an error with another code is masked as INTERNAL. */
export const STATUS: Readonly<Record<string, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_JSON: 400,
  INVALID_TEXT: 400,
  VALIDATION_FAILED: 400,
  SIGNATURE_MISSING: 400,
  SIGNATURE_MALFORMED: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NO_ORGANIZATION: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  CONFLICT: 409,
  ALREADY_USED: 409,
  RUN_FINISHED: 409,
  NOT_PUBLISHED: 410,
  EXPIRED: 410,
  TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  LIMIT_REACHED: 429,
  RATE_LIMITED: 429,
  UNAVAILABLE: 503,
  TOO_BUSY: 503,
  TIMEOUT: 504,
};
/** Values of Retry-After, in seconds, for codes of temporary failures. */
const RETRY_AFTER: Record<string, string> = { LIMIT_REACHED: '1', UNAVAILABLE: '1' };

/** Returns the value of Retry-After in seconds: the error's own, or the time until the limit's next period. */
function retryAfterOf({ code, details }: FlowgresError): string | undefined {
  const waitMs = Number(details?.['retryAfterMs'] ?? Date.parse(String(details?.['resetAt'])) - Date.now());
  return Number.isNaN(waitMs) ? RETRY_AFTER[code] : String(Math.max(1, Math.ceil(waitMs / 1_000)));
}

/** Returns an answer with a JSON body. */
export function jsonReply(status: number, body: unknown, headers: Record<string, string> = {}): Reply {
  return { status, body: `${JSON.stringify(body)}\n`, headers: { 'content-type': 'application/json; charset=utf-8', ...headers } };
}

/**
 * Returns the answer to a failed request. Reports an error other than FlowgresError to `onProblem`, and answers
 * with an error id only.
 *
 * @param statuses the statuses of further codes
 */
export function errorReply(
  error: unknown,
  onProblem: (message: string, error: unknown) => void,
  statuses: Readonly<Record<string, number>> = {},
): Reply {
  const status = error instanceof FlowgresError ? (STATUS[error.code] ?? statuses[error.code]) : undefined;
  if (!(error instanceof FlowgresError) || !status) {
    const id = randomUUID();
    onProblem(`A request failed (${id}).`, error);
    return jsonReply(500, { error: { code: 'INTERNAL', message: 'Something went wrong here.', id } });
  }
  const { code, message, hint, details } = error;
  const retryAfter = retryAfterOf(error);
  return jsonReply(
    status,
    { error: { code, message, ...(hint ? { hint } : {}), ...(details ? { details } : {}) } },
    {
      ...(retryAfter ? { 'retry-after': retryAfter } : {}),
      // Close the connection instead of reading the rest of a refused body.
      ...(status === 413 || status === 415 ? { connection: 'close' } : {}),
      ...(Array.isArray(details?.['methods']) ? { allow: details['methods'].join(', ') } : {}),
    },
  );
}
