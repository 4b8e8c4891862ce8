/** The GraphQL endpoint: tables and functions of the database, served by PostGraphile over HTTP and WebSockets. */
import './environment.ts';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type pg from 'pg';
import { makeSchema, postgraphile } from 'postgraphile';
import { grafserv } from 'postgraphile/grafserv/node';
import { lexicographicSortSchema, printSchema } from 'postgraphile/graphql';
import { createPool } from '../database/connections.ts';
import { FlowgresError } from '../errors.ts';
import { log } from '../log.ts';
import { watchPool } from '../metrics.ts';
import { AccessLog } from '../http/access_log.ts';
import { Accounts } from '../accounts/accounts.ts';
import { createAccountRoutes } from '../accounts/accounts_http.ts';
import { ApiCalls } from '../limits/api_calls.ts';
import { Authenticator, refuseAmbiguous } from '../http/auth.ts';
import { clientSettings } from '../http/client.ts';
import { ConnectionShare } from '../limits/connection_share.ts';
import type { LogError } from '../http/errors.ts';
import { errorReply } from '../http/http_error.ts';
import { CpuBudget } from '../limits/cpu_budget.ts';
import { DocumentCache, PlanCaches } from './document_cache.ts';
import { Authorizations } from '../credentials/authorizations.ts';
import { CredentialCommands } from '../credentials/credentials.ts';
import { CredentialTests } from '../credentials/test_credential.ts';
import { createOauth2Route } from '../credentials/oauth2_http.ts';
import { type JwtConfig, JwtVerifier } from '../http/jwt.ts';
import { LIMITS } from './limits.ts';
import { LiveRuns } from '../engine/live.ts';
import { Operations } from './persisted_operations.ts';
import { Passwords, type ScryptParameters } from '../accounts/passwords.ts';
import { createPreset, settingsOf } from './preset.ts';
import { type Rate, RateLimiter } from '../limits/rate_limit.ts';
import { type RequestOptions, admit, createCallerOf } from './requests.ts';
import { SharedReads } from './shared_reads.ts';
import { serveSockets } from './sockets.ts';
import type { Subscriptions } from './subscribe.ts';
import type { NodeConfig } from '../nodes/types.ts';
import { createTokenFetch } from '../nodes/token_fetch.ts';
import type { Vault } from '../vault/vault.ts';
import { DEFAULT_SUBSCRIPTIONS, SubscriptionLimits, type SubscriptionSettings } from '../limits/subscription_limits.ts';

/** Options of {@link createGraphql}. */
export interface GraphqlOptions {
  /** Connection string with the login of flowgres_api. */
  connectionString: string;
  /** Connection string without a transaction pooler, which LISTEN needs; connectionString when not given. */
  directConnectionString?: string;
  /** Most connections at a time; 10 when not given. */
  maxConnections?: number;
  /** Whether requests without a token may read the schema; when not given, only outside of NODE_ENV production. */
  openIntrospection?: boolean;
  /** Whether the Ruru page is served at `/graphiql`; when not given, only outside of NODE_ENV production. */
  ruru?: boolean;
  /** Objects that an answer may have, as estimated before execution; {@link LIMITS.maxCost} when not given. */
  maxCost?: number;
  /** Rate limits of each token, and of each address without a token; no limit when not given. */
  rates?: { token: Rate | null; anonymous: Rate | null };
  /** Limits of subscriptions per token and per organization; {@link DEFAULT_SUBSCRIPTIONS} when not given. */
  subscriptions?: SubscriptionSettings;
  /** Tokens of a document, with a bearer token and without; those of {@link LIMITS} when not given. */
  tokens?: { token: number; anonymous: number };
  /**
   * Milliseconds of CPU per second for the documents of one bearer token, and of one network without a token;
   * no limit when not given.
   */
  cpu?: { token: number | null; anonymous: number | null };
  /** Persisted operations; none when not given. */
  operations?: Operations;
  /** Origins of websites that may call the API; none when not given. */
  corsOrigins?: readonly string[];
  /** An identity provider whose tokens are accepted in addition. */
  jwt?: JwtConfig | undefined;
  /** The keys that seal credentials; without them nobody can create one. */
  vault?: Vault | undefined;
  /** The origin at which browsers reach this server; without one nobody can log in at OAuth2 providers. */
  publicUrl?: string | undefined;
  /** What requests to OAuth2 providers, and tests of credentials, may reach; public addresses only when not given. */
  nodes?: NodeConfig;
  /** Number of proxies between clients and this process, whose X-Forwarded-For is trusted; 0 when not given. */
  proxies?: number;
  /** Parameters of password hashing; {@link SCRYPT} when not given. */
  scrypt?: ScryptParameters;
  /** Receives what clients do not see; standard error when not given. */
  logError?: LogError;
  /**
   * The share of successful requests that the access log records, 0 to 1; 0.1 when not given. Failed requests
   * are always recorded.
   */
  accessLogSample?: number;
}

/** The parts that REST uses, too: connections, limits of requests and subscriptions, the access log. */
export interface SharedParts {
  pool: pg.Pool;
  requests: RequestOptions;
  subscriptions: Subscriptions;
  accessLog: AccessLog;
  logError: LogError;
}

/** The running GraphQL endpoint. */
export interface Graphql {
  /** Answers `/graphql` and the Ruru page at `/graphiql` with its files; 404 in JSON for anything else. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Answers `/auth/register`, `/auth/login` and `/auth/logout`. */
  handleAccounts(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Answers `/oauth2/callback`. */
  handleOauth2(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Takes over WebSockets at `/graphql`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** What other ways into the API share with GraphQL. */
  shared: SharedParts;
  /** The size of the caches: tokens of documents, and number of plans. */
  kept(): { documents: number; plans: number };
  /** Ends subscriptions and closes connections. */
  release(): Promise<void>;
}

/** Answers what Grafserv does not: 404 for unknown addresses, 500 for failures. */
function answerElse(response: ServerResponse, cause: unknown, logError: LogError): void {
  const missing = new FlowgresError('NOT_FOUND', 'There is nothing at this address.', { hint: 'GraphQL is at /graphql.' });
  const { status, headers, body } = errorReply(cause ?? missing, (message, error) =>
    logError({ errorId: '', message, cause: String(error) }),
  );
  response.writeHead(status, headers).end(body);
}

/**
 * Builds the schema and starts the endpoint. Rejects when the database is out of reach or a list has no unique
 * order.
 */
export async function createGraphql(options: GraphqlOptions): Promise<Graphql> {
  const parts = createParts(options);
  const instance = postgraphile(parts.preset);
  const server = instance.createServ(grafserv);
  const handler = server.createHandler();
  const [schema] = await Promise.all([instance.getSchema(), server.ready()]);

  const sockets = serveSockets(server, parts.requests);

  return {
    handle(request, response) {
      try {
        refuseAmbiguous(request);
      } catch (error) {
        const { status, headers, body } = errorReply(error, () => undefined);
        response.writeHead(status, headers).end(body);
        return;
      }
      void handler(request, response, (error?: unknown) => answerElse(response, error, parts.logError));
    },
    handleAccounts: createAccountRoutes({
      accounts: parts.accounts,
      async settingsOf(request) {
        refuseAmbiguous(request);
        const session = await admit(parts.requests, request.headers.authorization, request);
        return { ...settingsOf(session, randomUUID()), ...clientSettings(request, options.proxies ?? 0) };
      },
      onProblem: (message, error) => parts.logError({ errorId: '', message: `${message} ${String(error)}` }),
    }),
    handleOauth2: createOauth2Route({
      authorizations: parts.authorizations,
      async admit(request) {
        refuseAmbiguous(request);
        await admit(parts.requests, undefined, request);
      },
      onProblem: (message, error) => parts.logError({ errorId: '', message: `${message} ${String(error)}` }),
    }),
    upgrade: sockets.upgrade,
    shared: parts,
    kept: () => ({ documents: parts.cache.weight, plans: parts.plans.count(schema) }),
    async release() {
      await sockets.close();
      await parts.live.close();
      await instance.release();
      await Promise.all([parts.authenticator.close(), parts.accessLog.close(), parts.apiCalls.close()]);
      await parts.pool.end();
    },
  };
}

/** Returns the schema as sorted SDL, the content of `schema.graphql`. */
export async function printGraphqlSchema(connectionString: string): Promise<string> {
  const { preset, pool, live, authenticator } = createParts({ connectionString });
  try {
    const { schema } = await makeSchema(preset);
    return `${printSchema(lexicographicSortSchema(schema))}\n`;
  } finally {
    await live.close();
    await authenticator.close();
    await pool.end();
  }
}

function createParts(options: GraphqlOptions) {
  const { connectionString, directConnectionString, maxConnections, jwt } = options;
  const logError = options.logError ?? (({ message, ...facts }) => log.error(message, facts));
  const pool = createPool(connectionString, { name: 'flowgres graphql', ...(maxConnections ? { max: maxConnections } : {}) });
  watchPool('graphql', pool);
  const live = new LiveRuns(directConnectionString ?? connectionString);
  const authenticator = new Authenticator(pool, jwt && new JwtVerifier(jwt));
  const accessLog = new AccessLog(pool, { sample: options.accessLogSample ?? 0.1, logError });
  const apiCalls = new ApiCalls(pool);
  const connections = new ConnectionShare(pool.options.max, (session) => apiCalls.organizationOf(session));
  const accounts = new Accounts(pool, new Passwords(options.scrypt), connections);
  const credentials = new CredentialCommands(pool, connections, options.vault);
  const authorizations = new Authorizations({
    pool,
    commands: credentials,
    vault: options.vault,
    publicUrl: options.publicUrl,
    fetch: createTokenFetch(options.nodes ?? { httpAllow: [] }),
  });
  const limits = new SubscriptionLimits(options.subscriptions ?? DEFAULT_SUBSCRIPTIONS);
  const requests: RequestOptions = {
    subscriptions: limits,
    authenticator,
    apiCalls,
    connections,
    limiter: new RateLimiter(pool),
    operations: options.operations ?? new Operations(),
    rates: options.rates ?? { token: null, anonymous: null },
    corsOrigins: options.corsOrigins ?? [],
    proxies: options.proxies ?? 0,
  };
  const [cache, plans] = [new DocumentCache(), new PlanCaches()];
  const subscriptions: Subscriptions = { live, limits, reads: new SharedReads() };
  const preset = createPreset({
    pool,
    subscriptions,
    requests,
    accounts,
    credentials,
    authorizations,
    credentialTests: new CredentialTests({ pool, commands: credentials, nodes: options.nodes ?? { httpAllow: [] } }),
    maxCost: options.maxCost ?? LIMITS.maxCost,
    documents: {
      openIntrospection: options.openIntrospection ?? process.env['NODE_ENV'] !== 'production',
      tokens: options.tokens ?? { token: LIMITS.maxTokens, anonymous: LIMITS.maxAnonymousTokens },
      isPersisted: (query) => requests.operations.has(query),
      cpu: new CpuBudget(),
      cache,
      plans,
      callerOf: createCallerOf(requests, options.cpu ?? { token: null, anonymous: null }),
    },
    ruru: options.ruru ?? process.env['NODE_ENV'] !== 'production',
    logError,
    accessLog,
  });
  return {
    pool,
    live,
    authenticator,
    accounts,
    authorizations,
    accessLog,
    apiCalls,
    requests,
    subscriptions,
    cache,
    plans,
    logError,
    preset,
  };
}
