/** Encodes the result of an attempt for the database. */
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { MAX_JSON_DEPTH, encodeStorableJson, refuseUnstorable } from '../json/strict.ts';
import type { StepResult } from './types.ts';

/** Longest encoded result in characters. Larger ones are not sent; the engine allows 1 MiB of `jsonb`. */
const MAX_RESULT_LENGTH = LIMITS.worker.maxResultLength;

/** Encodes a result. A result that the database would refuse becomes a failure of the step. */
export function encodeResult(result: StepResult): string {
  const { runId, node, attempt, ms } = result;
  const failed = (message: string) =>
    JSON.stringify({ runId, node, attempt, ms, ok: false, error: { code: 'TOO_LARGE', message, retryable: false } });
  if (!result.ok) return encodeStorableJson(result);
  try {
    const text = encodeStorableJson(result);
    if (text.length > MAX_RESULT_LENGTH) return failed('The output of the step is too large.');
    // Each property may have a value with 64 levels of its own.
    const maxDepth = 'properties' in result ? 2 * MAX_JSON_DEPTH : MAX_JSON_DEPTH;
    refuseUnstorable(text, { maxDepth, around: 1, strings: 'ignore' });
    return text;
  } catch (error) {
    // JSON.stringify overflows the stack at some thousand levels.
    if (error instanceof FlowgresError) return failed(`The output of the step is refused: ${error.message}`);
    if (error instanceof RangeError) return failed(`The output of the step is nested deeper than ${MAX_JSON_DEPTH} levels.`);
    throw error;
  }
}
