/**
 * The webhook intake: `/hooks/<organization key>/<path>` starts runs and answers as their triggers define;
 * `/resume/<token>` ends the wait of a run.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import type { Engine, RunAnswer, StartAnswer } from '../engine/engine.ts';
import { FlowgresError } from '../errors.ts';
import { FairQueue } from '../limits/fair_queue.ts';
import { log } from '../log.ts';
import { runsStarted } from '../metrics.ts';
import { type Reply, errorReply } from '../http/http_error.ts';
import { RESUMES, resume } from './resume.ts';
import { type RunNotifications, RunWaiters } from './run_waiters.ts';
import { accepted, replyFor } from './answer.ts';
import { type WebhookAddress, decodeSegment, describeRequest, fingerprint, parseAddress } from './request.ts';
import { readBody } from '../http/body.ts';
import { WebhookRoutes } from './routes.ts';

/** Options of {@link createWebhookHandler}. */
export interface WebhookOptions {
  /** Uses a pool of role flowgres_intake. */
  engine: Engine;
  /** Notifications about runs, for answers that wait for one. */
  live: RunNotifications;
  /** Largest body in bytes; 1 MiB when not given. */
  maxBodySize?: number;
  onProblem?: (message: string, error: unknown) => void;
}

/** The handler of the intake. */
export interface WebhookHandler {
  (request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Stops listening for notifications. */
  close(): void;
}

/** A webhook trigger with properties that this server supports. */
interface Trigger extends z.infer<typeof triggerProperties> {
  organizationId: string;
  workflowId: string;
  node: string;
  params: Record<string, string>;
}

const triggerProperties = z.object({
  authentication: z.literal('none').default('none'),
  respond: z.enum(['immediately', 'lastNode', 'respondNode']).default('immediately'),
  responseTimeoutMs: z
    .number()
    .min(1)
    .default(30_000)
    .transform((ms) => Math.min(ms, 120_000)),
  dedupeHeader: z.string().optional(),
});

/** Returns the handler of everything under `/hooks/` and `/resume/`. */
export function createWebhookHandler(options: WebhookOptions): WebhookHandler {
  const intake = new Intake(options);
  const handler = (request: IncomingMessage, response: ServerResponse) => intake.handle(request, response);
  return Object.assign(handler, { close: () => intake.close() });
}

class Intake {
  readonly #engine: Engine;
  readonly #routes: WebhookRoutes;
  readonly #resumes = new FairQueue(RESUMES);
  readonly #waiters: RunWaiters;
  readonly #maxBodySize: number;
  readonly #onProblem: (message: string, error: unknown) => void;

  constructor({
    engine,
    live,
    maxBodySize = LIMITS.webhooks.maxBodyBytes,
    onProblem = (message, error) => log.error(message, { error }),
  }: WebhookOptions) {
    this.#engine = engine;
    this.#routes = new WebhookRoutes(engine);
    this.#waiters = new RunWaiters(engine, live);
    this.#maxBodySize = maxBodySize;
    this.#onProblem = onProblem;
  }

  close(): void {
    this.#waiters.close();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort('gone'));
    const reply = await this.#answer(request, gone.signal).catch((error: unknown) =>
      gone.signal.aborted ? undefined : errorReply(error, this.#onProblem),
    );
    if (reply && !response.destroyed) write(response, reply, request.method === 'HEAD');
  }

  async #answer(request: IncomingMessage, gone: AbortSignal): Promise<Reply> {
    if (request.url?.startsWith('/resume/')) return resume(this.#engine, this.#resumes, request, this.#maxBodySize);
    const address = parseAddress(request.url ?? '');
    if (!address) throw notFound();
    const trigger = await this.#trigger(address, request.method ?? '');
    const body = await readBody(request, this.#maxBodySize);
    const started = await this.#start(trigger, request, address, body);
    // Read the current state of a run that an earlier delivery started.
    const until = performance.now() + trigger.responseTimeoutMs;
    const settle = (run: RunAnswer) => replyFor(trigger.respond, run, until - performance.now());
    const now = started.duplicate ? undefined : settle(started);
    if (now || trigger.respond === 'immediately') return now ?? accepted(started.runId);
    const later = await this.#waiters.wait(started.runId, settle, trigger.responseTimeoutMs, gone);
    return later ?? accepted(started.runId);
  }

  async #trigger(address: WebhookAddress, method: string): Promise<Trigger> {
    let route = await this.#routes.find(address.organizationKey, method, address.route);
    // A webhook that answers GET also answers HEAD, with the same headers.
    if (method === 'HEAD' && route?.methods.includes('GET') && !route.methods.includes('HEAD')) {
      route = await this.#routes.find(address.organizationKey, 'GET', address.route);
    }
    if (!route) throw notFound();
    const { organizationId, workflowId, node, params = {}, properties, methods } = route;
    if (!organizationId || !workflowId || !node) {
      throw new FlowgresError('METHOD_NOT_ALLOWED', `This webhook takes ${methods.join(', ')}.`, { details: { methods } });
    }
    const parsed = triggerProperties.safeParse(properties);
    // Refuse requests whose authentication cannot be checked.
    if (!parsed.success) throw new FlowgresError('UNAUTHENTICATED', 'This webhook is set up in a way that this server does not know.');
    const decoded = Object.fromEntries(Object.entries(params).map(([name, segment]) => [name, decodeSegment(segment)]));
    return { organizationId, workflowId, node, params: decoded, ...parsed.data };
  }

  async #start(trigger: Trigger, request: IncomingMessage, address: WebhookAddress, body: Buffer): Promise<StartAnswer> {
    const { organizationId, workflowId, node, params, dedupeHeader } = trigger;
    const key = dedupeHeader && request.headers[dedupeHeader.toLowerCase()];
    const started = await this.#engine.startRun({
      organizationId,
      workflowId,
      mode: 'webhook',
      trigger: node,
      input: await describeRequest(request, address, params, body),
      ...(key ? { key: `${node}:${key}`, fingerprint: fingerprint(request, address, body) } : {}),
    });
    if (!started.duplicate) runsStarted.inc({ mode: 'webhook' });
    return started;
  }
}

function notFound(): FlowgresError {
  return new FlowgresError('NOT_FOUND', 'There is no such webhook.');
}

function write(response: ServerResponse, { status, headers, body }: Reply, headOnly: boolean): void {
  response.writeHead(status, {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
    ...(body === null ? {} : { 'content-length': Buffer.byteLength(body) }),
  });
  // Send bytes: with a text Node would write the headers in the text's encoding instead of Latin-1.
  response.end(headOnly || body === null ? undefined : typeof body === 'string' ? Buffer.from(body) : body);
}
