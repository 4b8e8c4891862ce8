/** Executes effect nodes without a worker. */
import type { EffectContext } from '../../src/nodes/types.ts';

/** Returns the context of an attempt, with defaults for what the test does not set. */
export function effectContext(
  given: Partial<EffectContext<Record<string, unknown>>> & { properties: Record<string, unknown> },
): EffectContext<Record<string, unknown>> {
  return {
    organizationId: '01900000-0000-7000-8000-000000000000',
    input: null,
    signal: new AbortController().signal,
    idempotencyKey: 'run/node',
    log: async () => undefined,
    redact: String,
    reserve: async () => undefined,
    credentials: {},
    variables: [],
    config: { httpAllow: [] },
    ...given,
  };
}
