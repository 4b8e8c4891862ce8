/**
 * The webhook intake: `/hooks/<organization key>/<path>` starts runs and answers as their triggers define;
 * `/resume/<token>` ends the wait of a run.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { LIMITS } from '../constants.ts';
import type { Engine, RunAnswer, StartAnswer, StartRequest, WebhookDelivery } from '../engine/engine.ts';
import { FlowgresError } from '../errors.ts';
import { FairQueue } from '../limits/fair_queue.ts';
import { log } from '../log.ts';
import { runsStarted } from '../metrics.ts';
import { readBody } from '../http/body.ts';
import { clientIp } from '../http/client.ts';
import { type Reply, errorReply } from '../http/http_error.ts';
import { Gate, GateUnavailable, Refusal } from './authenticate.ts';
import { BearerTokens, type FetchConfig } from './bearer_tokens.ts';
import { CredentialCache, type CredentialSource } from './credential_cache.ts';
import { DeliveryLog } from './delivery_log.ts';
import { RESUMES, resume } from './resume.ts';
import { type RunNotifications, RunWaiters } from './run_waiters.ts';
import { accepted, replyFor } from './answer.ts';
import { type WebhookAddress, describeRequest, fingerprint, parseAddress } from './request.ts';
import { WebhookRoutes } from './routes.ts';
import { type Trigger, triggerOf } from './trigger.ts';

/** Options of {@link createWebhookHandler}. */
export interface WebhookOptions {
  /** Uses a pool of role flowgres_intake. */
  engine: Engine;
  /** Notifications about runs, for answers that wait for one. */
  live: RunNotifications;
  /** Opens the credentials of triggers. */
  credentials: CredentialSource;
  /** Number of proxies between clients and this process, whose X-Forwarded-For is trusted; 0 when not given. */
  proxies?: number;
  /** How published keys are fetched; from public addresses only when not given. */
  fetchKeys?: FetchConfig;
  /** Largest body in bytes; 1 MiB when not given. */
  maxBodySize?: number;
  onProblem?: (message: string, error: unknown) => void;
  /** The time in milliseconds that signed times are compared with; that of the machine when not given. */
  now?: () => number;
}

/** The handler of the intake. */
export interface WebhookHandler {
  (request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Stops listening for notifications, and writes what is left of the list of deliveries. */
  close(): Promise<void>;
}

/** A request whose webhook is known. */
interface Arrival {
  trigger: Trigger;
  request: IncomingMessage;
  address: WebhookAddress;
  clientAddress: string;
  gone: AbortSignal;
  /** What the list of deliveries says of it, beside its address and answer. */
  outcome: Pick<WebhookDelivery, 'error' | 'runId' | 'isDuplicate'>;
}

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
  readonly #gate: Gate;
  readonly #tokens: BearerTokens;
  readonly #deliveries: DeliveryLog;
  readonly #proxies: number;
  readonly #maxBodySize: number;
  readonly #onProblem: (message: string, error: unknown) => void;

  constructor({
    engine,
    live,
    credentials,
    proxies = 0,
    fetchKeys = { httpAllow: [] },
    maxBodySize = LIMITS.webhooks.maxBodyBytes,
    onProblem = (message, error) => log.error(message, { error }),
    now = Date.now,
  }: WebhookOptions) {
    this.#engine = engine;
    this.#routes = new WebhookRoutes(engine);
    this.#waiters = new RunWaiters(engine, live);
    this.#tokens = new BearerTokens(fetchKeys);
    this.#gate = new Gate({ credentials: new CredentialCache(credentials), tokens: this.#tokens, now });
    this.#deliveries = new DeliveryLog(engine, onProblem);
    this.#proxies = proxies;
    this.#maxBodySize = maxBodySize;
    this.#onProblem = onProblem;
  }

  async close(): Promise<void> {
    this.#waiters.close();
    await this.#tokens.close();
    await this.#deliveries.close();
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort('gone'));
    const reply = await this.#answer(request, gone.signal).catch((error: unknown) => this.#refuse(error, gone.signal));
    if (reply && !response.destroyed) write(response, reply, request.method === 'HEAD');
  }

  async #answer(request: IncomingMessage, gone: AbortSignal): Promise<Reply | undefined> {
    if (request.url?.startsWith('/resume/')) return resume(this.#engine, this.#resumes, request, this.#maxBodySize);
    const startedAt = performance.now();
    const at = new Date().toISOString();
    const address = parseAddress(request.url ?? '');
    if (!address) throw notFound();
    const method = request.method ?? '';
    const trigger = await this.#trigger(address, method);
    const clientAddress = clientIp(request, this.#proxies);
    const outcome: Arrival['outcome'] = { error: null, runId: null, isDuplicate: false };
    const reply = await this.#deliver({ trigger, request, address, clientAddress, gone, outcome }).catch((error: unknown) => {
      outcome.error = reasonCode(error);
      return this.#refuse(error, gone);
    });
    const { organizationId, workflowId, node } = trigger;
    const status = reply?.status ?? null;
    const ms = Math.round(performance.now() - startedAt);
    this.#deliveries.add({ organizationId, workflowId, node, at, method, path: address.path, clientAddress, status, ms, ...outcome });
    return reply;
  }

  async #trigger(address: WebhookAddress, method: string): Promise<Trigger> {
    let route = await this.#routes.find(address.organizationKey, method, address.route);
    // A webhook that answers GET also answers HEAD, with the same headers.
    if (method === 'HEAD' && route?.methods.includes('GET') && !route.methods.includes('HEAD')) {
      route = await this.#routes.find(address.organizationKey, 'GET', address.route);
    }
    if (!route) throw notFound();
    return triggerOf(route);
  }

  async #deliver(arrival: Arrival): Promise<Reply> {
    const { trigger, request, clientAddress, gone, outcome } = arrival;
    const caller = { request, address: clientAddress };
    this.#gate.checkAddress(trigger, clientAddress);
    await this.#gate.checkHeaders(trigger, caller);
    const body = await readBody(request, this.#maxBodySize);
    const deliveryId = await this.#gate.checkBody(trigger, caller, body);
    const started = await this.#start(arrival, body, deliveryId);
    outcome.runId = started.runId;
    outcome.isDuplicate = started.duplicate;
    // Read the current state of a run that an earlier delivery started.
    const until = performance.now() + trigger.responseTimeoutMs;
    const settle = (run: RunAnswer) => replyFor(trigger.respond, run, until - performance.now());
    const now = started.duplicate ? undefined : settle(started);
    if (now || trigger.respond === 'immediately') return now ?? accepted(started.runId);
    const later = await this.#waiters.wait(started.runId, settle, trigger.responseTimeoutMs, gone);
    return later ?? accepted(started.runId);
  }

  async #start(arrival: Arrival, body: Buffer, deliveryId: string | null): Promise<StartAnswer> {
    const { request, address } = arrival;
    const { organizationId, workflowId, node, params, keepsRawBody } = arrival.trigger;
    const started = await this.#engine.startRun({
      organizationId,
      workflowId,
      mode: 'webhook',
      trigger: node,
      input: await describeRequest(request, address, params, body, keepsRawBody),
      ...keyOf(arrival, body, deliveryId),
    });
    if (!started.duplicate) runsStarted.inc({ mode: 'webhook' });
    return started;
  }

  #refuse(error: unknown, gone: AbortSignal): Reply | undefined {
    if (gone.aborted) return undefined;
    const reply = errorReply(error, this.#onProblem);
    const challenge = error instanceof Refusal ? error.challenge : undefined;
    if (challenge) reply.headers['www-authenticate'] = challenge;
    return reply;
  }
}

/** Longest id of a delivery that is a key as it is; a longer one is hashed. */
const MAX_ID_LENGTH = 180;

/**
 * Returns what tells deliveries that are one: the value at the trigger's path, else the header that it names, else
 * what the signature says.
 */
function keyOf(
  { trigger, request, address }: Arrival,
  body: Buffer,
  deliveryId: string | null,
): Pick<StartRequest, 'key' | 'keyBy' | 'fingerprint'> {
  const { node, dedupeHeader, dedupePath } = trigger;
  const header = dedupeHeader && request.headers[dedupeHeader.toLowerCase()];
  const key = header ? `${node}:${header}` : deliveryId === null ? undefined : `${node}/${short(deliveryId)}`;
  return {
    ...(key === undefined ? {} : { key, fingerprint: fingerprint(request, address, body) }),
    ...(dedupePath === null ? {} : { keyBy: { prefix: `${node}=`, path: dedupePath } }),
  };
}

function short(id: string): string {
  return id.length <= MAX_ID_LENGTH ? id : createHash('sha256').update(id).digest('hex');
}

/** What the list of deliveries says of a failure. */
function reasonCode(error: unknown): string {
  if (error instanceof Refusal || error instanceof GateUnavailable) return error.reason;
  return error instanceof FlowgresError ? error.code : 'INTERNAL';
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
