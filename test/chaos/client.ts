/** The client: offers webhooks at a steady rate and keeps a log of its own of what was accepted. */
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { z } from 'zod';
import type { Dice } from './dice.ts';

export interface Hook {
  /** `/hooks/<organization>/<path>` */
  path: string;
}

const accepted = z.object({ runId: z.string() });
const DUPLICATED = 0.1;
const MOST_OPEN = 400;
/** As a polite client: hundreds that hammer at the door would keep PostgreSQL from coming back. */
const RETRY_MS = { first: 250, longest: 3_000 };
/** A new connection for each request: one that was reset says nothing about the next. */
const agent = new Agent({ pipelining: 0, headersTimeout: 15_000, bodyTimeout: 15_000, connectTimeout: 3_000 });

export class Client {
  /** Runs by key; a second one under a key is a fault of ours. */
  readonly accepted = new Map<string, Set<string>>();
  readonly offered = new Set<string>();
  /** Requests that were answered otherwise, or not at all; each was made again with the same key. */
  unanswered = 0;
  /** Base addresses that take requests now. */
  rotation: string[];
  readonly #name: string;
  readonly #hooks: Hook[];
  readonly #dice: Dice;
  readonly #open = new Set<Promise<void>>();
  readonly #watchers = new Set<(status: number) => void>();
  #quiet = false;
  #number = 0;

  /** `name` begins its keys. */
  constructor(name: string, bases: string[], hooks: Hook[], dice: Dice) {
    this.#name = name;
    this.rotation = [...bases];
    this.#hooks = hooks;
    this.#dice = dice;
  }

  /** Offers so many webhooks a second until the end. */
  async offer(perSecond: number, end: AbortSignal): Promise<void> {
    const start = performance.now();
    for (let due = 1; !end.aborted; due += 1) {
      await delay(Math.max(0, start + (due * 1_000) / perSecond - performance.now()));
      if (this.#open.size < MOST_OPEN) this.send();
    }
  }

  /** A webhook under a new key, one in ten twice at once; `copies` sends as many at once. */
  send(copies = this.#dice.chance(DUPLICATED) ? 2 : 1, hook = this.#dice.pick(this.#hooks)): void {
    if (this.#quiet) return;
    this.#number += 1;
    const key = `${this.#name}-${this.#number}`;
    const body = JSON.stringify({ key, number: this.#number, seconds: this.#dice.between(0.5, 3) });
    this.offered.add(key);
    for (let copy = 0; copy < copies; copy += 1) {
      const sending = this.#untilAccepted(hook, key, body).finally(() => this.#open.delete(sending));
      this.#open.add(sending);
    }
  }

  /** Resolves when everything offered was accepted. */
  async settle(): Promise<void> {
    while (this.#open.size) await Promise.all(this.#open);
  }

  /** Does `work` while no request is open: a key lives for a week, so none may be carried over a jump of the clock. */
  async quietly(work: () => Promise<void>): Promise<void> {
    this.#quiet = true;
    try {
      while (this.#open.size) await Promise.all(this.#open);
      await work();
    } finally {
      this.#quiet = false;
    }
  }

  /** Shows the status of every answer until the returned function is called. */
  watch(see: (status: number) => void): () => void {
    this.#watchers.add(see);
    return () => this.#watchers.delete(see);
  }

  async #untilAccepted(hook: Hook, key: string, body: string): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      const runId = await this.#post(hook, key, body).catch(() => null);
      if (runId) {
        this.accepted.set(key, (this.accepted.get(key) ?? new Set()).add(runId));
        return;
      }
      this.unanswered += 1;
      await delay((0.5 + Math.random()) * Math.min(RETRY_MS.first * 2 ** attempt, RETRY_MS.longest));
    }
  }

  async #post(hook: Hook, key: string, body: string): Promise<string | null> {
    const base = this.#dice.pick(this.rotation);
    const answer = await request(`${base}${hook.path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body,
      dispatcher: agent,
    });
    const text = await answer.body.text();
    for (const see of this.#watchers) see(answer.statusCode);
    return answer.statusCode < 300 ? accepted.parse(JSON.parse(text)).runId : null;
  }
}
