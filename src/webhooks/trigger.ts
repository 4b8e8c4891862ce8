/** A webhook trigger as this server understands it. */
import { z } from 'zod';
import type { WebhookRoute } from '../engine/engine.ts';
import { FlowgresError } from '../errors.ts';
import { signatureOptions } from '../signatures/schemes.ts';
import { decodeSegment } from './request.ts';

const triggerProperties = z
  .object({
    authentication: z.enum(['none', 'basic', 'header', 'jwt', 'hmac']).default('none'),
    signature: signatureOptions.optional(),
    allowCidrs: z.array(z.string()).default([]),
    respond: z.enum(['immediately', 'lastNode', 'respondNode']).default('immediately'),
    responseTimeoutMs: z
      .number()
      .min(1)
      .default(30_000)
      .transform((ms) => Math.min(ms, 120_000)),
    dedupeHeader: z.string().optional(),
  })
  .refine(({ authentication, signature }) => (authentication === 'hmac') === (signature !== undefined));

/** A webhook trigger with properties that this server supports. */
export interface Trigger extends z.infer<typeof triggerProperties> {
  organizationId: string;
  workflowId: string;
  node: string;
  params: Record<string, string>;
  /** Name of the credential that authenticates requests. */
  credential: string | null;
  /** Path into the input to what requests for one run have in common. */
  dedupePath: string | null;
  keepsRawBody: boolean;
}

/**
 * Returns the trigger of a route.
 *
 * @throws FlowgresError METHOD_NOT_ALLOWED, UNAUTHENTICATED when the properties are of a later version: what
 *   cannot be checked is refused
 */
export function triggerOf(route: WebhookRoute): Trigger {
  const { organizationId, workflowId, node, params = {}, properties, methods } = route;
  if (!organizationId || !workflowId || !node) {
    throw new FlowgresError('METHOD_NOT_ALLOWED', `This webhook takes ${methods.join(', ')}.`, { details: { methods } });
  }
  const parsed = triggerProperties.safeParse(properties);
  if (!parsed.success) throw new FlowgresError('UNAUTHENTICATED', 'This webhook is set up in a way that this server does not know.');
  return {
    organizationId,
    workflowId,
    node,
    params: Object.fromEntries(Object.entries(params).map(([name, segment]) => [name, decodeSegment(segment)])),
    credential: route.credential ?? null,
    dedupePath: route.dedupePath ?? null,
    keepsRawBody: route.keepsRawBody ?? false,
    ...parsed.data,
  };
}
