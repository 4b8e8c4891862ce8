/** The node log: writes a line to the log of the run, and passes its input on. */
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import type { EffectNode } from './types.ts';

const MAX_MESSAGE_LENGTH = LIMITS.worker.maxMessageLength;

const properties = z.object({
  level: z.enum(['debug', 'info', 'warning', 'error']).default('info'),
  message: z.unknown(),
  context: z.record(z.string(), z.unknown()).optional(),
});

/** The node type `log@1`. */
export const log: EffectNode<z.infer<typeof properties>> = {
  type: 'log@1',
  properties,
  async execute({ properties: { level, message, context }, input, log: write, redact }) {
    const text = typeof message === 'string' ? message : (JSON.stringify(message) ?? '');
    await write(level, redact(text).slice(0, MAX_MESSAGE_LENGTH), context);
    return { output: input };
  },
};
