/**
 * Closed sets of texts as GraphQL enums: the columns that a check constraint limits to a list, and the columns of
 * views, fields of composite types and arguments that stand for them. SQL keeps text.
 */
import { type PgCodec, type PgEnumCodec, TYPES, enumCodec, listOfCodec, withPgClientFromPgService } from 'postgraphile/@dataplan/pg';
import { isEnumType } from 'postgraphile/graphql';
import { API_SCHEMA, DEFAULT_SCHEMA } from '../database/api_schema.ts';

/** A column, a field of a composite type (`class.attribute`), or an argument (`function(argument)`). */
type Place = string;

type ListedCodec = Parameters<typeof listOfCodec>[0];

interface ClosedSet {
  /** The column whose check constraint lists the values, with its schema; else the values themselves. */
  values: `${string}.${string}.${string}` | readonly string[];
  description: string;
  /** Every place that holds one of these values, or an array of them. */
  places: readonly Place[];
}

const METRICS = ['plan_limits.metric', 'organization_limits.metric', 'entitlements.metric', 'set_organization_limit(metric)'];

/**
 * The sets that are used in several places, or whose name would not say what they are. Any other column with a check
 * constraint of a list becomes an enum by itself, named after its table and column.
 */
export const CLOSED_SETS: Readonly<Record<string, ClosedSet>> = {
  audit_operation: {
    values: 'public.audit_log.operation',
    description: 'What happened to a row.',
    places: ['audit_log.operation'],
  },
  billing_interval: {
    values: 'public.plans.billing_interval',
    description: 'How often a plan is billed.',
    places: ['plans.billing_interval'],
  },
  bulk_command: {
    values: 'public.bulk_operations.command',
    description: 'What a bulk operation does to each of its runs.',
    places: ['bulk_operations.command'],
  },
  change_action: {
    values: ['create', 'change', 'unchanged', 'archive'],
    description: 'What applying documents does to a workflow or a variable.',
    places: ['workflow_change.action'],
  },
  change_kind: {
    values: ['workflow', 'variable'],
    description: 'What applying documents changes.',
    places: ['workflow_change.kind'],
  },
  difference_kind: {
    values: ['added', 'removed', 'changed'],
    description: 'What happened at a place of a definition between two versions.',
    places: ['workflow_difference.kind'],
  },
  global_role: {
    values: 'public.users.global_role',
    description: 'The role of a user in the whole installation.',
    places: ['users.global_role', 'set_global_role(role)'],
  },
  http_method: {
    values: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'],
    description: 'A method of HTTP.',
    places: ['webhooks.methods'],
  },
  log_level: {
    values: 'public.workflow_run_logs.level',
    description: 'How serious a line of a log is.',
    places: ['workflow_run_logs.level'],
  },
  metric: {
    values: 'public.plan_limits.metric',
    description: 'Something that a plan can limit.',
    places: [...METRICS, 'usage.metric'],
  },
  node_kind: {
    values: 'engine.node_types.kind',
    description:
      'How the nodes of a type are executed: trigger (starts a run), pure (in the transaction of the engine), local (in a transaction of its own), wait (until something happens), effect (by a worker, outside of the database).',
    places: ['node_type.kind'],
  },
  node_category: {
    values: 'engine.node_types.category',
    description: 'The group of node types that an editor shows together; custom: registered by a DBA.',
    places: ['node_type.category'],
  },
  organization_role: {
    values: 'public.organization_users.role',
    description: 'The role of a member in an organization.',
    places: ['organization_users.role', 'invitations.role', 'invite_member(role)', 'set_member_role(role)'],
  },
  problem_severity: {
    values: ['error', 'notice'],
    description: 'Whether a problem prevents that a workflow is published.',
    places: ['workflow_problem.severity'],
  },
  scope: {
    values: ['workflows:read', 'workflows:write', 'runs:read', 'runs:write', 'organization:read', 'organization:write'],
    description: 'What a token may do: the scope with `_` in the place of the colon.',
    places: ['api_token.scopes', 'create_api_token(scopes)'],
  },
  session_kind: {
    values: 'private.sessions.kind',
    description: 'How a session began: login (a password), identity (an identity provider) or context (a DBA, in psql).',
    places: ['session.kind'],
  },
  step_status: {
    values: ['queued', 'running', 'waiting', 'success', 'error', 'canceled', 'skipped'],
    description:
      'The status of a step: queued (between two attempts), running, waiting; or final: success, error, canceled (the run ended first), skipped (the run ended without reaching it).',
    places: ['workflow_run_steps.status', 'workflow_run_graph_node.status'],
  },
  subscription_status: {
    values: 'public.subscriptions.status',
    description: 'The status of the subscription of an organization to a plan.',
    places: ['subscriptions.status'],
  },
  workflow_run_status: {
    values: 'public.workflow_runs.status',
    description: 'The status of a run: waiting, running, paused; or final: success, error, canceled.',
    places: ['workflow_runs.status', 'workflow_run_graph.status'],
  },
  workflow_run_bucket: {
    values: ['minute', 'hour', 'day'],
    description: 'A span of time, in UTC.',
    places: ['workflow_run_stats(bucket)'],
  },
  workflow_run_grouping: {
    values: ['status', 'workflow', 'error_code', 'mode'],
    description: 'What runs of a group have in common.',
    places: ['workflow_run_stats(group_by)'],
  },
  team_metric: {
    values: 'public.team_limits.metric',
    description: 'Something that can be limited for a team.',
    places: ['team_limits.metric', 'set_team_limit(metric)'],
  },
  team_role: {
    values: 'public.team_users.role',
    description: 'The role of a member in a team.',
    places: ['team_users.role', 'add_team_member(role)'],
  },
  template_audience: {
    values: 'public.workflows.template',
    description: 'Who can copy a workflow as a template: the members of its organization, or everybody.',
    places: ['workflows.template', 'set_template(template)'],
  },
};

/** Columns with a check constraint of a list: their schema, class and name, and the definition of the constraint. */
const LISTS = `
  select n.nspname as schema, c.relname as class, a.attname as attribute, pg_catalog.pg_get_constraintdef(k.oid) as definition,
    pg_catalog.col_description(c.oid, a.attnum) as description
  from pg_catalog.pg_constraint as k
  join pg_catalog.pg_class as c on c.oid = k.conrelid
  join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum = k.conkey[1]
  where k.contype = 'c'
    and cardinality(k.conkey) = 1
    and not c.relispartition
    and a.atttypid = 'pg_catalog.text'::regtype
    and n.nspname in ('${API_SCHEMA}', 'engine', 'private')`;

interface ListColumn {
  schema: string;
  class: string;
  attribute: string;
  definition: string;
  description: string | null;
}

/** Returns the values of `CHECK ((column = ANY (ARRAY['a'::text, …])))`; null for any other constraint. */
export function valuesOf(definition: string): string[] | null {
  const [, list] = /^CHECK \(\(\w+ = ANY \(ARRAY\[((?:'(?:[^']|'')*'::text(?:, )?)+)\]\)\)\)$/.exec(definition) ?? [];
  return list === undefined ? null : [...list.matchAll(/'((?:[^']|'')*)'::text/g)].map(([, value]) => value!.replaceAll("''", "'"));
}

const same = (one: readonly string[], other: readonly string[]) =>
  one.length === other.length && one.every((value) => other.includes(value));

function codecFor(name: string, values: readonly string[], description: string | null): PgEnumCodec<string, string> {
  return enumCodec({
    name,
    identifier: TYPES.text.sqlType,
    values: [...values],
    ...(description === null ? {} : { description }),
  });
}

/**
 * Makes the codecs of all sets.
 *
 * @throws Error when the columns of one set have different values, or none of them has a constraint
 */
function buildCodecs(columns: readonly ListColumn[], singularize: (name: string) => string): Map<Place, PgEnumCodec<string, string>> {
  const lists = new Map(
    columns.map((each) => [`${each.schema === API_SCHEMA ? DEFAULT_SCHEMA : each.schema}.${each.class}.${each.attribute}`, each]),
  );
  const valuesAt = (column: string) => valuesOf(lists.get(column)?.definition ?? '');
  const codecs = new Map<Place, PgEnumCodec<string, string>>();
  for (const [name, { values, description, places }] of Object.entries(CLOSED_SETS)) {
    const known = typeof values === 'string' ? valuesAt(values) : values;
    if (!known) throw new Error(`The column ${String(values)} has no check constraint of a list, as enums.ts expects.`);
    const codec = codecFor(name, known, description);
    codecs.set(name, codec);
    for (const place of places) {
      const own = valuesAt(`${DEFAULT_SCHEMA}.${place}`);
      if (own && !same(own, known)) throw new Error(`The values of ${place} are not those of ${name} in enums.ts.`);
      codecs.set(place, codec);
    }
  }
  for (const { schema, class: table, attribute, definition, description } of columns) {
    const values = valuesOf(definition);
    const place = `${table}.${attribute}`;
    if (schema !== API_SCHEMA || !values || codecs.has(place)) continue;
    codecs.set(place, codecFor(`${singularize(table)}_${attribute}`, values, description));
  }
  return codecs;
}

/** Turns closed sets into enums before PostGraphile builds types, fields and filters. */
export function enumsPlugin(): GraphileConfig.Plugin {
  let codecs = new Map<Place, PgEnumCodec<string, string>>();

  const replaced = (place: Place, codec: PgCodec): PgCodec => {
    const found = codecs.get(place);
    if (!found) return codec;
    return codec.arrayOfCodec ? (listOfCodec(found as ListedCodec) as PgCodec) : (found as PgCodec);
  };

  return {
    name: 'FlowgresEnumsPlugin',
    version: '1.0.0',
    inflection: {
      // GraphQL's names have no colon: runs:read becomes runs_read.
      replace: { enumValue: (previous, _options, value, codec) => previous!(value.replaceAll(':', '_'), codec) },
    },
    gather: {
      hooks: {
        async pgIntrospection_introspection(info, { serviceName }) {
          const service = info.resolvedPreset.pgServices?.find(({ name }) => name === serviceName);
          if (!service) throw new Error(`There is no service ${serviceName}.`);
          const { rows } = await withPgClientFromPgService(service, null, (client) => client.query<ListColumn>({ text: LISTS }));
          codecs = buildCodecs(rows, (name) => info.inflection.singularize(name));
        },
        pgCodecs_attribute(_info, { attribute, pgAttribute }) {
          attribute.codec = replaced(`${pgAttribute.getClass()?.relname}.${pgAttribute.attname}`, attribute.codec);
        },
        pgProcedures_PgResourceOptions(_info, { pgProc, resourceOptions }) {
          for (const parameter of resourceOptions.parameters ?? []) {
            const given = parameter as { name: string | null; codec: PgCodec };
            given.codec = replaced(`${pgProc.proname}(${given.name})`, given.codec);
          }
          // The columns of `returns table (…)`.
          const { codec } = resourceOptions;
          if (!codec.isAnonymous) return;
          for (const [name, attribute] of Object.entries(codec.attributes ?? {})) {
            const column = attribute as { codec: PgCodec };
            column.codec = replaced(`${pgProc.proname}.${name}`, column.codec);
          }
        },
        pgRegistry_PgRegistryBuilder_pgCodecs(_info, { registryBuilder }) {
          for (const codec of new Set(codecs.values())) registryBuilder.addCodec(codec as PgCodec);
        },
      },
    },
    schema: {
      hooks: {
        // The values of a closed set have no order.
        GraphQLInputObjectType_fields(fields, build, { scope }) {
          const filtered = scope.pgConnectionFilterOperators?.inputTypeName;
          if (!filtered || !isEnumType(build.getTypeByName(filtered))) return fields;
          return Object.fromEntries(Object.entries(fields).filter(([name]) => !/^(less|greater)Than/.test(name)));
        },
      },
    },
  };
}
