/** Resume addresses: a request to `/resume/<token>` ends the wait of a run, once. */
import type { IncomingMessage } from 'node:http';
import { LIMITS } from '../constants.ts';
import type { Engine } from '../engine/engine.ts';
import { FlowgresError } from '../errors.ts';
import type { FairQueue } from '../limits/fair_queue.ts';
import { type Reply, jsonReply } from '../http/http_error.ts';
import { readBody } from '../http/body.ts';
import { describeCall } from './request.ts';

/** Calls at a time, of the ten connections that starts need too: each may wait for the lock of its run. One of a token. */
export const RESUMES = {
  total: LIMITS.webhooks.resumes,
  maxWaiting: LIMITS.webhooks.resumesWaiting,
  maxWaitMs: LIMITS.webhooks.resumeWaitMs,
};

/** Returns the token and query of a resume address; null for any other address. */
export function parseResume(url: string): { token: string; query: string } | null {
  const [, token, query = ''] = /^\/resume\/([\w-]{1,100})\/?(?:\?([^#]*))?$/.exec(url) ?? [];
  return token ? { token, query } : null;
}

/** Passes the request to the waiting run. Returns the answer. */
export async function resume(
  engine: Pick<Engine, 'resumeRun'>,
  queue: FairQueue,
  request: IncomingMessage,
  maxBodySize: number,
): Promise<Reply> {
  const address = parseResume(request.url ?? '');
  if (!address) throw new FlowgresError('NOT_FOUND', 'No run waits at this address.');
  const body = await readBody(request, maxBodySize);
  const call = await describeCall(request, address.query, body);
  const runId = await queue
    .use(address.token, () => engine.resumeRun(address.token, call))
    .catch((error: unknown) => {
      throw wrongMethod(error) ?? error;
    });
  return jsonReply(200, { runId });
}

/** Returns the error for a method that the wait does not accept, in terms of HTTP; undefined for other errors. */
function wrongMethod(error: unknown): FlowgresError | undefined {
  if (!(error instanceof FlowgresError) || !error.details?.['methods']) return undefined;
  return new FlowgresError('METHOD_NOT_ALLOWED', error.message, { details: error.details });
}
