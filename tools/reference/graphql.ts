/** Generates docs/reference/graphql.md from the schema. */
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

/** Arguments of every list, which the page explains once. */
const PAGING = ['first', 'last', 'before', 'after', 'offset', 'filter', 'orderBy'];
/** Types of every PostGraphile server, and types that only wrap others. */
const PLUMBING = /(?:Connection|Edge|Payload|Input|Filter|OrderBy|Record)$|^(?:Query|Mutation|Subscription|PageInfo)$/;

/** Returns the reference of a GraphQL schema in SDL. */
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

/** Describes a mutation together with its input and payload, which are used only there. */
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

/** Joins the wrapped lines of a description. */
function unwrap(description: string | null | undefined): string {
  return (description ?? '').replaceAll(/\s*\n\s*/g, ' ');
}
