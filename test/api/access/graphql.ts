/** The same through GraphQL: every field of its three roots. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLObjectType,
  buildSchema,
  getNamedType,
  isEnumType,
  isInputObjectType,
  isObjectType,
} from 'graphql';
import { TYPES } from 'postgraphile/@dataplan/pg';
import { z } from 'zod';
import { argumentName } from '../../../src/graphql/shape.ts';
import { printGraphqlSchema } from '../../../src/graphql/server.ts';
import type { GraphqlAnswer, TestServer } from '../../helpers/graphql.ts';
import { ARGUMENTS, type Arguments, GRAPHQL_ARGUMENTS } from './arguments.ts';
import type { ApiFunction } from './calls.ts';
import type { Caller } from './callers.ts';
import { readRows, readTables, SHARED, type World, type Worlds } from './fixture.ts';
import { cellOf, mayReach, type Section, sidesOf } from './matrix.ts';

/** As long as a subscription may take to begin. */
const SILENT_MS = 10_000;

export type Field = GraphQLField<unknown, unknown>;
export interface Fields {
  query: Field[];
  mutation: Field[];
  subscription: Field[];
}

export const snake = (name: string): string => name.replace('N8N', 'N8n').replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const camel = (name: string): string => name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()).replace('N8n', 'N8N');

export async function readFields({ db }: Worlds): Promise<Fields> {
  const schema = buildSchema(await printGraphqlSchema(db.url('flowgres_api')));
  const fields = (type: GraphQLObjectType | null | undefined): Field[] => Object.values(type?.getFields() ?? {});
  return {
    query: fields(schema.getQueryType()),
    mutation: fields(schema.getMutationType()),
    subscription: fields(schema.getSubscriptionType()),
  };
}

/** Types of inputs by their names: the arguments of a query, what is in the input of a mutation. */
export function inputsOf(field: Field): Record<string, GraphQLInputType> {
  const [only] = field.args;
  const type = only && getNamedType(only.type);
  const inputs =
    field.args.length === 1 && only!.name === 'input' && isInputObjectType(type) ? Object.values(type.getFields()) : field.args;
  return Object.fromEntries(inputs.map(({ name, type }) => [name, type]));
}

/** The name in GraphQL of an argument of SQL: an id is named after its thing. */
function argumentOf(field: Field, types: Record<string, GraphQLInputType>, name: string): string {
  const same = camel(name);
  return same in types ? same : camel(argumentName(snake(field.name), { name, codec: TYPES.uuid }));
}

/** The value in GraphQL of a value of SQL: names of enums have no colon. */
export function valueFor(type: GraphQLInputType | undefined, value: unknown): unknown {
  if (!type || !isEnumType(getNamedType(type))) return value;
  if (Array.isArray(value)) return value.map((each) => valueFor(type, each));
  return typeof value === 'string' ? value.replace(':', '_') : value;
}

/** Whether an argument has a value that its enum does not have, or a field that its input does not have. */
export function isOutside(field: Field, args: Arguments): boolean {
  const types = inputsOf(field);
  return Object.entries(args).some(([name, value]) => {
    const type = types[argumentOf(field, types, name)];
    const named = type && getNamedType(type);
    if (isInputObjectType(named)) return Object.keys(value as object).some((key) => !(key in named.getFields()));
    if (!isEnumType(named)) return false;
    return [valueFor(type, value)].flat().some((each) => typeof each === 'string' && !named.getValue(each));
  });
}

/** A field with its arguments in the variables $<prefix><name>; `selection` is of what it returns. */
export function ask(field: Field, sqlArgs: Arguments, selection: string, prefix = '') {
  const types = inputsOf(field);
  const args = Object.fromEntries(
    Object.entries(sqlArgs).map(([name, value]) => {
      const known = argumentOf(field, types, name);
      return [known, valueFor(types[known], value)];
    }),
  );
  const names = Object.keys(args);
  const isMutation = field.args.length === 1 && field.args[0]!.name === 'input';
  const given = names.map((name) => `${name}: $${prefix}${name}`).join(', ');
  const list = isMutation ? `(input: { ${given} })` : given && `(${given})`;
  return {
    parameters: names.map((name) => `$${prefix}${name}: ${types[name]}`),
    text: `${field.name}${list} ${selection}`,
    variables: Object.fromEntries(Object.entries(args).map(([name, value]) => [`${prefix}${name}`, value])),
  };
}

/** Table of a type, where its name is not the plural of the type's. */
const TABLES: Record<string, string> = {
  WebhookDelivery: 'webhook_deliveries',
  PlanSubscription: 'subscriptions',
  AuditLog: 'audit_log',
  ApiAccessLog: 'api_access_log',
};

/** Arguments of all queries, with the things of one organization. */
export async function queryArguments(worlds: Worlds, world: World, queries: Field[], nodeId: string): Promise<Map<Field, Arguments>> {
  const rows = await readRows(worlds, await readTables(worlds.db), world);
  const found = new Map<Field, Arguments>();
  for (const field of queries) {
    const required = field.args.filter(({ type }) => String(type).endsWith('!')).map(({ name }) => name);
    const named = ARGUMENTS[snake(field.name)];
    const typeName = getNamedType(field.type).name;
    const row = rows.get(TABLES[typeName] ?? `${snake(typeName).slice(1)}s`)?.[0];
    if (named) found.set(field, named(world));
    else if (field.name === 'node') found.set(field, { nodeId });
    else if (required.length === 0) found.set(field, {});
    else if (row) found.set(field, Object.fromEntries(required.map((name) => [name, row[snake(name)]])));
    else throw new Error(`No arguments for the query ${field.name}: add its type to TABLES in test/api/access/graphql.ts.`);
  }
  return found;
}

/** What is asked of an answer: whether there is something, and whose it is. */
export function selectionOf(field: Field): string {
  const type = getNamedType(field.type);
  if (!isObjectType(type)) return type.name === 'Node' ? '{ nodeId }' : '';
  const nodes = type.getFields()['nodes'];
  if (!nodes) return `{ __typename ${type.getFields()['organizationId'] ? 'organizationId' : ''} }`;
  const inner = getNamedType(nodes.type);
  if (!isObjectType(inner)) return '{ nodes }';
  return `{ nodes { __typename ${inner.getFields()['organizationId'] ? 'organizationId' : ''} } }`;
}

/** What each caller reads by the queries, by the things of the own organization and of another one. */
export async function queryAll(server: TestServer, worlds: Worlds, callers: Caller[], { query }: Fields): Promise<Section[]> {
  const own: Section = { title: 'Queries of GraphQL, by what is the own organization’s', lines: [], reached: [] };
  const foreign: Section = { title: 'Queries of GraphQL, by what is another organization’s', lines: [], reached: [] };
  const cells = new Map<Caller, Map<string, { own: string; foreign: string }>>();
  for (const caller of callers) cells.set(caller, await queryAs(server, worlds, caller, query));
  for (const { name, args } of query) {
    const of = callers.map((caller) => cells.get(caller)!.get(name)!);
    own.lines.push({ object: name, cells: of.map((cell) => cell.own) });
    const isShared = SHARED.has(`${snake(name).replace('_by_slug', '')}s`);
    if (!args.some(({ type }) => String(type).endsWith('!')) || of.every((cell) => cell.own === cell.foreign) || isShared) continue;
    foreign.lines.push({ object: name, cells: of.map((cell) => cell.foreign) });
    for (const [column, cell] of of.entries()) {
      const caller = callers[column]!;
      const reached = cell.foreign === 'ok' || (!caller.home && cell.own === 'ok');
      if (reached && !mayReach(caller, name)) foreign.reached.push(`${caller.name} asks ${name}`);
    }
  }
  return [own, foreign];
}

async function queryAs(server: TestServer, worlds: Worlds, caller: Caller, queries: Field[]) {
  const sides = sidesOf(worlds, caller);
  const own = await askAll(server, worlds, caller, sides.own, queries);
  const foreign = await askAll(server, worlds, caller, sides.foreign, queries);
  return new Map(queries.map(({ name }) => [name, { own: own.get(name)!, foreign: foreign.get(name)! }]));
}

/** As many fields in one request as it may have. */
async function askAll(server: TestServer, worlds: Worlds, caller: Caller, world: World, queries: Field[]): Promise<Map<string, string>> {
  const cells = new Map<string, string>();
  const { workflow } = await server.data(world.owner.secret, `{ workflow(id: "${world.workflow.id}") { nodeId } }`);
  const args = await queryArguments(worlds, world, queries, workflow.nodeId);
  const askTogether = async (fields: Field[]): Promise<void> => {
    const asked = fields.map((field, index) => ask(field, args.get(field)!, selectionOf(field), `v${index}`));
    const parameters = asked.flatMap((each) => each.parameters).join(', ');
    const answer = await server.query(
      caller.secret,
      `query ${parameters && `(${parameters})`} { ${asked.map(({ text }) => text).join('\n')} }`,
      Object.assign({}, ...asked.map(({ variables }) => variables)),
    );
    // One field that needs a token refuses all of them.
    if (!answer.data && fields.length > 1) for (const each of fields) await askTogether([each]);
    else for (const { name } of fields) cells.set(name, cellOfField(answer, name));
  };
  for (let at = 0; at < queries.length; at += 25) await askTogether(queries.slice(at, at + 25));
  return cells;
}

function cellOfField({ data, errors }: GraphqlAnswer, name: string): string {
  const error = errors?.find(({ path }) => !path || path[0] === name);
  if (error) return cellOf(error.extensions?.code ?? 'no code');
  const value = data[name];
  return value === null || value.nodes?.length === 0 ? '-' : 'ok';
}

/** Every mutation is a function of the database, and in the matrix as such, or is called here. */
export async function mutateAll(
  server: TestServer,
  { acme }: Worlds,
  callers: Caller[],
  { mutation }: Fields,
  functions: ApiFunction[],
): Promise<Section> {
  const section: Section = { title: 'Mutations that exist in GraphQL only', lines: [], reached: [] };
  const known = new Set(functions.map(({ name }) => name));
  for (const field of mutation) {
    if (known.has(snake(field.name))) continue;
    const given = GRAPHQL_ARGUMENTS[field.name];
    if (!given) throw new Error(`No arguments for the mutation ${field.name}: add them to test/api/access/arguments.ts.`);
    const cells = [];
    for (const caller of callers) {
      const { parameters, text, variables } = ask(field, given(acme), '{ clientMutationId }');
      const answer = await server.query(caller.secret, `mutation (${parameters.join(', ')}) { ${text} }`, variables);
      cells.push(cellOfField(answer, field.name));
    }
    section.lines.push({ object: field.name, cells });
  }
  return section;
}

/** What each caller may follow. */
export async function subscribeAll(server: TestServer, worlds: Worlds, callers: Caller[], { subscription }: Fields): Promise<Section[]> {
  const own: Section = { title: 'Subscriptions, to what is the own organization’s', lines: [], reached: [] };
  const foreign: Section = { title: 'Subscriptions, to what is another organization’s', lines: [], reached: [] };
  for (const field of subscription) {
    const given = GRAPHQL_ARGUMENTS[field.name];
    if (!given) throw new Error(`No arguments for the subscription ${field.name}: add them to test/api/access/arguments.ts.`);
    const cells = await Promise.all(
      callers.map(async (caller) => {
        const sides = sidesOf(worlds, caller);
        return Promise.all([sides.own, sides.foreign].map((world) => follow(server, caller, field, given(world))));
      }),
    );
    own.lines.push({ object: field.name, cells: cells.map(([cell]) => cell!) });
    foreign.lines.push({ object: field.name, cells: cells.map(([, cell]) => cell!) });
    for (const [column, [first, second]] of cells.entries()) {
      const reached = second === 'ok' || (!callers[column]!.home && first === 'ok');
      if (reached) foreign.reached.push(`${callers[column]!.name} follows ${field.name}`);
    }
  }
  return [own, foreign];
}

/** ok as soon as something arrives; - when nothing does, as to whom sees the workflow and not its runs. */
async function follow(server: TestServer, caller: Caller, field: Field, args: Arguments): Promise<string> {
  const { parameters, text, variables } = ask(field, args, '{ __typename }');
  const client = server.subscribe(caller.secret);
  const silence = new AbortController();
  try {
    return await Promise.race([
      delay(SILENT_MS, '-', { signal: silence.signal }),
      new Promise<string>((resolve) => {
        client.subscribe(
          { query: `subscription (${parameters.join(', ')}) { ${text} }`, variables },
          {
            next: (answer) => resolve(cellOfField({ status: 200, ...answer } as GraphqlAnswer, field.name)),
            error: (error) => resolve(cellOf(refusalOf(error))),
            complete: () => resolve('-'),
          },
        );
      }),
    ]);
  } finally {
    silence.abort();
    await client.dispose();
  }
}

/** The code of a GraphQL error, or that which closed the socket. */
function refusalOf(error: unknown): string {
  const [first] = z.array(z.looseObject({ extensions: z.looseObject({ code: z.string() }) })).safeParse(error).data ?? [];
  return first?.extensions.code ?? `closed ${z.looseObject({ code: z.number() }).parse(error).code}`;
}
