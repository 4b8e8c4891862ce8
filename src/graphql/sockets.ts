/** GraphQL over WebSockets: who may open one, how many, and how much on each. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ConnectionInitMessage, Context } from 'graphql-ws';
import { type Extra, useServer } from 'graphql-ws/use/ws';
import { type GrafservBase, makeGraphQLWSConfig } from 'postgraphile/grafserv';
import { GraphQLError } from 'postgraphile/graphql';
import { type WebSocket, WebSocketServer } from 'ws';
import { exactNumber } from '../json/json.ts';
import { sessionOf } from '../http/auth.ts';
import { callerOf } from '../http/client.ts';
import { LIMITS } from './limits.ts';
import { type RequestOptions, bearerOf, isAllowedOrigin } from './requests.ts';
import { Counts } from '../limits/subscription_limits.ts';

/** Codes of the graphql-ws protocol: a client does not try again after these. */
const UNAUTHORIZED = 4401;
const TOO_MANY = 4429;
const PING_MS = 12_000;
const CLOSE_MS = 2_000;

export interface Sockets {
  /** Takes over WebSockets at `/graphql`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends every subscription. */
  close(): Promise<void>;
}

export function serveSockets(server: GrafservBase, { authenticator, corsOrigins, proxies }: RequestOptions): Sockets {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: LIMITS.maxBodyBytes });
  const counts = new Counts();
  const keyOf = ({ connectionParams, extra }: Pick<Context<ConnectionInitMessage['payload'], Extra>, 'connectionParams' | 'extra'>) =>
    sessionOf(bearerOf(connectionParams)) ?? callerOf(extra.request, proxies);
  const config = makeGraphQLWSConfig(server);
  const protocol = useServer(
    {
      ...config,
      jsonMessageReviver: exactNumber as (key: string, value: unknown) => unknown,
      async onConnect(context) {
        try {
          await authenticator.check(bearerOf(context.connectionParams));
        } catch {
          context.extra.socket.close(UNAUTHORIZED, 'UNAUTHENTICATED');
          return false;
        }
        if (counts.add(keyOf(context), LIMITS.maxSockets)) return true;
        context.extra.socket.close(TOO_MANY, 'LIMIT_REACHED');
        return false;
      },
      // Only of those that were let in.
      onDisconnect: (context) => counts.remove(keyOf(context)),
      onSubscribe(context, id, payload) {
        if (Object.keys(context.subscriptions).length <= LIMITS.maxSubscriptions) return config.onSubscribe?.(context, id, payload);
        const details = { limit: LIMITS.maxSubscriptions };
        return [new GraphQLError('Too many operations on one WebSocket.', { extensions: { code: 'LIMIT_REACHED', details } })];
      },
    },
    sockets,
    PING_MS,
  );

  sockets.on('connection', (webSocket: WebSocket) => cutOffUnread(webSocket));

  return {
    upgrade(request, socket, head) {
      if (request.url?.split('?', 1)[0] !== '/graphql') {
        refuse(socket, '404 Not Found');
      } else if (!isOwnOrigin(request) && !isAllowedOrigin(request.headers.origin!, corsOrigins)) {
        // CORS does not cover WebSockets: a page from anywhere may open one.
        refuse(socket, '403 Forbidden');
      } else {
        sockets.handleUpgrade(request, socket, head, (webSocket) => sockets.emit('connection', webSocket, request));
      }
    },
    async close() {
      // Clients are told to go; one that does not answer is cut off.
      const cutOff = setTimeout(() => {
        for (const webSocket of sockets.clients) webSocket.terminate();
      }, CLOSE_MS);
      await protocol.dispose();
      clearTimeout(cutOff);
    },
  };
}

/** What is sent waits in this process until the client reads it: one that does not read has an end. */
export function cutOffUnread(webSocket: WebSocket): void {
  const send = webSocket.send.bind(webSocket);
  webSocket.send = (...args: unknown[]) => {
    send(...args);
    if (webSocket.bufferedAmount > LIMITS.maxUnreadBytes) webSocket.terminate();
  };
}

/** Programs send no Origin, pages of this server its own. */
function isOwnOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
  return origin === undefined || URL.parse(origin)?.host === host;
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`);
}
