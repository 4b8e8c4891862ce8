/** The lines that one attempt of a step writes to the log of its run: so many, and one that says that there were more. */
import { LIMITS } from '../constants.ts';
import type { EffectContext } from '../nodes/types.ts';

/** Lines of one attempt; what it writes after them is not kept. */
export const MAX_ATTEMPT_LINES = LIMITS.worker.maxAttemptLines;

/** Wraps `write`, which stores a line, with the limit. Lines over the limit resolve at once. */
export function attemptLog(write: EffectContext<unknown>['log']): EffectContext<unknown>['log'] {
  let lines = 0;
  return async (level, message, context) => {
    lines += 1;
    if (lines <= MAX_ATTEMPT_LINES) return write(level, message, context);
    if (lines > MAX_ATTEMPT_LINES + 1) return;
    return write('warning', 'Further lines of this attempt are not kept.', { code: 'LOG_TRUNCATED', maxLines: MAX_ATTEMPT_LINES });
  };
}
