/**
 * The node deliverWebhook: sends a message to a webhook endpoint of the organization, signed as Standard Webhooks.
 * Used by the workflow that delivers messages only. It goes through httpRequest, so the guard is there.
 */
import { z } from 'zod';
import { signStandard } from '../signatures/standard.ts';
import { httpRequest } from './http_request.ts';
import { type EffectContext, type EffectNode, NodeError } from './types.ts';

const properties = z.object({ endpoint: z.guid(), id: z.string().regex(/^[\w-]{1,256}$/), message: z.unknown() });
type Properties = z.infer<typeof properties>;

const answerShape = z.object({ status: z.number() });
const failureShape = z.object({ status: z.number() });

/** The node type `deliverWebhook@1`. */
export const deliverWebhook: EffectNode<Properties> = {
  type: 'deliverWebhook@1',
  properties,
  async execute(context) {
    const { endpoints } = context.config;
    const { endpoint, id, message } = context.properties;
    if (!endpoints) throw new NodeError('VAULT_UNAVAILABLE', 'This worker cannot sign messages.', { retryable: true });
    const target = await endpoints.find(context.organizationId, endpoint);
    if (!target) throw new NodeError('NOT_FOUND', 'The endpoint is deleted or disabled.');
    const status = await send(context, target.url, headersOf(id, message, target.secrets));
    const isAccepted = status >= 200 && status < 300;
    const isGone = status === 410;
    await endpoints.record(context.organizationId, endpoint, isAccepted, isGone);
    if (isAccepted) return { output: { status } };
    throw new NodeError('HTTP_STATUS', `The endpoint answered ${status || 'nothing'}.`, { retryable: !isGone, details: { status } });
  },
};

function headersOf(id: string, message: unknown, secrets: readonly string[]): Record<string, string> {
  try {
    return signStandard({ id, now: Date.now(), body: JSON.stringify(message) }, secrets);
  } catch {
    throw new NodeError('SECRET_UNUSABLE', 'A secret of the endpoint is not whsec_ and base64.');
  }
}

/** Returns the status of the answer; 0 when none came. */
async function send(context: EffectContext<Properties>, url: string, headers: Record<string, string>): Promise<number> {
  const request = httpRequest.properties.parse({
    method: 'POST',
    url,
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify(context.properties.message),
    bodyType: 'raw',
    responseType: 'text',
    followRedirects: false,
  });
  try {
    const { output } = await httpRequest.execute({ ...context, properties: request });
    return answerShape.parse(output).status;
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof NodeError && error.code === 'HTTP_STATUS') return failureShape.parse(error.details).status;
    if (error instanceof NodeError && (error.code === 'HTTP_CONNECTION' || error.code === 'TOO_LARGE')) return 0;
    throw error;
  }
}
