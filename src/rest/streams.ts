/** Events of a run as server-sent events: the loop of subscriptions, over one HTTP answer. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { LIMITS } from '../constants.ts';
import type { RequestSettings } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import { type Subscriptions, type Topic, subscribe } from '../graphql/subscribe.ts';
import type { Reply } from '../http/http_error.ts';
import { Counts } from '../limits/subscription_limits.ts';
import type { Statement } from './routes.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

const BATCH = 100;
const RETRY_MS = 1_000;
const HEADERS = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no' };

/** Runs a statement for a request and returns its column `body`. */
export type Query = (settings: RequestSettings, statement: Statement) => Promise<string>;

/** What is streamed, for whom. */
export interface Stream {
  settings: RequestSettings;
  runId: string;
  after: number;
}

const nextPage = z.object({
  organizationId: z.string(),
  isFinished: z.boolean(),
  events: z.array(z.object({ seq: z.number(), type: z.string(), text: z.string(), isLast: z.boolean() })),
});

/** One statement, so that the status of the run and its events belong to the same snapshot; no row without rights. */
const NEXT = `
  select case when r.id is not null then jsonb_build_object(
    'organizationId', r.organization_id,
    'isFinished', r.finished_at is not null,
    'events', coalesce((
      select jsonb_agg(jsonb_build_object(
        'seq', e.seq, 'type', e.type, 'isLast', e.type in ('run.succeeded', 'run.failed', 'run.canceled'),
        'text', jsonb_build_object('seq', e.seq, 'ts', e.ts, 'type', e.type, 'payload', e.payload)::text
      ) order by e.seq)
      from (select l.* from ${API_SCHEMA}.workflow_runs_events(r) as l where l.seq > $2 order by l.seq limit ${BATCH}) as e
    ), '[]')
  )::text end as body
  from (select) as one left join ${API_SCHEMA}.workflow_runs as r on r.id = $1`;

/** Whether a request asks for a stream. */
export function wantsStream({ headers: { accept } }: IncomingMessage): boolean {
  return /\btext\/event-stream\b/i.test(accept ?? '');
}

/** The open streams of a process. */
export class Streams {
  readonly #subscriptions: Subscriptions;
  readonly #query: Query;
  readonly #counts = new Counts();
  readonly #open = new Set<AbortController>();
  #isClosed = false;

  constructor(subscriptions: Subscriptions, query: Query) {
    this.#subscriptions = subscriptions;
    this.#query = query;
  }

  close(): void {
    this.#isClosed = true;
    for (const each of this.#open) each.abort();
  }

  /**
   * Sends the events until the run has ended, the client is gone or the process stops. Returns an answer for a run
   * that has nothing more to send: 204, which ends the attempts of an EventSource.
   *
   * @throws FlowgresError NOT_FOUND, FORBIDDEN, LIMIT_REACHED, UNAVAILABLE (the process stops)
   */
  async answer(request: IncomingMessage, response: ServerResponse, stream: Stream): Promise<Reply | undefined> {
    if (this.#isClosed) throw new FlowgresError('UNAVAILABLE', 'The process stops.', { hint: 'Try again in a moment.' });
    const after = lastEventOf(request) ?? stream.after;
    const key = stream.settings['flowgres.session'] ?? '';
    const limit = LIMITS.httpApi.streams;
    if (!this.#counts.add(key, limit)) {
      throw new FlowgresError('LIMIT_REACHED', `There are ${limit} streams of this token already.`, { details: { limit } });
    }
    try {
      // Checks the rights with their own errors, before the first line.
      const text = 'select engine.show_run_events($1, $2, 1)::text as body';
      const start = await this.#query(stream.settings, { text, values: [stream.runId, after] });
      const { events, isFinished } = z.object({ events: z.array(z.unknown()), isFinished: z.boolean() }).parse(JSON.parse(start));
      if (isFinished && events.length === 0) return { status: 204, headers: {}, body: null };
      await this.#send(response, stream, after);
      return undefined;
    } finally {
      this.#counts.remove(key);
    }
  }

  async #send(response: ServerResponse, { settings, runId }: Stream, after: number): Promise<void> {
    const stopped = new AbortController();
    this.#open.add(stopped);
    const topic = eventsOf(runId, after);
    const reader = {
      pgSettings: settings,
      withPgClient: async (_: unknown, callback: (client: { query(query: Statement): Promise<{ rows: unknown[] }> }) => Promise<unknown>) =>
        callback({ query: async (statement) => ({ rows: [await this.#query(settings, statement).catch(missing)] }) }),
    };
    const items = await subscribe(this.#subscriptions, reader as unknown as Parameters<typeof subscribe>[1], topic).catch(
      (error: unknown) => {
        this.#open.delete(stopped);
        throw error;
      },
    );
    const end = () => void items.return?.();
    response.once('close', end);
    stopped.signal.addEventListener('abort', end);
    const heartbeat = setInterval(() => beat(response), LIMITS.httpApi.heartbeatMs);
    try {
      response.writeHead(200, HEADERS);
      response.write(`retry: ${RETRY_MS}\n\n`);
      for await (const { seq, type, text } of items) {
        if (response.destroyed || stopped.signal.aborted) break;
        if (!response.write(`id: ${seq}\nevent: ${type}\ndata: ${text}\n\n`))
          await Promise.race([once(response, 'drain'), once(response, 'close')]);
      }
    } finally {
      clearInterval(heartbeat);
      this.#open.delete(stopped);
      response.end();
    }
  }
}

/** Cuts off a client that has not read the lines before; otherwise sends a comment, so that proxies keep the connection. */
function beat(response: ServerResponse): void {
  if (response.writableNeedDrain) response.destroy();
  else response.write(': \n\n');
}

/** A token that is no longer valid sees no run: the stream ends. */
function missing(error: unknown): null {
  if (error instanceof FlowgresError && error.code === 'NOT_FOUND') return null;
  throw error;
}

function lastEventOf(request: IncomingMessage): number | undefined {
  const header = request.headers['last-event-id'];
  if (header === undefined || header === '') return undefined;
  const parsed = z.coerce.number().int().min(0).max(2_147_483_647).safeParse(header);
  if (!parsed.success) throw new FlowgresError('INVALID_ARGUMENT', 'Last-Event-ID is not the seq of an event.');
  return parsed.data;
}

interface Item {
  seq: number;
  type: string;
  text: string;
}

function eventsOf(runId: string, after: number): Topic<Item> {
  let seq = after;
  return {
    thing: 'run',
    concerns: (runs) => runs === 'many' || runs.includes(runId),
    query: () => ({ text: NEXT, values: [runId, seq] }),
    page([row]) {
      if (typeof row !== 'string') return null;
      const { organizationId, isFinished, events } = nextPage.parse(JSON.parse(row));
      const last = events.at(-1);
      seq = last?.seq ?? seq;
      return { organizationId, items: events, done: last ? last.isLast : isFinished, full: events.length === BATCH };
    },
  };
}
