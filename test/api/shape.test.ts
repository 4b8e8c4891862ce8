/** Rules that every field, argument and type of the GraphQL schema keeps. */
import { readFile } from 'node:fs/promises';
import {
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLObjectType,
  type GraphQLType,
  buildSchema,
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
} from 'graphql';
import { expect, test } from 'vitest';
import { CLOSED_SETS, valuesOf } from '../../src/graphql/enums.ts';
import { argumentName } from '../../src/graphql/shape.ts';
import { createTestDatabase } from '../helpers/database.ts';

const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'));
const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
const objects = types.filter(isObjectType);
const inputs = types.filter(isInputObjectType);
const fields = objects.flatMap((type) =>
  Object.values(type.getFields()).map((field) => ({ at: `${type.name}.${field.name}`, type, field })),
);

/** All arguments, and all fields of inputs. */
const given: { at: string; each: GraphQLArgument | GraphQLInputField }[] = [
  ...fields.flatMap(({ at, field }) => field.args.map((each) => ({ at: `${at}(${each.name})`, each }))),
  ...inputs.flatMap((type) => Object.values(type.getFields()).map((each) => ({ at: `${type.name}.${each.name}`, each }))),
];
const isPayload = (type: GraphQLObjectType) => type.name.endsWith('Payload');
const resultsOf = (type: GraphQLObjectType) =>
  Object.values(type.getFields()).filter(({ name }) => name !== 'clientMutationId' && name !== 'query');

test('a text whose name is that of a closed set is an enum', () => {
  const named = [...fields.map(({ at, field }) => ({ at, each: field })), ...given].filter(
    ({ at }) => !/^\w+(Filter|Choice)\.(in|\w*To)$/.test(at),
  );
  const closed = new Set(named.filter(({ each }) => isEnumType(getNamedType(each.type))).map(({ each }) => each.name));
  // The name of a client’s operation.
  const open = ['ApiAccessLog.operation'];
  const texts = named.filter(({ at, each }) => getNamedType(each.type).name === 'String' && closed.has(each.name) && !open.includes(at));
  expect(texts.map(({ at }) => at)).toEqual([]);
});

test('closed sets without a constraint have the values that the database uses', async () => {
  const { admin } = await createTestDatabase();
  const { rows: scopes } = await admin.query<{ scope: string }>('select scope from private.scopes()');
  expect(scopes.map(({ scope }) => scope).sort()).toEqual([...CLOSED_SETS['scope']!.values].sort());
  const { rows: views } = await admin.query<{ text: string }>(`select pg_get_viewdef('public.workflow_run_steps'::regclass) as text`);
  const statuses = [...views[0]!.text.split('AS status')[0]!.matchAll(/(?:THEN|ELSE) '(\w+)'::text/g)].map(([, status]) => status);
  // Only the graph of a run knows nodes that were not reached.
  expect(new Set([...statuses, 'skipped'])).toEqual(new Set(CLOSED_SETS['step_status']!.values));
  const { rows: methods } = await admin.query<{ text: string }>(
    `select pg_get_constraintdef(oid) as text from pg_constraint where conname = 'webhooks_methods_check'`,
  );
  expect([...methods[0]!.text.matchAll(/'([A-Z]+)'/g)].map(([, method]) => method)).toEqual(CLOSED_SETS['http_method']!.values);
});

test.each([
  [`CHECK ((status = ANY (ARRAY['a'::text, 'b'::text])))`, ['a', 'b']],
  [`CHECK ((name = ANY (ARRAY['it''s'::text])))`, ["it's"]],
  [`CHECK (((n > 0) = (status = ANY (ARRAY['a'::text]))))`, null],
  [`CHECK ((status = 'a'::text))`, null],
])('the constraint %s lists %j', (definition, values) => {
  expect(valuesOf(definition)).toEqual(values);
});

test('a list has no null in it', () => {
  const withNulls = (type: GraphQLType): boolean => {
    const list = getNullableType(type);
    return isListType(list) && !isNonNullType(list.ofType);
  };
  const found = [...fields.map(({ at, field }) => ({ at, each: field })), ...given].filter(({ each }) => withNulls(each.type));
  expect(found.map(({ at }) => at)).toEqual([]);
});

test('nodes, edges and cursors of connections are never null', () => {
  const found = fields.filter(
    ({ type, field }) => /(Connection|Edge)$/.test(type.name) && field.name !== 'pageInfo' && !isNonNullType(field.type),
  );
  expect(found.map(({ at }) => at)).toEqual([]);
});

test('a mutation fails or returns what its payload is named after', () => {
  const payloads = objects.filter(isPayload);
  expect(payloads.length).toBeGreaterThan(50);
  for (const payload of payloads) {
    const results = resultsOf(payload);
    expect(results.length, payload.name).toBeGreaterThan(0);
    for (const result of results) {
      expect(isNonNullType(result.type), `${payload.name}.${result.name}`).toBe(true);
      expect(['result', 'results', 'value'], payload.name).not.toContain(result.name);
      const { name } = getNamedType(result.type);
      const isRow = isObjectType(getNamedType(result.type)) && !isListType(getNullableType(result.type));
      if (isRow && name !== 'StartedSession') expect(result.name).toBe(name[0]!.toLowerCase() + name.slice(1));
    }
  }
});

test('every input, every argument and every payload is described', () => {
  const silent = given.filter(({ each }) => !each.description?.trim()).map(({ at }) => at);
  const results = fields.filter(({ type, field }) => isPayload(type) && !field.description).map(({ at }) => at);
  // A function’s new argument: describe it in src/graphql/input_descriptions.ts.
  expect([...silent, ...results]).toEqual([]);
});

test('an id is named after its thing, except that of the row that a field reads', () => {
  const ids = given.filter(({ at, each }) => getNamedType(each.type).name === 'UUID' && !/^UUID(Filter|Choice)\./.test(at));
  const isOwnKey = (at: string) => /^Query\.\w+\(id\)$/.test(at);
  expect(ids.filter(({ at, each }) => !/Ids?$/.test(each.name) && !isOwnKey(at)).map(({ at }) => at)).toEqual([]);
});

/** Values that an answer consists of, which stand for no row: caches embed them. */
const EMBEDDED = [
  'CredentialType',
  'DataChange',
  'Entitlement',
  'NewApiToken',
  'NewInvitation',
  'NodeType',
  'StartedSession',
  'UsageRecord',
  'VerifyRunRecord',
  'WorkflowChange',
  'WorkflowDifference',
  'WorkflowImport',
  'WorkflowProblem',
  'WorkflowRunChange',
  'WorkflowRunCount',
  'WorkflowRunGraph',
  'WorkflowRunGraphLink',
  'WorkflowRunGraphNode',
  'WorkflowRunStat',
  'WorkflowRunStatsGroup',
  'WorkflowTestEvent',
];

test('every type that stands for a row has an id', () => {
  const roots = ['Query', 'Mutation', 'Subscription', 'PageInfo'];
  const rows = objects.filter(({ name }) => !/(Payload|Connection|Edge)$/.test(name) && !roots.includes(name));
  const without = rows.filter((type) => !isNonNullType(type.getFields()['id']?.type)).map(({ name }) => name);
  expect(without.sort()).toEqual(EMBEDDED);
});

test('a column with the id of another row leads to that row under its name without Id', () => {
  const references = fields.filter(({ field }) => getNamedType(field.type).name === 'UUID' && /(By|Of)Id$/.test(field.name));
  expect(references.length).toBeGreaterThan(5);
  const bare = references.filter(({ type, field }) => !isObjectType(getNamedType(type.getFields()[field.name.slice(0, -2)]?.type)));
  expect(bare.map(({ at }) => at)).toEqual([]);
});

test.each([
  ['cancel_run', 'run', 'run_id'],
  ['publish_workflow', 'id', 'workflow_id'],
  ['set_template', 'id', 'workflow_id'],
  ['transfer_ownership', 'to_user', 'to_user_id'],
  ['get_workflow_run_events', 'run_id', 'run_id'],
])('the argument %s(%s) is called %s', async (functionName, name, expected) => {
  const { TYPES } = await import('postgraphile/@dataplan/pg');
  expect(argumentName(functionName, { name, codec: TYPES.uuid })).toBe(expected);
  expect(argumentName(functionName, { name, codec: TYPES.text })).toBe(name);
});
