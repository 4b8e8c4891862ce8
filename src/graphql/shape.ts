/**
 * The shape of fields, inputs and payloads, by rules that hold for every table and function: what is never null
 * is non-null, payloads are named after what they carry, ids after their thing, and every input is described.
 * test/api/shape.test.ts checks the rules.
 */
import { type PgCodec, type PgResource, TYPES } from 'postgraphile/@dataplan/pg';
import { GraphQLList, GraphQLNonNull, type GraphQLType, getNullableType, isListType, isNonNullType } from 'postgraphile/graphql';
import { DESCRIPTIONS } from './input_descriptions.ts';

/** What an argument called `id` identifies, where the name of the function does not say it after the verb. */
const THINGS: Readonly<Record<string, string>> = { copy_template: 'workflow', set_template: 'workflow' };

/** The payload's field of functions that return a value, or rows of no table: its name and its description. */
const VALUE_FIELDS: Readonly<Record<string, readonly [name: string, description: string]>> = {
  apply_workflows: ['changes', 'What was changed, and what was already as the documents say.'],
  change_email: ['accepted', 'Always true.'],
  request_password_reset: ['accepted', 'Always true.'],
  logout: ['loggedOut', 'Whether there was a session to end.'],
  revoke_other_sessions: ['revokedSessions', 'How many sessions have ended.'],
  verify_email: ['userId', 'The user whose address it is.'],
  verify_run: ['differences', 'Where replay and log differ; none when they agree.'],
};

interface Parameter {
  name?: string | null;
  codec: PgCodec;
}

const isUuid = ({ codec }: Parameter): boolean => (codec.arrayOfCodec ?? codec) === TYPES.uuid;

/**
 * Returns the name of an argument in the words of SQL: an id is named after its thing, so `run` becomes `run_id`,
 * and the `id` of `publish_workflow` becomes `workflow_id`.
 */
export function argumentName(functionName: string, parameter: Parameter): string {
  const name = parameter.name ?? '';
  if (!isUuid(parameter) || /_ids?$/.test(name)) return name;
  if (name === 'id') return `${THINGS[functionName] ?? functionName.replace(/^[^_]*_/, '')}_id`;
  return parameter.codec.arrayOfCodec ? `${name.replace(/s$/, '')}_ids` : `${name}_id`;
}

/** Returns the type with items that are never null. */
function withItems<T extends GraphQLType>(type: T): T {
  const list = getNullableType(type);
  if (!isListType(list) || isNonNullType(list.ofType)) return type;
  const filled = new GraphQLList(new GraphQLNonNull(list.ofType));
  return (isNonNullType(type) ? new GraphQLNonNull(filled) : filled) as unknown as T;
}

const nonNull = <T extends GraphQLType>(type: T): T => (isNonNullType(type) ? type : (new GraphQLNonNull(type) as unknown as T));

/** The parts of `build` that find a function by the name of its field. */
interface Inflecting {
  inflection: {
    argument(details: { param: unknown; resource: unknown; index: number }): string;
    customMutationInput(details: { resource: unknown }): string;
    customMutationPayload(details: { resource: unknown }): string;
    customQueryField(details: { resource: unknown }): string;
  };
  input: { pgRegistry: { pgResources: Record<string, unknown> } };
}

/** Returns the function behind the input or the payload of a mutation; undefined for those that are no SQL function. */
function functionOf({ inflection, input }: Inflecting, type: string): PgResource | undefined {
  return (Object.values(input.pgRegistry.pgResources) as PgResource[]).find(
    (resource) =>
      resource.parameters &&
      resource.isMutation &&
      (inflection.customMutationInput({ resource }) === type || inflection.customMutationPayload({ resource }) === type),
  );
}

/** Returns the function behind a field of the query type that returns a value. */
function queryFunction({ inflection, input }: Inflecting, field: string): PgResource | undefined {
  return (Object.values(input.pgRegistry.pgResources) as PgResource[]).find(
    (resource) => resource.parameters && !resource.isMutation && inflection.customQueryField({ resource }) === field,
  );
}

/** Describes the field of a payload that has the result. */
function describeResult(resource: PgResource, field: string): string {
  const words = field.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return VALUE_FIELDS[resource.extensions?.pg?.name ?? resource.name]?.[1] ?? `The ${words}, as it is after the mutation.`;
}

/**
 * Describes an argument: by the list of input_descriptions.ts, else by the comment of the column of that name in
 * what the function returns.
 */
function describeArgument({ inflection }: Inflecting, resource: PgResource, name: string): string | undefined {
  const functionName = resource.extensions?.pg?.name ?? resource.name;
  const parameters = resource.parameters ?? [];
  const index = parameters.findIndex((param, at) => inflection.argument({ param, resource, index: at }) === name);
  const parameter = parameters[index];
  if (!parameter?.name) return undefined;
  const known = DESCRIPTIONS[`${functionName}(${parameter.name})`] ?? DESCRIPTIONS[parameter.name];
  if (known) return known;
  const column = resource.codec.attributes?.[parameter.name]?.description;
  if (column) return column;
  if (!isUuid(parameter)) return undefined;
  const thing = argumentName(functionName, parameter)
    .replace(/_ids?$/, '')
    .replaceAll('_', ' ');
  return parameter.codec.arrayOfCodec ? `The ${thing}s, by their ids.` : `The ${thing}, by its id.`;
}

/** Describes a part of the key by which a field reads a row. */
function describeKey({ codec }: PgResource, name: string): string | undefined {
  if (name === 'id') return 'The id of the row.';
  return codec.attributes?.[name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)]?.description;
}

/** Applies the rules above to the whole schema. */
export const ShapePlugin: GraphileConfig.Plugin = {
  name: 'FlowgresShapePlugin',
  version: '1.0.0',
  inflection: {
    replace: {
      argument(previous, _options, details) {
        const functionName = details.resource.extensions?.pg?.name ?? details.resource.name;
        const param = { ...details.param, name: argumentName(functionName, details.param as Parameter) };
        return previous!({ ...details, param });
      },
      functionMutationResultFieldName(_previous, _options, { resource, returnGraphQLTypeName }) {
        const functionName = resource.extensions?.pg?.name ?? resource.name;
        const known = VALUE_FIELDS[functionName]?.[0];
        if (known) return known;
        if (!resource.codec.attributes) return 'value';
        const name = this.camelCase(returnGraphQLTypeName);
        return resource.isUnique ? name : this.pluralize(name);
      },
    },
  },
  gather: {
    hooks: {
      // A mutation fails or returns what it did.
      pgProcedures_PgResourceOptions(_info, { resourceOptions }) {
        if (!resourceOptions.isMutation) return;
        resourceOptions.extensions = {
          ...resourceOptions.extensions,
          tags: { ...resourceOptions.extensions?.tags, notNull: true },
        };
      },
    },
  },
  schema: {
    hooks: {
      GraphQLObjectType_fields_field(field, _build, { scope }) {
        const { isConnectionType, isConnectionEdgeType } = scope;
        return { ...field, type: isConnectionType || isConnectionEdgeType ? nonNull(withItems(field.type)) : withItems(field.type) };
      },
      GraphQLObjectType_fields_field_args(args, build, { scope, Self }) {
        const read = scope.pgFieldResource as PgResource | undefined;
        const resource = read ?? (Self.name === 'Query' ? queryFunction(build as unknown as Inflecting, scope.fieldName) : undefined);
        for (const [name, argument] of Object.entries(args)) {
          argument.type = withItems(argument.type);
          if (argument.description || !resource) continue;
          const text = resource.parameters ? describeArgument(build as unknown as Inflecting, resource, name) : describeKey(resource, name);
          if (text) argument.description = build.wrapDescription(text, 'arg') ?? null;
        }
        return args;
      },
      GraphQLInputObjectType_fields_field: (field) => ({ ...field, type: withItems(field.type) }),
      GraphQLInputObjectType_fields(fields, build, { scope, Self }) {
        const resource = scope.isMutationInput && functionOf(build as unknown as Inflecting, Self.name);
        if (!resource) return fields;
        for (const [name, field] of Object.entries(fields)) {
          const text = field.description ? undefined : describeArgument(build as unknown as Inflecting, resource, name);
          if (text) field.description = build.wrapDescription(text, 'field') ?? null;
        }
        return fields;
      },
      GraphQLObjectType_fields(fields, build, { scope, Self }) {
        const resource = scope.isMutationPayload && functionOf(build as unknown as Inflecting, Self.name);
        if (!resource) return fields;
        for (const [name, field] of Object.entries(fields)) {
          if (name === 'clientMutationId' || field.description) continue;
          field.description = build.wrapDescription(describeResult(resource, name), 'field') ?? null;
        }
        return fields;
      },
    },
  },
};
