/** The GraphQL endpoint: the database's own tables and functions, served by PostGraphile over HTTP and WebSockets. */
import './environment.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { useServer } from 'graphql-ws/use/ws';
import { makeSchema, postgraphile } from 'postgraphile';
import { makeGraphQLWSConfig } from 'postgraphile/grafserv';
import { grafserv } from 'postgraphile/grafserv/node';
import { lexicographicSortSchema, printSchema } from 'postgraphile/graphql';
import { WebSocketServer } from 'ws';
import { createPool } from '../database.ts';
import { Accounts } from './accounts.ts';
import { createAccountRoutes } from './accounts_http.ts';
import { Authenticator, refuseAmbiguous } from './auth.ts';
import { clientSettings } from './client.ts';
import type { LogError } from './errors.ts';
import { errorReply } from './http_error.ts';
import { type JwtConfig, JwtVerifier } from './jwt.ts';
import { LIMITS } from './limits.ts';
import { LiveRuns } from './live.ts';
import { Passwords, type ScryptParameters } from './passwords.ts';
import { bearerOf, createPreset, settingsOf } from './preset.ts';

export interface GraphqlOptions {
  /** Connection string with the login of flowgres_api. */
  connectionString: string;
  /** The same without a transaction pooler in between, which LISTEN cannot pass; connectionString when not given. */
  directConnectionString?: string;
  /** Most connections at a time; 10 when not given. */
  maxConnections?: number;
  /** Whether requests without a token may read the schema; by default not when NODE_ENV is production. */
  openIntrospection?: boolean;
  /** An identity provider whose tokens are accepted beside our own. */
  jwt?: JwtConfig | undefined;
  /** Proxies between clients and this process, whose X-Forwarded-For is believed; 0 when not given. */
  proxies?: number;
  /** How passwords are hashed; expensively when not given. */
  scrypt?: ScryptParameters;
  /** Gets what clients are not told; standard error by default. */
  logError?: LogError;
}

export interface Graphql {
  /** Answers `/graphql`, and the Ruru page at `/` with its files; 404 for anything else. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Answers `/auth/register`, `/auth/login` and `/auth/logout`. */
  handleAccounts(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** Takes over WebSockets at `/graphql`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends subscriptions and connections. */
  release(): Promise<void>;
}

/** Of the graphql-ws protocol: a client does not try again after this code. */
const UNAUTHORIZED = 4401;
const PING_MS = 12_000;
const CLOSE_MS = 2_000;

export async function createGraphql(options: GraphqlOptions): Promise<Graphql> {
  const parts = createParts(options);
  const instance = postgraphile(parts.preset);
  const server = instance.createServ(grafserv);
  const handler = server.createHandler();
  await Promise.all([instance.getSchema(), server.ready()]);

  const sockets = new WebSocketServer({ noServer: true, maxPayload: LIMITS.maxBodyBytes });
  const protocol = useServer(
    {
      ...makeGraphQLWSConfig(server),
      async onConnect({ connectionParams, extra }) {
        try {
          await parts.authenticator.check(bearerOf(connectionParams));
          return true;
        } catch {
          extra.socket.close(UNAUTHORIZED, 'UNAUTHENTICATED');
          return false;
        }
      },
    },
    sockets,
    PING_MS,
  );

  return {
    handle(request, response) {
      try {
        refuseAmbiguous(request);
      } catch (error) {
        const { status, headers, body } = errorReply(error, () => undefined);
        response.writeHead(status, headers).end(body);
        return;
      }
      void handler(request, response);
    },
    handleAccounts: createAccountRoutes({
      accounts: parts.accounts,
      async settingsOf(request) {
        refuseAmbiguous(request);
        await parts.authenticator.check(request.headers.authorization);
        return { ...settingsOf(request.headers.authorization), ...clientSettings(request, options.proxies ?? 0) };
      },
      onProblem: (message, error) => parts.logError({ errorId: '', message: `${message} ${String(error)}` }),
    }),
    upgrade(request, socket, head) {
      if (request.url?.split('?', 1)[0] !== '/graphql') {
        socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
        return;
      }
      sockets.handleUpgrade(request, socket, head, (webSocket) => sockets.emit('connection', webSocket, request));
    },
    async release() {
      // Clients are told to go; one that does not answer is cut off.
      const cutOff = setTimeout(() => {
        for (const webSocket of sockets.clients) webSocket.terminate();
      }, CLOSE_MS);
      await protocol.dispose();
      clearTimeout(cutOff);
      await parts.live.close();
      await instance.release();
      await parts.authenticator.close();
      await parts.pool.end();
    },
  };
}

/** The schema as SDL, sorted: what `schema.graphql` holds. */
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
  const { connectionString, directConnectionString, maxConnections, openIntrospection, jwt, proxies, scrypt } = options;
  const pool = createPool(connectionString, { name: 'flowgres graphql', ...(maxConnections ? { max: maxConnections } : {}) });
  const live = new LiveRuns(directConnectionString ?? connectionString);
  const authenticator = new Authenticator(pool, jwt && new JwtVerifier(jwt));
  const accounts = new Accounts(pool, new Passwords(scrypt));
  const logError = options.logError ?? ((entry) => console.error(JSON.stringify(entry)));
  const preset = createPreset({
    pool,
    live,
    authenticator,
    accounts,
    proxies: proxies ?? 0,
    openIntrospection: openIntrospection ?? process.env['NODE_ENV'] !== 'production',
    logError,
  });
  return { pool, live, authenticator, accounts, logError, preset };
}
