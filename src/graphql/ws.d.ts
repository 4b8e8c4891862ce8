/** Types of the members of `ws` that are used here: the package has none. */
declare module 'ws' {
  import type { IncomingMessage } from 'node:http';
  import type { Duplex } from 'node:stream';

  /** A server's end of a WebSocket. */
  export class WebSocket {
    close(code?: number, reason?: string): void;
    terminate(): void;
    /** Bytes that wait to be sent. */
    readonly bufferedAmount: number;
    send(...args: unknown[]): void;
  }

  /** Accepts WebSockets. */
  export class WebSocketServer {
    readonly clients: Set<WebSocket>;
    constructor(options: { noServer: true; maxPayload: number });
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (webSocket: WebSocket) => void): void;
    on(event: 'connection', listener: (webSocket: WebSocket) => void): void;
    emit(event: 'connection', webSocket: WebSocket, request: IncomingMessage): boolean;
  }
}
