/** A proxy that kills the client or the backend (kill -9) at a chosen message between them. */
import { type AddressInfo, type Socket, connect, createServer } from 'node:net';

/** What is killed. */
export type Victim = 'client' | 'backend';

/** A running proxy. */
export interface Killer {
  /** Address of the proxy for the client. */
  url: string;
  /** Returns the number of statements and copy messages so far. */
  seen(): number;
  close(): void;
}

/** Frontend messages that have effects: a query, a parse, copy data and its end. */
const STEPS = new Set(['Q', 'P', 'd', 'c'].map((type) => type.charCodeAt(0)));
const KEY_DATA = 'K'.charCodeAt(0);

/** Starts the proxy. Calls `kill` right after forwarding the n-th such message; never for 0. */
export async function startKiller(serverUrl: string, step: number, kill: (backendPid: number) => void): Promise<Killer> {
  const upstream = new URL(serverUrl);
  let seen = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const backend = connect(Number(upstream.port), upstream.hostname);
    let pid = 0;
    for (const socket of [client, backend]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        backend.destroy();
      });
    }
    const fromBackend = messages(true, (type, body) => {
      if (type === KEY_DATA) pid = body.readInt32BE(0);
    });
    backend.on('data', (chunk) => {
      fromBackend(chunk);
      client.write(chunk);
    });
    const fromClient = messages(false, (type) => {
      if (STEPS.has(type)) seen += 1;
    });
    client.on('data', (chunk) => {
      const before = seen;
      fromClient(chunk);
      backend.write(chunk, () => {
        if (before < step && seen >= step) kill(pid);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(serverUrl);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    seen: () => seen,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Splits a protocol stream into messages; the first message of a client has no type. */
function messages(isTyped: boolean, onMessage: (type: number, body: Buffer) => void): (chunk: Buffer) => void {
  let open = Buffer.alloc(0);
  let hasType = isTyped;
  return (chunk) => {
    open = Buffer.concat([open, chunk]);
    for (;;) {
      const offset = hasType ? 1 : 0;
      if (open.length < offset + 4) return;
      const length = open.readInt32BE(offset);
      if (open.length < offset + length) return;
      onMessage(hasType ? open[0]! : 0, open.subarray(offset + 4, offset + length));
      open = open.subarray(offset + length);
      hasType = true;
    }
  };
}
