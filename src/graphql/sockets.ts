/** GraphQL over WebSockets: checks who may open one, and limits sockets per caller and operations per socket. */
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

/** Close codes of the graphql-ws protocol; a client does not reconnect after these. */
const UNAUTHORIZED = 4401;
const TOO_MANY = 4429;
const PING_MS = 12_000;
const CLOSE_MS = 2_000;

/** The WebSocket endpoint. */
export interface Sockets {
  /** Takes over WebSockets at `/graphql`. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends every subscription and closes the sockets. */
  close(): Promise<void>;
}

/** Serves the graphql-ws protocol with Grafserv. */
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
      // Called only for sockets that were accepted, so only counted sockets are subtracted.
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
        // CORS does not apply to WebSockets: any page may try to open one.
        refuse(socket, '403 Forbidden');
      } else {
        sockets.handleUpgrade(request, socket, head, (webSocket) => sockets.emit('connection', webSocket, request));
      }
    },
    async close() {
      // Ask clients to close; terminate those that do not answer.
      const cutOff = setTimeout(() => {
        for (const webSocket of sockets.clients) webSocket.terminate();
      }, CLOSE_MS);
      await protocol.dispose();
      clearTimeout(cutOff);
    },
  };
}

/** Closes a socket whose client does not read: unread messages take memory of this process. */
export function cutOffUnread(webSocket: WebSocket): void {
  const send = webSocket.send.bind(webSocket);
  webSocket.send = (...args: unknown[]) => {
    send(...args);
    if (webSocket.bufferedAmount > LIMITS.maxUnreadBytes) webSocket.terminate();
  };
}

/** Whether the origin is this server's own, or missing, as programs send none. */
function isOwnOrigin({ headers: { origin, host } }: IncomingMessage): boolean {
  return origin === undefined || URL.parse(origin)?.host === host;
}

function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\n\r\n`);
}
