/**
 * The subscription `workflowRuns`: the runs of a workflow as they start, change status and end, without gaps by
 * means of a cursor.
 */
import { type Step, context, lambda } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import { z } from 'zod';
import { type Topic, type RequestContext, type Subscriptions, subscribe } from './subscribe.ts';
import { RunsCursor } from './runs_cursor.ts';

const BATCH = 100;
/** Least time between two reads in milliseconds, since a busy workflow changes many times a second. */
const PAUSE_MS = 200;

const runRow = z.object({ organization_id: z.string(), id: z.string().nullable(), status: z.string().nullable() });

interface RunChange {
  id: string;
  cursor: string;
}

/**
 * The latest runs, for a subscription without a cursor. Joins from the workflow, so that a request that may not
 * see it gets no row.
 */
const LATEST = `
  select w.organization_id, r.id, r.status
  from public.workflows as w
  left join lateral (
    select l.id, l.status from public.workflow_runs as l where l.workflow_id = w.id order by l.id desc limit ${BATCH}
  ) as r on true
  where w.id = $1
  order by r.id`;

/** Runs started since the cursor, without those already sent, and the changed status of unfinished ones. */
const CHANGES = `
  select w.organization_id, r.id, r.status
  from public.workflows as w
  left join lateral (
    (
      select n.id, n.status
      from public.workflow_runs as n
      where n.workflow_id = w.id and n.id > $2 and n.id <> all ($3::uuid[])
      order by n.id
      limit ${BATCH}
    )
    union all
    select o.id, o.status from public.workflow_runs as o where o.id = any ($4::uuid[]) and o.workflow_id = w.id
  ) as r on true
  where w.id = $1
  order by r.id`;

/** Adds the subscription to the GraphQL schema. */
export function workflowRunsPlugin(subscriptions: Subscriptions): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const runs = build.input.pgRegistry.pgResources['workflow_runs'];
    if (!runs) throw new Error('public.workflow_runs is not exposed to this role');
    return {
      typeDefs: gql`
        extend type Subscription {
          """
          The runs of a workflow: first the unfinished ones of its latest 100, then each run when it starts and whenever
          its status has changed; a status that lasts less than a fifth of a second may be left out. After a lost
          connection subscribe again with the last cursor that you have: nothing is lost, what you have may come again.
          At most 100 unfinished runs are followed, the newest. Errors: NOT_FOUND, UNAUTHENTICATED, INVALID_ARGUMENT (the
          cursor).
          """
          workflowRuns(
            "The workflow, by its id."
            workflowId: UUID!
            "The last cursor that you have."
            after: String
          ): WorkflowRunChange
        }

        "A run that has started or whose status has changed."
        type WorkflowRunChange {
          "Where to go on after a lost connection."
          cursor: String!
          "The run as it is now."
          workflowRun: WorkflowRun
        }
      `,
      objects: {
        Subscription: {
          plans: {
            workflowRuns: {
              subscribePlan(_$root: Step, args: { getRaw(name: string): Step }) {
                return lambda([context(), args.getRaw('workflowId'), args.getRaw('after')], ([request, workflowId, after]) =>
                  subscribe(
                    subscriptions,
                    request as unknown as RequestContext,
                    runsOf(String(workflowId), after == null ? undefined : String(after)),
                  ),
                );
              },
              plan: ($change: Step<RunChange>) => $change,
            },
          },
        },
        WorkflowRunChange: {
          plans: {
            cursor: ($change: Step<RunChange>) => lambda($change, ({ cursor }) => cursor, true),
            workflowRun: ($change: Step<RunChange>) => runs.get({ id: lambda($change, ({ id }) => id, true) }),
          },
        },
      },
    };
  });
}

function runsOf(workflowId: string, after: string | undefined): Topic<RunChange> {
  const cursor = after === undefined ? new RunsCursor() : RunsCursor.parse(after);
  let begun = after !== undefined;
  return {
    thing: 'workflow',
    concerns: (_runs, workflows) => workflows === 'many' || workflows.includes(workflowId),
    pauseMs: PAUSE_MS,
    query: () =>
      begun ? { text: CHANGES, values: [workflowId, cursor.floor, cursor.recent, cursor.open] } : { text: LATEST, values: [workflowId] },
    page(rows) {
      const found = z.array(runRow).parse(rows);
      const known = new Set(cursor.open);
      const items: RunChange[] = [];
      for (const { id, status } of found) {
        if (id === null || status === null || !cursor.tell(id, status)) continue;
        if (begun || cursor.isOpen(id)) items.push({ id, cursor: cursor.toString() });
      }
      const full = begun && found.filter(({ id }) => id !== null && !known.has(id)).length >= BATCH;
      begun = true;
      return found[0] ? { organizationId: found[0].organization_id, items, full, done: false } : null;
    },
  };
}
