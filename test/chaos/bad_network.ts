/** A TCP proxy before PostgreSQL that can be slow, silent, or break a connection in the worst moment. */
import { type AddressInfo, type Socket, createServer, connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

interface Link {
  client: Socket;
  server: Socket;
  /** The next request goes through; its answer does not, and the connection ends: nobody knows whether it was committed. */
  losesNextAnswer: boolean;
}

export class BadNetwork {
  readonly #links = new Set<Link>();
  readonly #listener;
  #delayMs = 0;
  #silent = false;
  /** Answers that were lost after the request had gone through. */
  lostAnswers = 0;

  constructor(target: number) {
    this.#listener = createServer((client) => this.#accept(client, target));
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#listener.listen(0, '127.0.0.1', resolve));
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** Every answer comes that much later. */
  slowDown(milliseconds: number): void {
    this.#delayMs = milliseconds;
  }

  /** Accepts connections and bytes, and passes nothing on. */
  silence(on: boolean): void {
    this.#silent = on;
    for (const { client, server } of this.#links) {
      for (const socket of [client, server]) on ? socket.pause() : socket.resume();
    }
  }

  cutAll(): void {
    for (const { client, server } of this.#links) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  /** Loses the answer to the next request of that share of the connections. */
  loseAnswers(isChosen: () => boolean): void {
    for (const link of this.#links) link.losesNextAnswer = isChosen();
  }

  close(): void {
    this.cutAll();
    this.#listener.close();
  }

  #accept(client: Socket, target: number): void {
    const server = connect(target, '127.0.0.1');
    const link: Link = { client, server, losesNextAnswer: false };
    this.#links.add(link);
    const end = () => {
      this.#links.delete(link);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true).on('error', end).on('close', end);
      if (this.#silent) socket.pause();
    }
    let asked = false;
    client.on('data', (bytes) => {
      asked = link.losesNextAnswer;
      server.write(bytes);
    });
    server.on('data', async (bytes) => {
      if (asked) {
        this.lostAnswers += 1;
        return client.resetAndDestroy();
      }
      if (this.#delayMs) await delay(this.#delayMs);
      if (!client.destroyed) client.write(bytes);
    });
  }
}
