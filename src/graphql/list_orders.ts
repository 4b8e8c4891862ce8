/**
 * Gives every list a unique order. A cursor holds the values of that order at one row, so that the next page
 * begins exactly there, whatever is added or deleted meanwhile. PostGraphile orders tables by their keys, but
 * knows only row numbers for functions, so functions are ordered here. The server does not start while a list
 * has no unique order.
 */
import {
  type PgCodec,
  type PgCodecWithAttributes,
  type PgOrderSpec,
  type PgResource,
  type PgSelectStep,
  TYPES,
} from 'postgraphile/@dataplan/pg';
import type { ConnectionStep, Step } from 'postgraphile/grafast';
import { isEnumType } from 'postgraphile/graphql';
import { sql } from 'postgraphile/pg-sql2';

type Direction = 'ASC' | 'DESC';
type Order = readonly [column: string, direction: Direction];

/** Names the value of a function that returns scalars. */
const VALUE = 'v';

/**
 * The order by the name of the function; the SQL function orders its rows the same way. For a function that
 * returns rows of a table the columns include a unique key of the table; for others no two rows have the same
 * columns.
 */
export const FUNCTION_ORDERS: Readonly<Record<string, readonly Order[]>> = {
  api_tokens: [
    ['created_at', 'DESC'],
    ['id', 'DESC'],
  ],
  credential_types: [['name', 'ASC']],
  dead_letters: [['id', 'DESC']],
  find_data_rows: [
    ['organization_id', 'ASC'],
    ['table_id', 'ASC'],
    ['id', 'ASC'],
  ],
  get_workflow_run_events: [['ts', 'ASC']],
  node_types: [
    ['name', 'ASC'],
    ['version', 'ASC'],
  ],
  plan_workflows: [
    ['kind', 'ASC'],
    ['name', 'ASC'],
    ['workflow_id', 'ASC'],
  ],
  preview_schedule: [[VALUE, 'ASC']],
  search_workflows: [
    ['created_at', 'DESC'],
    ['id', 'DESC'],
  ],
  sessions: [
    ['created_at', 'DESC'],
    ['id', 'DESC'],
  ],
  test_workflow: [['seq', 'ASC']],
  usage: [['metric', 'ASC']],
  validate_workflow: [
    ['pointer', 'ASC'],
    ['code', 'ASC'],
    ['message', 'ASC'],
  ],
  workflow_runs_events: [['ts', 'ASC']],
  workflow_runs_latest_events: [['ts', 'DESC']],
  workflow_runs_logs: [
    ['ts', 'ASC'],
    ['id', 'ASC'],
  ],
  workflow_runs_steps: [
    ['started_at', 'ASC'],
    ['node', 'ASC'],
  ],
  workflow_templates: [
    ['own', 'DESC'],
    ['name', 'ASC'],
    ['id', 'ASC'],
  ],
  workflow_version_diff: [['pointer', 'ASC']],
};

/**
 * Functions that return events of one run, which have a shorter unique key than the table: no two of them have
 * the same time (invariant I2).
 */
const OF_ONE_RUN = new Set(['get_workflow_run_events', 'workflow_runs_events', 'workflow_runs_latest_events']);

/** Applies the orders to all lists. */
export const ListOrderPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresListOrderPlugin',
  version: '1.0.0',
  after: ['PgOrderAllAttributesPlugin', 'PgOrderByPrimaryKeyPlugin'],
  schema: {
    entityBehavior: {
      // A list with a unique order can also be read backwards.
      pgResource: { override: (behavior) => [behavior, 'resource:connection:backwards'] },
    },
    hooks: {
      GraphQLEnumType_values(values, build, { scope }) {
        const { isPgRowSortEnum, pgCodec } = scope;
        const table = isPgRowSortEnum && pgCodec?.attributes ? build.pgTableResource(pgCodec as PgCodecWithAttributes, false) : null;
        if (!table) return values;
        for (const { extensions } of Object.values(values)) {
          const grafast = extensions?.grafast as { apply?: Apply } | undefined;
          if (grafast?.apply) grafast.apply = honest(grafast.apply, table as PgResource);
        }
        return values;
      },
      GraphQLObjectType_fields_field(field, build, { scope }) {
        const { isPgFieldConnection, isPgFieldSimpleCollection, pgFieldResource } = scope;
        const { plan } = field;
        if (!(isPgFieldConnection || isPgFieldSimpleCollection) || !pgFieldResource || !plan) return field;
        const resource = pgFieldResource as PgResource;
        if (!resource.parameters) {
          requireKey(resource.name, resource);
          return field;
        }
        const orders = FUNCTION_ORDERS[resource.name] ?? [];
        const table = resource.codec.attributes
          ? (build.pgTableResource(resource.codec as PgCodecWithAttributes, false) as PgResource | null)
          : null;
        requireOrder(resource, table, orders);
        field.plan = ($parent, args, info) => {
          const $list: Step = plan($parent, args, info);
          const $select = (
            isPgFieldConnection ? ($list as ConnectionStep<never, never, never, never, never>).getSubplan() : $list
          ) as PgSelectStep;
          for (const [column, direction] of orders) {
            const fragment = sql`${$select.alias}.${sql.identifier(column)}`;
            $select.orderBy({ fragment, codec: codecOf(resource, column)!, direction, nullable: false });
          }
          $select.setOrderIsUnique();
          return $list;
        };
        return field;
      },
    },
  },
};

/** Tables whose rows are ordered by time: their lists begin with the newest. */
const NEWEST_FIRST: ReadonlySet<string> = new Set([
  'api_access_log',
  'audit_log',
  'bulk_operations',
  'invitations',
  'subscriptions',
  'workflow_runs',
  'workflow_versions',
  'workflows',
]);

/** Lists of those tables begin with the newest row, unless the request names another order. */
export const NewestFirstPlugin: GraphileConfig.Plugin = {
  name: 'FlowgresNewestFirstPlugin',
  version: '1.0.0',
  after: ['PgConnectionArgOrderByDefaultValuePlugin'],
  schema: {
    hooks: {
      GraphQLObjectType_fields_field_args_arg(argument, build, { scope }) {
        const { argName, pgFieldResource } = scope;
        const resource = pgFieldResource as PgResource | undefined;
        if (argName !== 'orderBy' || !resource || resource.parameters || !NEWEST_FIRST.has(resource.name)) return argument;
        const order = build.graphql.getNamedType(argument.type);
        const newest = isEnumType(order) ? order.getValue('PRIMARY_KEY_DESC') : undefined;
        if (!newest) throw new Error(`The list of ${resource.name} cannot begin with the newest row: it has no primary key.`);
        return { ...argument, defaultValue: [newest.value] };
      },
    },
  },
};

interface Orderable {
  orderBy(order: PgOrderSpec): void;
  setOrderIsUnique(): void;
}
type Apply = (builder: Orderable) => void;

/**
 * Corrects how an order describes itself. PostGraphile takes the first column of any unique key for unique and
 * would omit the rest of the key. It also does not compare nulls as PostgreSQL sorts them, so the order
 * compares whether a value is null before the value.
 */
function honest(apply: Apply, table: PgResource): Apply {
  return (builder) => {
    const columns: string[] = [];
    const watched: Orderable = Object.create(builder, {
      orderBy: {
        value(order: PgOrderSpec) {
          const { attribute, direction } = order;
          if (attribute !== undefined) columns.push(attribute);
          if (attribute !== undefined && !table.codec.attributes?.[attribute]?.notNull) {
            builder.orderBy({ attribute, direction, callback: (value) => [sql`(${value} is null)`, TYPES.boolean, false] });
          }
          builder.orderBy(order);
        },
      },
      setOrderIsUnique: {
        value() {
          if (keysOf(table).some((key) => key.every((column) => columns.includes(column)))) builder.setOrderIsUnique();
        },
      },
    });
    apply(watched);
  };
}

/** Returns the unique keys without nullable columns. */
function keysOf({ uniques, codec }: PgResource): (readonly string[])[] {
  return uniques.map(({ attributes }) => attributes).filter((key) => key.every((column) => codec.attributes?.[column]?.notNull));
}

function codecOf({ codec }: PgResource, column: string): PgCodec | undefined {
  if (!codec.attributes) return column === VALUE ? codec : undefined;
  return codec.attributes[column]?.codec;
}

/** Throws for a table without a unique key: PostGraphile ends every order by the first of them. */
function requireKey(name: string, table: PgResource): void {
  const [first] = table.uniques;
  if (!first || keysOf(table)[0] !== first.attributes) {
    throw new Error(`The list of ${name} has no unique order: tag a key that is never null, by "unique" in naming.ts.`);
  }
}

function requireOrder(resource: PgResource, table: PgResource | null, orders: readonly Order[]): void {
  const columns = orders.map(([column]) => column);
  const unknown = columns.find((column) => !codecOf(resource, column));
  if (unknown) throw new Error(`The function ${resource.name} returns no column ${unknown}, by which list_orders.ts orders it.`);
  const keys = table && !OF_ONE_RUN.has(resource.name) ? keysOf(table) : [];
  const isUnique = keys.length > 0 ? keys.some((key) => key.every((each) => columns.includes(each))) : columns.length > 0;
  if (!isUnique) throw new Error(`The list of the function ${resource.name} has no unique order: give it one in list_orders.ts.`);
}
