/** Every function of the API in SQL and through GraphQL: the same row, the same error. */
import { getNamedType, isLeafType, isObjectType } from 'graphql';
import { beforeAll, expect, test } from 'vitest';
import { type GraphqlError, serveGraphql, type TestServer } from '../helpers/graphql.ts';
import { undoCommits } from '../helpers/undo.ts';
import { type Arguments, ARGUMENTS } from './access/arguments.ts';
import { type Caller, createCallers } from './access/callers.ts';
import { type ApiFunction, callSql, isEmpty, readFunctions } from './access/calls.ts';
import { createWorlds, type Worlds } from './access/fixture.ts';
import { ask, camel, type Field, type Fields, isOutside, readFields, snake } from './access/graphql.ts';
import { MISTAKES } from './access/mistakes.ts';

let worlds: Worlds;
let callers: Map<string, Caller>;
let functions: Map<string, ApiFunction>;
let fields: Fields;
let server: TestServer;
beforeAll(async () => {
  worlds = await createWorlds();
  callers = new Map((await createCallers(worlds)).map((caller) => [caller.name, caller]));
  functions = new Map((await readFunctions(worlds.db)).map((each) => [each.name, each]));
  fields = await readFields(worlds);
  server = await serveGraphql(worlds.db);
  undoCommits();
});

/** For policies; GraphQL has current_user and current_organization. */
const SQL_ONLY = ['current_organization_id', 'current_user_id'];
const COMPUTED = Object.keys(ARGUMENTS).filter((name) => /^(workflows?_(runs_|is_)|organizations_)/.test(name));
const CALLED = Object.keys(ARGUMENTS).filter((name) => !SQL_ONLY.includes(name) && !COMPUTED.includes(name));

test.each(CALLED)('%s, with one’s own things, with another organization’s, and by a super admin', async (name) => {
  const caller = (who: string) => callers.get(who)!;
  await compare(caller('owner'), name, ARGUMENTS[name]!(worlds.acme));
  await compare(caller('owner'), name, ARGUMENTS[name]!(worlds.globex));
  await compare(caller('super admin'), name, ARGUMENTS[name]!(worlds.acme));
});

test.each(
  MISTAKES.map(
    ([name, given]) =>
      [
        name,
        String(given)
          .replace(/^.*?=> /s, '')
          .replaceAll(/\s+/g, ' '),
        given,
      ] as const,
  ),
)('%s%s', async (name, _text, given) => {
  await compare(callers.get('owner')!, name, given(worlds.acme));
});

test.each(COMPUTED)('%s', async (name) => {
  const { secret, session } = callers.get('owner')!;
  const [, table, column] = /^(workflow_runs|workflows|organizations)_(.*)$/.exec(name)!;
  const { workflow, run, organization } = worlds.acme;
  const [key, id] =
    table === 'workflows'
      ? ['workflow', workflow.id]
      : table === 'organizations'
        ? ['organization', organization.id]
        : ['workflowRun', run];
  const root = fields.query.find((field) => field.name === key)!;
  const type = getNamedType(root.type);
  const field = isObjectType(type) ? type.getFields()[camel(column!)]! : undefined;
  const { rows } = await session.query<{ row: unknown }>(
    `select to_jsonb(r) as row from public.${table} as t cross join lateral public.${name}(t) as r where t.id = $1`,
    [id],
  );
  const selected = selectionOf(field!, rows[0]?.row);
  const data = await server.data(secret, `query ($id: UUID!) { ${key}(id: $id) { ${camel(column!)} ${selected} } }`, { id });
  expectSame(
    rows.map(({ row }) => row),
    data[key!][camel(column!)],
  );
});

async function compare({ secret, session }: Caller, name: string, args: Arguments): Promise<void> {
  const inSql = await session.transaction((client) => callSql(client, functions.get(name)!, args));
  const field = [...fields.query, ...fields.mutation].find((each) => snake(each.name) === name)!;
  const isMutation = fields.mutation.includes(field);
  const result = isMutation && resultOf(field);
  const selection = result ? `{ ${result.name} ${selectionOf(result, inSql.rows[0])} }` : selectionOf(field, inSql.rows[0]);
  const { parameters, text, variables } = ask(field, args, isMutation && !result ? '{ clientMutationId }' : selection);
  const list = parameters.length ? `(${parameters.join(', ')})` : '';
  const { data, errors } = await server.query(secret, `${isMutation ? 'mutation' : 'query'} ${list} { ${text} }`, variables);
  // GraphQL refuses what is no value of an enum, and no field of an input, before SQL sees it.
  if (isOutside(field, args)) {
    expect(inSql.code).not.toBe('ok');
    expect(errors?.[0]?.extensions?.code).toBe('INVALID_ARGUMENT');
    return;
  }
  expect(errors ? told(errors) : { code: 'ok' }).toEqual(inSql.message ? { code: inSql.code, message: inSql.message } : { code: 'ok' });
  if (!errors) expectSame(inSql.rows, result ? data[field.name][result.name] : data[field.name]);
}

const told = ([error]: GraphqlError[]) => ({ code: error!.extensions?.code, message: error!.message });

/** What a mutation returns. */
function resultOf(mutation: Field): Field | undefined {
  const payload = getNamedType(mutation.type);
  const known = isObjectType(payload) ? Object.values(payload.getFields()) : [];
  return known.find(({ name }) => name !== 'clientMutationId' && name !== 'query');
}

/** The column of a field: one that holds an id, such as started_by, is called startedById. */
const columnOf = (field: string): string => snake(field).replace(/_(by|of)_id$/, '_$1');

/** The columns of an SQL row as fields of GraphQL. */
function selectionOf(field: Field, row: unknown): string {
  const type = getNamedType(field.type);
  if (!isObjectType(type)) return '';
  // A graph has nodes as well, but is no connection.
  const nodes = type.getFields()['nodes'];
  if (nodes && type.getFields()['pageInfo']) return `{ nodes ${selectionOf(nodes, row)} }`;
  const one: unknown = Array.isArray(row) ? row[0] : row;
  const columns = typeof one === 'object' && one !== null ? (one as Record<string, unknown>) : {};
  const parts = Object.values(type.getFields()).flatMap((each) => {
    const value = columns[columnOf(each.name)];
    const isLeaf = isLeafType(getNamedType(each.type));
    // startedBy leads to a row; the column is startedById.
    if (each.args.length > 0 || value === undefined || (!isLeaf && typeof value !== 'object')) return [];
    if (!isLeaf && value === null && columns[columnOf(`${each.name}Id`)] === null) return [];
    const inner = isLeaf ? '' : selectionOf(each, value);
    return [`${each.name} ${inner}`];
  });
  return `{ __typename ${parts.join(' ')} }`;
}

function expectSame(rows: unknown[], answer: unknown): void {
  // Of a connection its type was not selected.
  const isOne = typeof answer === 'object' && answer !== null && '__typename' in answer;
  const nodes = (isOne ? undefined : (answer as { nodes?: unknown[] } | null)?.nodes) ?? (Array.isArray(answer) ? answer : [answer]);
  const filled = rows.filter((row) => !isEmpty(row));
  const known = JSON.stringify([worlds.acme, worlds.globex], (key, value) => (['db', 'user'].includes(key) ? undefined : value));
  const given = nodes.filter((node) => node !== null && !isEmpty(node));
  expect(given).toHaveLength(filled.length);
  for (const [index, node] of given.entries()) expect(plain(node, known)).toEqual(plain(pick(filled[index], node), known));
}

/** Of an SQL row the columns that the answer has. */
function pick(row: unknown, node: unknown): unknown {
  if (Array.isArray(row) && Array.isArray(node)) return row.map((each, index) => pick(each, node[index]));
  if (typeof node !== 'object' || node === null || Array.isArray(node) || !('__typename' in node)) return row;
  const { __typename, ...columns } = node as Record<string, unknown>;
  expect(Object.keys(columns), String(__typename)).not.toEqual([]);
  const entries = Object.entries(columns).map(([name, value]) => [name, pick((row as Record<string, unknown>)[columnOf(name)], value)]);
  return { __typename, ...Object.fromEntries(entries) };
}

/** Secrets; and how much is used, because each request is. */
const MINTED = /^(secret|code|prefix|webhookKey|used)$/;

/** The time that a step took in the engine, which events say from a millisecond on. */
const TOOK = 'ms';

/** Without what is another one each time: new ids, times of now, secrets. */
function plain(value: unknown, known: string, key = ''): unknown {
  if (value === null) return null;
  if (MINTED.test(key)) return 'minted';
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') {
    if (/^[0-9a-f]{8}-[0-9a-f]{4}-7/.test(value) && !known.includes(value)) return 'a new id';
    if (/^\d{4}-\d\d-\d\d[T ]\d\d:/.test(value)) {
      const at = Date.parse(value);
      return Math.abs(Date.now() - at) < 300_000 ? 'now' : /T00:00:00/.test(value) ? at : Math.round(at / 600_000);
    }
    return value;
  }
  // Names of enums have no colon.
  if (key === 'scopes') return String(value).replaceAll(':', '_');
  if (Array.isArray(value)) return value.map((each) => plain(each, known));
  const entries = Object.entries(value as object).filter(([name]) => name !== TOOK);
  return Object.fromEntries(entries.map(([name, each]) => [name, plain(each, known, name)]));
}
