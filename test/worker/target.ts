/** The outside world of worker tests: an HTTP server that answers as the test says and remembers who called. */
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Call {
  path: string;
  key: string;
  response: ServerResponse;
  /** True when the caller went away before it was answered. */
  aborted: boolean;
}

export class Target {
  readonly calls: Call[] = [];
  readonly #server = createServer((request, response) => this.#handle(request, response));
  /** Answers a call; the default says 200 and the path. */
  answer: (call: Call, count: number) => void = ({ response, path }) => response.setHeader('content-type', 'text/plain').end(path);

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** A node that calls this server. */
  node(id: string, more: Record<string, unknown> = {}) {
    return { id, type: 'httpRequest', properties: { url: `http://${this.host}/${id}` }, ...more };
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const call = { path: request.url ?? '', key: String(request.headers['idempotency-key']), response, aborted: false };
    response.once('close', () => {
      call.aborted = !response.writableFinished;
    });
    this.calls.push(call);
    this.answer(call, this.calls.length);
  }
}
