/** docs/reference/graphql.md: the schema as the server serves it. */
import {
  type GraphQLField,
  type GraphQLInputObjectType,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
  buildSchema,
  isEnumType,
  isInputObjectType,
  isObjectType,
} from 'graphql';
import { chapter, fence, paragraphs, splitExample, table } from './markdown.ts';

/** What every list takes: explained once, above the generated part. */
const PAGING = ['first', 'last', 'before', 'after', 'offset', 'filter', 'orderBy'];
/** The types that every PostGraphile server has, or that only carry others. */
const PLUMBING = /(?:Connection|Edge|Payload|Input|Filter|OrderBy|Record)$|^(?:Query|Mutation|Subscription|PageInfo)$/;

/** The reference of the GraphQL schema. */
export function describeGraphql(sdl: string): string {
  const schema = buildSchema(sdl);
  const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
  const objects = types.filter((type) => isObjectType(type) && !PLUMBING.test(type.name)) as GraphQLObjectType[];
  return paragraphs(
    `## Queries\n\n${describeFields(schema.getQueryType()!)}`,
    chapter(
      '## Mutations',
      fieldsOf(schema.getMutationType()!).map((field) => describeMutation(schema, field)),
    ),
    `## Subscriptions\n\n${describeFields(schema.getSubscriptionType()!)}`,
    chapter('## Types', objects.map(describeObject)),
    describeFilters(types),
  );
}

/** Its input and payload are spelled out; they are used here only. */
function describeMutation(schema: GraphQLSchema, field: GraphQLField<unknown, unknown>): string {
  const { text, example } = splitExample(unwrap(field.description));
  const input = schema.getType(String(field.args[0]!.type).replace('!', '')) as GraphQLInputObjectType;
  const payload = schema.getType(String(field.type)) as GraphQLObjectType;
  const ours = (each: { name: string }) => !['clientMutationId', 'query'].includes(each.name);
  const list = (fields: { name: string; type: unknown }[]) =>
    fields
      .filter(ours)
      .map(({ name, type }) => `${name}: ${String(type)}`)
      .join(', ');
  const signature = `${field.name}(input: {${list(fieldsOf(input))}}) { ${list(fieldsOf(payload))} }`;
  return paragraphs(`### ${field.name}`, fence('graphql', signature), text, example && `In SQL: \`${example}\``);
}

function describeObject(type: GraphQLObjectType): string {
  return paragraphs(`### ${type.name}`, splitExample(unwrap(type.description)).text, describeFields(type));
}

function describeFields(type: GraphQLObjectType): string {
  const rows = fieldsOf(type).map(({ name, args, type: shape, description }) => {
    const own = args
      .filter((each) => !String(shape).endsWith('Connection') || !PAGING.includes(each.name))
      .map((each) => `${each.name}: ${String(each.type)}`);
    return [`\`${name}${own.length ? `(${own.join(', ')})` : ''}\``, `\`${String(shape)}\``, splitExample(unwrap(description)).text];
  });
  return table(['field', 'type', ''], rows);
}

function describeFilters(types: GraphQLNamedType[]): string {
  const listed = (text: string[]) => text.map((each) => `\`${each}\``).join(', ');
  const rows = types.flatMap((type) => {
    if (isEnumType(type) && type.name.endsWith('OrderBy')) return [[`\`${type.name}\``, listed(type.getValues().map(({ name }) => name))]];
    if (isInputObjectType(type) && type.name.endsWith('Filter'))
      return [[`\`${type.name}\``, listed(fieldsOf(type).map(({ name }) => name))]];
    return [];
  });
  return `## Filters and orders\n\n${table(['type', 'fields or values'], rows)}`;
}

function fieldsOf<Field>(type: { getFields(): Record<string, Field> }): Field[] {
  return Object.values(type.getFields());
}

/** Descriptions are wrapped in the schema. */
function unwrap(description: string | null | undefined): string {
  return (description ?? '').replaceAll(/\s*\n\s*/g, ' ');
}
