/** The outside world: an HTTP server that mostly answers, and else fails, hangs, drips or breaks off. It remembers every call. */
import { type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Dice } from './dice.ts';

export interface Call {
  /** `<run>/<node>`: the same for every attempt of a step. */
  key: string;
  /** Milliseconds since 1970 by the database's clock. */
  at: number;
}

/** 100 MB that travel as 100 kB. */
const BOMB = gzipSync(Buffer.alloc(100 * 1024 ** 2));

const ANSWERS: { share: number; answer: (response: ServerResponse, body: string) => void }[] = [
  { share: 0.1, answer: (response) => response.writeHead(500).end('broken') },
  { share: 0.05, answer: (response) => response.writeHead(429, { 'retry-after': '1' }).end() },
  { share: 0.03, answer: () => undefined }, // hangs: the attempt's timeout ends it
  { share: 0.05, answer: (response) => response.writeHead(200, { 'content-length': 1_000 }).write('half', () => response.destroy()) },
  { share: 0.03, answer: (response, body) => drip(response, body) },
  { share: 0.01, answer: (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end(BOMB) },
  { share: 0.01, answer: (response) => response.writeHead(302, { location: '/again' }).end() },
];

function drip(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  const letters = [...body];
  const timer = setInterval(() => {
    const letter = letters.shift();
    if (letter !== undefined && !response.destroyed) return response.write(letter);
    clearInterval(timer);
    return response.end();
  }, 10);
}

export class Target {
  readonly calls: Call[] = [];
  readonly #dice: Dice;
  readonly #server = createServer((request, response) => {
    const key = String(request.headers['idempotency-key']);
    this.calls.push({ key, at: this.#now() });
    request.resume();
    request.on('error', () => undefined);
    this.#answer(response, JSON.stringify({ key }));
  });

  readonly #now: () => number;

  constructor(dice: Dice, now: () => number) {
    this.#dice = dice;
    this.#now = now;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(response: ServerResponse, body: string): void {
    let drawn = this.#dice.between(0, 1);
    for (const { share, answer } of ANSWERS) {
      if (drawn < share) return void answer(response, body);
      drawn -= share;
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end(body);
  }
}
