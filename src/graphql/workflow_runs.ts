/**
 * The subscription `workflowRuns`: the runs of an organization or a workflow as they start, change status and end,
 * without gaps by means of a cursor.
 */
import { type Step, context, lambda } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import { z } from 'zod';
import type { Changes } from '../engine/live.ts';
import { encodeJson } from '../json/json.ts';
import { type Topic, type RequestContext, type Subscriptions, subscribe } from './subscribe.ts';
import { RunsCursor } from './runs_cursor.ts';

const BATCH = 100;
/** Least time between two reads in milliseconds, since a busy workflow changes many times a second. */
const PAUSE_MS = 200;

/** Most workflows of other organizations that a subscription remembers. */
const MAX_FOREIGN = 10_000;

const runRow = z.object({
  organization_id: z.string(),
  run_id: z.string().nullable(),
  workflow_id: z.string().nullable(),
  status: z.string().nullable(),
  matches: z.boolean(),
});

interface RunChange {
  id: string;
  cursor: string;
}

const CHANGES = 'select * from engine.changed_runs($1, $2, $3, $4, $5, $6)';

/** Adds the subscription to the GraphQL schema. */
export function workflowRunsPlugin(subscriptions: Subscriptions): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const runs = build.input.pgRegistry.pgResources['workflow_runs'];
    if (!runs) throw new Error('workflow_runs is not exposed to this role');
    return {
      typeDefs: gql`
        extend type Subscription {
          """
          The runs of the organization, or of one workflow: first the unfinished ones of the latest 100, then each run
          when it starts and whenever its status has changed; a status that lasts less than a fifth of a second may be
          left out. With a filter only while the run matches it: with the status error, runs when they fail. After a lost
          connection subscribe again with the last cursor that you have: nothing is lost, what you have may come again.
          At most 100 unfinished runs are followed, the newest. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN,
          NOT_FOUND, INVALID_ARGUMENT (the cursor or the filter), TOO_LARGE.
          """
          workflowRuns(
            "Only runs of this workflow."
            workflowId: UUID
            "Which runs; all when not given."
            filter: WorkflowRunFilter
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
                return lambda(
                  [context(), args.getRaw('workflowId'), args.getRaw('filter'), args.getRaw('after')],
                  ([request, workflowId, filter, after]) =>
                    subscribe(
                      subscriptions,
                      request as unknown as RequestContext,
                      runsOf({
                        workflowId: workflowId == null ? null : String(workflowId),
                        filter: filter == null ? null : encodeJson(filter),
                        after: after == null ? undefined : String(after),
                      }),
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

interface Watched {
  /** Null for all workflows of the organization. */
  workflowId: string | null;
  /** JSON; null for all runs. */
  filter: string | null;
  after: string | undefined;
}

function runsOf({ workflowId, filter, after }: Watched): Topic<RunChange> {
  const cursor = after === undefined ? new RunsCursor() : RunsCursor.parse(after);
  let begun = after !== undefined;
  const workflows = new Workflows(workflowId);
  return {
    thing: 'workflow',
    concerns: (_runs, changed) => workflows.concern(changed),
    pauseMs: PAUSE_MS,
    query() {
      workflows.ask();
      const since = begun ? [cursor.floor, cursor.recent, cursor.open] : [null, [], []];
      return { text: CHANGES, values: [workflowId, ...since, filter, BATCH] };
    },
    page(rows) {
      const found = z.array(runRow).parse(rows);
      const known = new Set(cursor.open);
      const items: RunChange[] = [];
      for (const { run_id: id, status, matches } of found) {
        if (id === null || status === null || !cursor.tell(id, status)) continue;
        if (matches && (begun || cursor.isOpen(id))) items.push({ id, cursor: cursor.toString() });
      }
      workflows.answer(found.flatMap(({ workflow_id }) => workflow_id ?? []));
      const full = begun && found.filter(({ run_id: id }) => id !== null && !known.has(id)).length >= BATCH;
      begun = true;
      return found[0] ? { organizationId: found[0].organization_id, items, full, done: false } : null;
    },
  };
}

/**
 * Which notifications concern a subscription. They name workflows of all organizations; a workflow whose runs a read
 * did not find is taken for one of another organization. A wrong guess delays a change to the next regular read.
 */
class Workflows {
  readonly #only: string | null;
  readonly #foreign = new Set<string>();
  #unknown = new Set<string>();
  #asked = new Set<string>();

  /** @param only the one workflow of the subscription; null for all of its organization */
  constructor(only: string | null) {
    this.#only = only;
  }

  concern(changed: Changes): boolean {
    if (changed === 'many') return true;
    if (this.#only !== null) return changed.includes(this.#only);
    const mine = changed.filter((id) => !this.#foreign.has(id));
    for (const id of mine) this.#unknown.add(id);
    return mine.length > 0;
  }

  /** Called before a read. */
  ask(): void {
    for (const id of this.#unknown) this.#asked.add(id);
    this.#unknown = new Set();
  }

  /** Called after a read, with the workflows of the runs that it has found. */
  answer(found: readonly string[]): void {
    if (this.#foreign.size > MAX_FOREIGN) this.#foreign.clear();
    for (const id of this.#asked) this.#foreign.add(id);
    for (const id of found) this.#foreign.delete(id);
    this.#asked = new Set();
  }
}
