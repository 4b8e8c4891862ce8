/** Starts and connects the parts of a process: GraphQL, webhooks, worker, scheduler and maintenance. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { Engine, createEnginePool } from '../engine/engine.ts';
import type { ApiConfig } from '../config.ts';
import { type Way, createHealth } from '../http/health.ts';
import { watchPool } from '../metrics.ts';
import { type LoginRole, type RolePasswords, roleUrl } from '../database/roles.ts';
import { OPERATIONS_FILE } from './console.ts';
import { createDemo } from './demo_services.ts';
import { type GraphqlOptions, createGraphql } from '../graphql/server.ts';
import { createConsole } from '../http/console.ts';
import type { Handler, HttpServer } from '../http/server.ts';
import { Operations } from '../graphql/persisted_operations.ts';
import { LiveRuns } from '../engine/live.ts';
import { type Rest, createRest } from '../rest/rest.ts';
import { Credentials } from '../vault/credentials.ts';
import { createWebhookHandler } from '../webhooks/webhooks.ts';
import { freezePartitions } from '../maintenance/upkeep.ts';
import { reportProblem } from './terminal.ts';
import { startCron } from '../scheduler/cron.ts';
import { every } from '../scheduler/every.ts';
import { type MailOptions, startMail } from '../mail/deliver.ts';
import type { KeySource } from '../vault/keys.ts';
import { Vault } from '../vault/vault.ts';
import { type RunningWorker, startWorker } from '../worker/start.ts';

/** In a copy: how often it is checked whether somebody has adopted it. */
const ADOPTION_MS = 2_000;
/** How often partitions are vacuumed. Not a job of the scheduler, because its users do not own the partitions. */
const UPKEEP_MS = 3_600_000;

/** Options of the worker of a process. A limit that is not given is that of src/constants.ts. */
export interface WorkOptions {
  /** Steps in flight at a time in this process, and of these of one organization. */
  concurrency: number;
  organizationConcurrency: number;
  /** Longest time for the expressions of one isolated step, in milliseconds. */
  expressionTimeout?: number;
  /** Local steps of one organization at a time. */
  localSteps?: number;
  /** Schedules that fire at a time, and the longest time for the start of one of their runs, in milliseconds. */
  scheduleSlots?: number;
  firingTimeout?: number;
  httpAllow: string[];
  /** Name servers for the hosts of httpRequest; those of the machine when empty. */
  dnsServers: string[];
  /** Where mail is sent; mail remains in the outbox when not given. */
  mail?: MailOptions | undefined;
}

/** Options of scheduler and maintenance. */
export interface MaintainOptions {
  /** A connection string for each further user whose cron jobs are run. */
  cronUsers: Record<string, string>;
  /** Longest time for the command of a cron job, in seconds; 0 sets no limit. */
  cronTimeout: number;
}

/** Whom GraphQL trusts: an identity provider, and the number of proxies. */
export type TrustOptions = Pick<GraphqlOptions, 'jwt' | 'proxies'>;

/** Which parts a process runs, and how. */
export interface ServiceOptions {
  http: HttpServer;
  /** Connection string of the database; each part replaces the login in it by that of its role. */
  databaseUrl: string;
  /** Connection string of a transaction pooler in front of the database, for GraphQL requests. */
  poolerUrl?: string | undefined;
  /** Passwords of the roles that the parts log in as. */
  passwords: RolePasswords;
  /** Whether GraphQL, accounts and webhooks are served. */
  serve: boolean;
  /** Limits of GraphQL requests. */
  api: ApiConfig;
  trust?: TrustOptions;
  /** The share of successful GraphQL requests that the access log records, 0 to 1. */
  accessLog: number;
  /** Where the master keys of secrets come from; without them credentials can be neither created nor used. */
  vaultKeys?: KeySource | undefined;
  /** The origin at which browsers reach this installation. */
  publicUrl?: string | undefined;
  /** From where the intake may fetch published keys, and the API tokens; as the worker when not given. */
  intake?: Pick<WorkOptions, 'httpAllow' | 'dnsServers'>;
  /** Options of the worker; no worker when not given. */
  work?: WorkOptions;
  /** Options of the scheduler and of partition maintenance, as flowgres_maintenance; neither runs when not given. */
  maintain?: MaintainOptions;
  /** The folder of the built console; it is not served when not given. */
  console?: string | null | undefined;
  /** Whether the services that the examples call are served under /demo/. */
  demo?: boolean;
}

/** The running parts of a process. */
export interface Services {
  /**
   * Why worker and maintenance are not started: the database is a copy that nobody has adopted. Null when they
   * run.
   */
  readonly copyProblem: string | null;
  /** Stops taking work, waits for what runs, and closes every connection. */
  stop(): Promise<void>;
}

/** Starts the parts, each after those that it depends on. Rejects, and stops what it has started, when one fails. */
export async function startServices(options: ServiceOptions): Promise<Services> {
  const { http, passwords, serve, work, maintain, demo } = options;
  const as = (role: LoginRole, url = options.databaseUrl) => roleUrl(url, passwords, role);
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    // Stop in the reverse order: the HTTP server ends before what its requests need.
    for (const each of stops.splice(0).reverse()) await each().catch((error: unknown) => reportProblem('Stopping failed.', error));
  };
  try {
    const vault = options.vaultKeys && (await Vault.read(options.vaultKeys));
    let worker: RunningWorker | undefined;
    let rest: Rest | undefined;
    const startWork = async () => {
      if (work) worker = await startWorkParts(as('flowgres_worker'), work, vault, stops);
    };
    const startMaintenance = () => {
      if (maintain) startMaintenanceParts(as('flowgres_maintenance'), as('flowgres_worker'), maintain, stops);
    };
    const health = createHealth({
      connectionString: as('flowgres_monitor'),
      ways: waysOf(options, as),
      isWorkerAlive: work && (() => worker?.isAlive() ?? false),
    });
    stops.push(() => health.close());
    let copyProblem = work || maintain ? await health.copyProblem() : null;
    if (copyProblem === null) await startWork();
    if (serve) {
      const graphql = await createGraphql({
        connectionString: as('flowgres_api', options.poolerUrl),
        directConnectionString: as('flowgres_api'),
        jwt: options.trust?.jwt,
        proxies: options.trust?.proxies ?? 0,
        accessLogSample: options.accessLog,
        vault,
        publicUrl: options.publicUrl,
        nodes: options.intake ?? work ?? { httpAllow: [] },
        ...(await apiOptions(options.api, options.console)),
      });
      stops.push(() => graphql.release());
      if (options.console) http.add({ console: createConsole(options.console) });
      const made = createRest(graphql.shared);
      rest = made;
      http.add({ rest: (request, response) => made.handle(request, response) });
      http.add({ graphql: graphql.handle, upgrade: graphql.upgrade, accounts: graphql.handleAccounts, oauth2: graphql.handleOauth2 });
      const webhooks = startWebhooks(as('flowgres_intake'), options, vault, () => worker?.claimOnStart());
      stops.push(webhooks.stop);
      http.add({ webhooks: webhooks.handle });
    }
    // After GraphQL: building its schema blocks the event loop for longer than a leader of the scheduler may be
    // silent.
    if (copyProblem === null) startMaintenance();
    http.add({ problems: () => health.problems(), ...(demo ? { demo: createDemo() } : {}) });
    stops.push(() => http.close());
    // Before the server closes, which waits for answers: streams end when they are told to.
    stops.push(async () => rest?.close());
    if (copyProblem !== null) {
      reportProblem(copyProblem, undefined);
      const onAdopted = async () => {
        await startWork();
        startMaintenance();
        copyProblem = null;
      };
      stops.push(whenAdopted(() => health.copyProblem(), onAdopted));
    }
    return {
      stop,
      get copyProblem() {
        return copyProblem;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The connections that the parts of the process use, each once, for readiness checks. */
function waysOf({ serve, work, maintain, poolerUrl }: ServiceOptions, as: (role: LoginRole, url?: string) => string): Way[] {
  const ways: Way[] = [];
  if (serve) ways.push({ name: 'graphql', connectionString: as('flowgres_api', poolerUrl) });
  if (serve && poolerUrl) ways.push({ name: 'live', connectionString: as('flowgres_api') });
  if (serve) ways.push({ name: 'intake', connectionString: as('flowgres_intake') });
  if (work || maintain) ways.push({ name: 'worker', connectionString: as('flowgres_worker') });
  if (maintain) ways.push({ name: 'maintenance', connectionString: as('flowgres_maintenance') });
  return ways;
}

async function startWorkParts(
  connectionString: string,
  work: WorkOptions,
  vault: Vault | undefined,
  stops: (() => Promise<void>)[],
): Promise<RunningWorker> {
  const worker = await startWorker({
    connectionString,
    concurrency: work.concurrency,
    organizationConcurrency: work.organizationConcurrency,
    ...(work.expressionTimeout ? { evaluationTimeoutMs: work.expressionTimeout } : {}),
    ...(work.localSteps ? { localPerOrganization: work.localSteps } : {}),
    ...(work.scheduleSlots ? { scheduleSlots: work.scheduleSlots } : {}),
    ...(work.firingTimeout ? { firingTimeoutMs: work.firingTimeout } : {}),
    nodes: { httpAllow: work.httpAllow, dnsServers: work.dnsServers },
    vault,
    onProblem: reportProblem,
  });
  stops.push(worker.stop);
  if (work.mail) {
    const mail = startMail({ ...work.mail, connectionString, onProblem: reportProblem });
    stops.push(() => mail.stop());
  }
  return worker;
}

function startMaintenanceParts(
  maintenanceUrl: string,
  workerUrl: string,
  { cronUsers, cronTimeout }: MaintainOptions,
  stops: (() => Promise<void>)[],
): void {
  stops.push(startUpkeep(maintenanceUrl));
  const cron = startCron({
    connectionString: workerUrl,
    users: { flowgres_maintenance: maintenanceUrl, ...cronUsers },
    timeoutMs: cronTimeout * 1_000,
    onProblem: reportProblem,
  });
  stops.push(() => cron.stop());
}

/** Calls `onAdopted` once the copy is adopted. Returns a function that ends the waiting. */
function whenAdopted(problem: () => Promise<string | null>, onAdopted: () => Promise<void>): () => Promise<void> {
  let asking: Promise<void> = Promise.resolve();
  const timer = every(ADOPTION_MS, () => {
    asking = (async () => {
      if ((await problem()) !== null) return;
      await onAdopted();
      timer.stop();
    })().catch((error: unknown) => reportProblem('The adopted installation was not started.', error));
    return asking;
  });
  return async () => {
    timer.stop();
    await asking;
  };
}

async function apiOptions(api: ApiConfig, console: string | null | undefined): Promise<Partial<GraphqlOptions>> {
  // A bucket holds ten seconds of requests, so a caller may send that many at once after a pause.
  const rate = (perSecond: number) => (perSecond > 0 ? { perSecond, burst: Math.max(1, perSecond * 10) } : null);
  return {
    maxCost: api.maxCost,
    rates: { token: rate(api.rateLimit), anonymous: rate(api.anonymousRateLimit) },
    tokens: { token: api.maxTokens, anonymous: api.anonymousMaxTokens },
    cpu: { token: api.cpuLimit || null, anonymous: api.anonymousCpuLimit || null },
    corsOrigins: api.corsOrigins,
    subscriptions: api.subscriptions,
    ruru: api.ruru,
    ...(api.operationsFolder
      ? { operations: await Operations.read(api.operationsFolder, api.onlyOperations, await consoleOperations(console)) }
      : {}),
  };
}

/** Returns the documents of the console by hash, so that it works where other documents are refused. */
async function consoleOperations(folder: string | null | undefined): Promise<ReadonlyMap<string, string>> {
  if (!folder) return new Map();
  const documents = z.record(z.string(), z.string()).parse(JSON.parse(await readFile(join(folder, OPERATIONS_FILE), 'utf8')));
  return new Map(Object.entries(documents));
}

function startWebhooks(
  connectionString: string,
  { trust, intake, work }: ServiceOptions,
  vault: Vault | undefined,
  claimOnStart: RunningWorker['claimOnStart'],
): { handle: Handler; stop(): Promise<void> } {
  const pool = createEnginePool(connectionString, 'flowgres intake');
  const live = new LiveRuns(connectionString);
  const handle = createWebhookHandler({
    engine: new Engine(pool, { claimOnStart }),
    live,
    credentials: new Credentials(pool, vault),
    proxies: trust?.proxies ?? 0,
    fetchKeys: intake ?? work ?? { httpAllow: [] },
    onProblem: reportProblem,
  });
  watchPool('intake', pool);
  const stop = async () => {
    await handle.close();
    await live.close();
    await pool.end();
  };
  return { handle, stop };
}

/** Vacuums closed partitions once an hour; an advisory lock lets one worker do it. */
function startUpkeep(maintenanceUrl: string): () => Promise<void> {
  const stopped = new AbortController();
  const timer = every(UPKEEP_MS, async () => {
    try {
      for (const { statement, error } of await freezePartitions(maintenanceUrl, { signal: stopped.signal })) {
        if (error) reportProblem(`${statement}:`, error);
      }
    } catch (error) {
      if (!stopped.signal.aborted) reportProblem('Partitions were not frozen.', error);
    }
  });
  return async () => {
    timer.stop();
    stopped.abort();
  };
}
