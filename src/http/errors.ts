/** Requests that are refused, and how failures are logged that the client is not shown. */
import { SafeError } from 'postgraphile/grafast';

export type LogError = (entry: { errorId: string; message: string; [key: string]: unknown }) => void;

/** A request that is refused before it is executed, with the status of the HTTP answer, which clients read there. */
export function requestError(
  status: number,
  code: string,
  message: string,
  more: { hint?: string; details?: Record<string, unknown> } = {},
): SafeError {
  return new SafeError(message, { code, ...more, statusCode: status });
}
