/**
 * The filter and the orders of runs. Lists, counts, statistics, subscriptions and commands on many runs take the
 * same input type, WorkflowRunFilter, and pass it to one function of the database, engine.run_matches.
 */
import { type PgCodec, type PgResource, TYPES, sqlValueWithCodec } from 'postgraphile/@dataplan/pg';
import type { ConnectionStep, FieldArg, Step } from 'postgraphile/grafast';
import type { GraphQLInputType } from 'postgraphile/graphql';
import { type SQL, sql } from 'postgraphile/pg-sql2';
import { encodeJson } from '../json/json.ts';

/** The table whose lists have the filter. */
const TABLE = 'workflow_runs';
const TYPE = 'WorkflowRunFilter';

/** Functions with an argument `filter` that is a filter of runs. */
const FUNCTIONS: ReadonlySet<string> = new Set(['cancel_runs', 'retry_runs', 'workflow_run_count', 'workflow_run_stats']);

/** The argument `filter` of those functions: JSON in SQL, the input type in GraphQL. */
const FILTER: PgCodec = { ...(TYPES.jsonb as PgCodec), name: 'workflow_run_filter', toPg: encodeJson } as PgCodec;

/** What is put in the place of a list's filter; pg_service.ts finds statements by it. */
export const FILTERED = 'engine.run_matches(';

type Kind = 'choice' | 'range' | 'metadata';

interface Condition {
  kind: Kind;
  /** The type of the values; unused for metadata. */
  type: string;
  description: string;
}

const choice = (type: string, description: string): Condition => ({ kind: 'choice', type, description });
const range = (type: string, description: string): Condition => ({ kind: 'range', type, description });

/** The fields of the filter, as engine.run_filter_schema() has them. */
export const CONDITIONS: Readonly<Record<string, Condition>> = {
  id: choice('UUID', 'The id of the run.'),
  workflowId: choice('UUID', 'The workflow that ran.'),
  version: choice('Int', 'The version that the run executes.'),
  status: choice('WorkflowRunStatus', 'The status of the run.'),
  mode: choice('WorkflowRunMode', 'What started the run.'),
  triggerNode: choice('String', 'The trigger node at which the run began.'),
  parentRunId: choice('UUID', 'The run whose step started this one; null for runs that no step started.'),
  startedById: choice('UUID', 'The user who started it.'),
  errorCode: choice('String', 'The code of the error of a failed run.'),
  startedAt: range('Datetime', 'When the run was created.'),
  finishedAt: range('Datetime', 'When the run reached its final status.'),
  durationMs: range('Float', 'Milliseconds from the start of the run to its end.'),
  metadata: { kind: 'metadata', type: 'JSON', description: 'What was given at the start. No index serves it: name a time, too.' },
};

const EQUALITY: Readonly<Record<string, string>> = {
  equalTo: 'Equal to the specified value.',
  notEqualTo: 'Not equal to the specified value.',
};
const COMPARISONS: Readonly<Record<string, string>> = {
  lessThan: 'Less than the specified value.',
  lessThanOrEqualTo: 'Less than or equal to the specified value.',
  greaterThan: 'Greater than the specified value.',
  greaterThanOrEqualTo: 'Greater than or equal to the specified value.',
};

/** The name of the type of a condition. */
const conditionName = ({ kind, type }: Condition): string =>
  kind === 'metadata' ? 'MetadataCondition' : `${type}${kind === 'choice' ? 'Choice' : 'Range'}`;

/** A query builder, as a callback of an argument gets it. */
interface Builder {
  alias: SQL;
  where(condition: SQL): void;
}

function filterBy(builder: Builder, filter: unknown): void {
  if (filter == null) return;
  const value = sqlValueWithCodec(encodeJson(filter), TYPES.text);
  builder.where(sql`engine.run_matches(${builder.alias}, engine.checked_run_filter((${value})::jsonb))`);
}

interface Orderable {
  alias: SQL;
  orderBy(order: { attribute: string; direction: 'ASC' | 'DESC' } | { fragment: SQL; codec: PgCodec; direction: 'ASC' | 'DESC' }): void;
  setOrderIsUnique(): void;
}

const INFINITE = sql`'infinity'`;

/** Orders by columns that no plain column stands for; each ends with the id. */
const ORDERS: Readonly<Record<string, (alias: SQL) => { fragment: SQL; codec: PgCodec } | null>> = {
  // The id has the time of the start.
  STARTED_AT: () => null,
  // Unfinished runs come last: workflow_runs_finished_at_idx has the same expression.
  FINISHED_AT: (alias) => ({ fragment: sql`coalesce(${alias}.finished_at, ${INFINITE})`, codec: TYPES.timestamptz as PgCodec }),
  DURATION: (alias) => ({
    fragment: sql`coalesce(engine.run_duration_ms(${alias}.started_at, ${alias}.finished_at), ${INFINITE})`,
    codec: TYPES.float as PgCodec,
  }),
};

/** Adds the filter to lists of runs and to the functions that take one, and the orders to lists of runs. */
export const RunFilterPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresRunFilterPlugin',
  version: '1.0.0',
  after: ['PgConnectionArgFilterPlugin', 'PgConnectionArgFilterLogicalOperatorsPlugin', 'PgConnectionArgFilterAttributesPlugin'],
  gather: {
    hooks: {
      pgProcedures_PgResourceOptions(_info, { pgProc, resourceOptions }) {
        if (!FUNCTIONS.has(pgProc.proname)) return;
        for (const parameter of resourceOptions.parameters ?? []) {
          if (parameter.name === 'filter') (parameter as { codec: PgCodec }).codec = FILTER;
        }
      },
      pgRegistry_PgRegistryBuilder_pgCodecs(_info, { registryBuilder }) {
        registryBuilder.addCodec(FILTER);
      },
    },
  },
  schema: {
    hooks: {
      init: {
        before: ['PgCodecs'],
        callback(_, build) {
          build.setGraphQLTypeForPgCodec(FILTER, ['input'], TYPE);
          const typeOf = (name: string) => build.getTypeByName(name) as GraphQLInputType;
          const { GraphQLList, GraphQLNonNull } = build.graphql;
          for (const condition of Object.values(CONDITIONS)) {
            const name = conditionName(condition);
            if (build.getTypeMetaByName(name)) continue;
            build.registerInputObjectType(
              name,
              {},
              () => ({
                description: 'A condition of a filter of runs. All fields are combined with a logical ‘and.’',
                fields: () => fieldsOf(condition, typeOf, (type) => new GraphQLList(new GraphQLNonNull(type))),
              }),
              'FlowgresRunFilterPlugin',
            );
          }
          return _;
        },
      },
      GraphQLInputObjectType_fields(fields, build, { Self }) {
        if (Self.name !== TYPE) return fields;
        return Object.fromEntries(
          Object.entries(CONDITIONS).map(([name, condition]) => [
            name,
            { type: build.getTypeByName(conditionName(condition)) as GraphQLInputType, description: condition.description },
          ]),
        );
      },
      GraphQLObjectType_fields_field_args(args, _build, { scope }) {
        const { isPgFieldConnection, pgFieldResource } = scope;
        const { filter } = args;
        if ((pgFieldResource as PgResource | undefined)?.name !== TABLE || !filter) return args;
        filter.description = 'Which runs; all when not given. A filter above 64 KiB is refused with TOO_LARGE.';
        filter.applyPlan = (_parent: Step, $list: Step, argument: FieldArg) => {
          const $select = isPgFieldConnection ? ($list as ConnectionStep<never, never, never, never, never>).getSubplan() : $list;
          argument.apply($select as never, filterBy as never);
        };
        return args;
      },
      GraphQLEnumType_values(values, build, { scope }) {
        const { isPgRowSortEnum, pgCodec } = scope;
        if (!isPgRowSortEnum || (pgCodec as PgCodec | undefined)?.name !== build.input.pgRegistry.pgResources[TABLE]?.codec.name)
          return values;
        const added = Object.entries(ORDERS).flatMap(([name, order]) =>
          (['ASC', 'DESC'] as const).map((direction) => [
            `${name}_${direction}`,
            {
              extensions: {
                grafast: {
                  apply(builder: Orderable) {
                    const first = order(builder.alias);
                    if (first) builder.orderBy({ ...first, direction });
                    builder.orderBy({ attribute: 'id', direction });
                    builder.setOrderIsUnique();
                  },
                },
              },
            },
          ]),
        );
        return { ...values, ...Object.fromEntries(added) };
      },
    },
  },
};

interface ConditionField {
  type: GraphQLInputType;
  description: string;
}

/** Returns the fields of the type of a condition. */
function fieldsOf(
  { kind, type }: Condition,
  typeOf: (name: string) => GraphQLInputType,
  listOf: (type: GraphQLInputType) => GraphQLInputType,
): Record<string, ConditionField> {
  if (kind === 'metadata') {
    return {
      contains: { type: typeOf('JSON'), description: 'An object that the metadata contains.' },
      text: { type: typeOf('String'), description: 'A part of a text or a number anywhere in the metadata, in upper or lower case.' },
    };
  }
  const described = (operators: Readonly<Record<string, string>>): Record<string, ConditionField> =>
    Object.fromEntries(Object.entries(operators).map(([operator, description]) => [operator, { type: typeOf(type), description }]));
  if (kind === 'range') return described(COMPARISONS);
  return {
    ...described(EQUALITY),
    in: { type: listOf(typeOf(type)), description: 'One of the specified values, at most 1,000.' },
    isNull: { type: typeOf('Boolean'), description: 'Whether there is no value.' },
  };
}
