/**
 * The subscription `workflowRunEvents`: the events of a run in the order of `seq`, without gaps, including new
 * ones.
 */
import { type Step, context, lambda } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import { z } from 'zod';
import { type Topic, type RequestContext, type Subscriptions, subscribe } from './subscribe.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

const BATCH = 100;

const eventRow = z.object({
  organization_id: z.string(),
  finished: z.boolean(),
  id: z.string().nullable(),
  ts: z.string().nullable(),
  seq: z.coerce.number().nullable(),
  terminal: z.boolean().nullable(),
});

/** The key of an event. The subscription's fields read the event under the subscriber's own rights. */
interface EventKey {
  id: string;
  ts: string;
}

/** One statement, so that the status of the run and its events belong to the same snapshot. */
const NEXT_EVENTS = `
  select
    r.organization_id,
    r.finished_at is not null as finished,
    e.id::text,
    e.ts::text,
    e.seq,
    e.type in ('run.succeeded', 'run.failed', 'run.canceled') as terminal
  from ${API_SCHEMA}.workflow_runs as r
  left join lateral (
    select l.* from ${API_SCHEMA}.workflow_runs_events(r) as l where l.seq > $2 order by l.seq limit ${BATCH}
  ) as e on true
  where r.id = $1
  order by e.seq`;

/** Adds the subscription to the GraphQL schema. */
export function runEventsPlugin(subscriptions: Subscriptions): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const events = build.input.pgRegistry.pgResources['workflow_events'];
    if (!events) throw new Error('workflow_events is not exposed to this role');
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
                  subscribe(subscriptions, request as unknown as RequestContext, eventsOf(String(runId), Number(after ?? 0))),
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

function eventsOf(runId: string, after: number): Topic<EventKey> {
  let seq = after;
  return {
    thing: 'run',
    concerns: (runs) => runs === 'many' || runs.includes(runId),
    query: () => ({ text: NEXT_EVENTS, values: [runId, seq] }),
    page(found) {
      const rows = z.array(eventRow).parse(found);
      const items: EventKey[] = [];
      let done = false;
      for (const row of rows) {
        if (row.id === null || row.ts === null || row.seq === null) {
          done = row.finished;
          continue;
        }
        items.push({ id: row.id, ts: row.ts });
        seq = row.seq;
        done = row.terminal === true;
      }
      return rows[0] ? { organizationId: rows[0].organization_id, items, done, full: items.length === BATCH } : null;
    },
  };
}
