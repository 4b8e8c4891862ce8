/** The part of `ws` that we use: its package has no types of its own. */
declare module 'ws' {
  import type { IncomingMessage } from 'node:http';
  import type { Duplex } from 'node:stream';

  export class WebSocket {
    close(code?: number, reason?: string): void;
    terminate(): void;
    /** Bytes that wait to be sent. */
    readonly bufferedAmount: number;
    send(...args: unknown[]): void;
  }

  export class WebSocketServer {
    readonly clients: Set<WebSocket>;
    constructor(options: { noServer: true; maxPayload: number });
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, done: (webSocket: WebSocket) => void): void;
    on(event: 'connection', listener: (webSocket: WebSocket) => void): void;
    emit(event: 'connection', webSocket: WebSocket, request: IncomingMessage): boolean;
  }
}
