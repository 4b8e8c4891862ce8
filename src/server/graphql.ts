/** The GraphQL endpoint: the database's own tables and functions, served by PostGraphile over HTTP and WebSockets. */
import './environment.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { makeSchema, postgraphile } from 'postgraphile';
import { grafserv } from 'postgraphile/grafserv/node';
import { lexicographicSortSchema, printSchema } from 'postgraphile/graphql';
import { createPool } from '../database.ts';
import { Authenticator } from './auth.ts';
import type { LogError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { LiveRuns } from './live.ts';
import { Operations } from './operations.ts';
import { createPreset } from './preset.ts';
import { type Rate, RateLimiter } from './rate_limit.ts';
import type { RequestOptions } from './requests.ts';
import { serveSockets } from './sockets.ts';

export interface GraphqlOptions {
  /** Connection string with the login of flowgres_api. */
  connectionString: string;
  /** The same without a transaction pooler in between, which LISTEN cannot pass; connectionString when not given. */
  directConnectionString?: string;
  /** Most connections at a time; 10 when not given. */
  maxConnections?: number;
  /** Whether requests without a token may read the schema; by default not when NODE_ENV is production. */
  openIntrospection?: boolean;
  /** Objects that an answer may have, by the estimate before it is executed; {@link LIMITS.maxCost} when not given. */
  maxCost?: number;
  /** Requests of each token, and of each address without one; no limit when not given. */
  rates?: { token: Rate | null; anonymous: Rate | null };
  /** Documents that clients may name instead of sending. */
  operations?: Operations;
  /** Websites whose pages may call the API; none when not given. */
  corsOrigins?: readonly string[];
  /** Our own proxies in front of the server; 0 when not given. */
  trustedProxies?: number;
  /** Gets what clients are not told; standard error by default. */
  logError?: LogError;
}

export interface Graphql {
  /** Answers `/graphql`, and the Ruru page at `/` with its files; 404 for anything else. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Takes over WebSockets at `/graphql`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends subscriptions and connections. */
  release(): Promise<void>;
}

export async function createGraphql(options: GraphqlOptions): Promise<Graphql> {
  const parts = createParts(options);
  const instance = postgraphile(parts.preset);
  const server = instance.createServ(grafserv);
  const handler = server.createHandler();
  await Promise.all([instance.getSchema(), server.ready()]);

  const sockets = serveSockets(server, parts.requests);

  return {
    handle: handler,
    upgrade: sockets.upgrade,
    async release() {
      await sockets.close();
      await parts.live.close();
      await instance.release();
      await parts.pool.end();
    },
  };
}

/** The schema as SDL, sorted: what `schema.graphql` holds. */
export async function printGraphqlSchema(connectionString: string): Promise<string> {
  const { preset, pool, live } = createParts({ connectionString });
  try {
    const { schema } = await makeSchema(preset);
    return `${printSchema(lexicographicSortSchema(schema))}\n`;
  } finally {
    await live.close();
    await pool.end();
  }
}

function createParts(options: GraphqlOptions) {
  const { connectionString, directConnectionString, maxConnections } = options;
  const pool = createPool(connectionString, { name: 'flowgres graphql', ...(maxConnections ? { max: maxConnections } : {}) });
  const live = new LiveRuns(directConnectionString ?? connectionString);
  const requests: RequestOptions = {
    authenticator: new Authenticator(pool),
    limiter: new RateLimiter(pool),
    operations: options.operations ?? new Operations(),
    rates: options.rates ?? { token: null, anonymous: null },
    corsOrigins: options.corsOrigins ?? [],
    trustedProxies: options.trustedProxies ?? 0,
  };
  const preset = createPreset({
    pool,
    live,
    requests,
    maxCost: options.maxCost ?? LIMITS.maxCost,
    openIntrospection: options.openIntrospection ?? process.env['NODE_ENV'] !== 'production',
    logError: options.logError ?? ((entry) => console.error(JSON.stringify(entry))),
  });
  return { pool, live, requests, preset };
}
