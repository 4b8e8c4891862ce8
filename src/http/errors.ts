/** Refuses requests, and types the log of failures that clients do not see. */
import { SafeError } from 'postgraphile/grafast';

/** Logs a failure under the error id that the client gets. */
export type LogError = (entry: { errorId: string; message: string; [key: string]: unknown }) => void;

/** Returns the error that refuses a request before execution, with the status of the HTTP answer. */
export function requestError(
  status: number,
  code: string,
  message: string,
  more: { hint?: string; details?: Record<string, unknown> } = {},
): SafeError {
  return new SafeError(message, { code, ...more, statusCode: status });
}
