/** The subscription `workflowRunEvents`: the log of a run as it grows, gapless by `seq`. */
import { SafeError, type Step, context, lambda } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import type { WithPgClient } from 'postgraphile/@dataplan/pg';
import { z } from 'zod';
import type { LiveRuns } from './live.ts';

/** Notifications are hints: a subscription reads again this often without any. */
const REREAD_MS = 5_000;
const BATCH = 100;

const Row = z.object({
  finished: z.boolean(),
  id: z.string().nullable(),
  ts: z.string().nullable(),
  seq: z.coerce.number().nullable(),
  terminal: z.boolean().nullable(),
});

/** Where an event is; the subscription's fields read it under the subscriber's own rights. */
interface EventKey {
  id: string;
  ts: string;
}

interface RequestContext {
  withPgClient: WithPgClient;
  pgSettings: Record<string, string>;
}

/** One statement, so that the run's state and its events are of one moment. */
const NEXT_EVENTS = `
  select
    r.finished_at is not null as finished,
    e.id::text,
    e.ts::text,
    e.seq,
    e.type in ('run.succeeded', 'run.failed', 'run.canceled') as terminal
  from public.workflow_runs as r
  left join lateral (
    select l.* from public.workflow_runs_events(r) as l where l.seq > $2 order by l.seq limit ${BATCH}
  ) as e on true
  where r.id = $1
  order by e.seq`;

export function subscriptionsPlugin(live: LiveRuns): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const events = build.input.pgRegistry.pgResources['workflow_events'];
    if (!events) throw new Error('public.workflow_events is not exposed to this role');
    return {
      typeDefs: gql`
        extend type Subscription {
          """
          The events of a run: first those after the given seq (0: all of them), then each one as it happens, once and in
          order, until the run has ended. After a lost connection subscribe again with the last seq that you have. Errors:
          NOT_FOUND, UNAUTHENTICATED.
          """
          workflowRunEvents(
            "The run, by its id."
            runId: UUID!
            "The last seq that you have: 0 when not given."
            after: Int
          ): WorkflowEvent
        }
      `,
      objects: {
        Subscription: {
          plans: {
            workflowRunEvents: {
              subscribePlan(_$root: Step, args: { getRaw(name: string): Step }) {
                return lambda([context(), args.getRaw('runId'), args.getRaw('after')], ([request, runId, after]) =>
                  followRun(live, request as unknown as RequestContext, String(runId), Number(after ?? 0)),
                );
              },
              plan($event: Step<EventKey>) {
                return events.get({ id: lambda($event, (event) => event.id, true), ts: lambda($event, (event) => event.ts, true) });
              },
            },
          },
        },
      },
    };
  });
}

/** Authorises now, then returns the stream; a run that the request may not see is NOT_FOUND. */
async function followRun(live: LiveRuns, request: RequestContext, runId: string, after: number): Promise<AsyncIterableIterator<EventKey>> {
  const read = async (seq: number): Promise<z.infer<typeof Row>[]> => {
    const { rows } = await request.withPgClient(request.pgSettings, (client) => client.query({ text: NEXT_EVENTS, values: [runId, seq] }));
    return z.array(Row).parse(rows);
  };
  if ((await read(after)).length === 0) {
    throw new SafeError('There is no such run in this organization.', { code: 'NOT_FOUND' });
  }
  const alarm = new Alarm();
  const unsubscribe = live.subscribe((news) => {
    if (news === 'many' || news.includes(runId)) alarm.ring();
  });
  const stream = follow(read, after, alarm);
  const stop = async (): Promise<IteratorResult<EventKey>> => {
    unsubscribe();
    alarm.close();
    return stream.return(undefined);
  };
  const iterator: AsyncIterableIterator<EventKey> = {
    next: () => stream.next(),
    return: stop,
    throw: stop,
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}

async function* follow(
  read: (seq: number) => Promise<z.infer<typeof Row>[]>,
  after: number,
  alarm: Alarm,
): AsyncGenerator<EventKey, undefined> {
  let seq = after;
  while (!alarm.closed) {
    alarm.reset();
    // The database may be away for a moment: the cursor stays, so the next read goes on where this one would have.
    const rows = await read(seq).catch(() => undefined);
    // The run is gone, or the token is no longer valid.
    if (rows?.length === 0) return;
    for (const row of rows ?? []) {
      if (row.id === null || row.ts === null || row.seq === null) {
        if (row.finished) return;
        continue;
      }
      yield { id: row.id, ts: row.ts };
      if (row.terminal) return;
      seq = row.seq;
    }
    if (!rows || rows.length < BATCH) await alarm.wait(REREAD_MS);
  }
}

/** Wakes its one waiter; a ring before the wait counts. */
class Alarm {
  closed = false;
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  reset(): void {
    this.#rung = false;
  }

  close(): void {
    this.closed = true;
    this.ring();
  }

  async wait(ms: number): Promise<void> {
    if (this.#rung) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, ms).unref();
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }
}
