/** A server of GraphQL and REST on a free port, with HTTP and graphql-ws clients. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { type GraphqlOptions, createGraphql } from '../../src/graphql/server.ts';
import { createRest } from '../../src/rest/rest.ts';
// As a value, so that servers are closed before databases are dropped.
import './database.ts';
import type { TestDatabase } from './database.ts';
import { all, atEndOfFile } from './end_of_file.ts';

/** An error of an answer. */
export interface GraphqlError {
  message: string;
  path?: (string | number)[];
  extensions?: { code?: string; hint?: string; details?: Record<string, unknown>; errorId?: string };
}

/** An answer over HTTP. */
export interface GraphqlAnswer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on the shape that it asked for
  data: any;
  errors?: GraphqlError[];
}

/** A running server. */
export interface TestServer {
  url: string;
  /** What the server logged instead of sending it to clients. */
  logged: { errorId: string; message: string; [key: string]: unknown }[];
  /** Sends a query with a token; anonymously when it is null. */
  query(token: string | null, query: string, variables?: Record<string, unknown>): Promise<GraphqlAnswer>;
  /** Like `query`, but returns the data and throws when there are errors. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  data(token: string | null, query: string, variables?: Record<string, unknown>): Promise<any>;
  /** Returns a graphql-ws client that does not reconnect. */
  subscribe(token: string | null): Client;
  /** Terminates every WebSocket, as a network failure does. */
  cut(): void;
  close(): Promise<void>;
}

const open = new Set<TestServer>();
atEndOfFile(() => all([...open].map((server) => server.close())));

/** Starts a GraphQL server for a database; it stops with the test file. */
export async function serveGraphql(db: TestDatabase, options: Partial<GraphqlOptions> = {}): Promise<TestServer> {
  const logged: TestServer['logged'] = [];
  const graphql = await createGraphql({
    connectionString: db.url('flowgres_api'),
    logError: (entry) => logged.push(entry),
    scrypt: { ln: 4, r: 1, p: 1 },
    ...options,
  });
  const rest = createRest(graphql.shared);
  const http = createServer((request, response) => {
    if (request.url?.startsWith('/auth/')) return graphql.handleAccounts(request, response);
    if (/^\/(?:api\/|schema\/|openapi\.json)/.test(request.url ?? '')) return rest.handle(request, response);
    return request.url?.startsWith('/oauth2/') ? graphql.handleOauth2(request, response) : graphql.handle(request, response);
  });
  const upgraded = new Set<Duplex>();
  http.on('upgrade', (request, socket, head) => {
    upgraded.add(socket);
    graphql.upgrade(request, socket, head);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(http.address() as AddressInfo).port}`;
  const url = `http://${address}/graphql`;
  const clients = new Set<Client>();

  const query: TestServer['query'] = async (token, text, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify({ query: text, variables }),
    });
    return { status: response.status, ...((await response.json()) as Omit<GraphqlAnswer, 'status'>) };
  };
  const server: TestServer = {
    url,
    logged,
    query,
    async data(token, text, variables) {
      const { data, errors } = await query(token, text, variables);
      if (errors) throw new Error(JSON.stringify(errors));
      return data;
    },
    subscribe(token) {
      const client = createClient({
        url: `ws://${address}/graphql`,
        webSocketImpl: WebSocket,
        retryAttempts: 0,
        lazyCloseTimeout: 0,
        ...(token ? { connectionParams: { authorization: `Bearer ${token}` } } : {}),
      });
      clients.add(client);
      return client;
    },
    cut() {
      for (const socket of upgraded) socket.destroy();
      upgraded.clear();
    },
    async close() {
      if (!open.delete(server)) return;
      rest.close();
      await Promise.all([...clients].map((client) => client.dispose()));
      await graphql.release();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
  open.add(server);
  return server;
}
