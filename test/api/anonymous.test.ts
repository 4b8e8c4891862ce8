/** What a request without a token may ask for, and how it is told that it may not. */
import { type GraphQLObjectType, buildSchema, isLeafType, getNamedType, isObjectType } from 'graphql';
import { beforeAll, describe, expect, test } from 'vitest';
import { OPEN_FIELDS } from '../../src/graphql/anonymous.ts';
import { printGraphqlSchema } from '../../src/graphql/server.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { createPerson } from '../helpers/people.ts';
import { recordStatements } from '../helpers/sql_log.ts';
import { snake } from './access/graphql.ts';

let db: TestDatabase;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  server = await serveGraphql(db);
});

const refused = (field: string) => [
  { extensions: { code: 'UNAUTHENTICATED', hint: expect.stringContaining('Bearer'), details: { field } } },
];

describe('without a token', () => {
  test('a document that needs one is refused once, without a statement and without a line in the log', async () => {
    const aliases = Array.from({ length: 21 }, (_, index) => `w${index}: workflows { nodes { id } }`).join(' ');
    const statements = await recordStatements(async () => {
      const { status, data, errors } = await server.query(null, `{ ${aliases} }`);
      expect([status, data]).toEqual([401, undefined]);
      expect(errors).toMatchObject(refused('workflows'));
      expect(errors).toHaveLength(1);
    });
    expect(statements).toEqual([]);
    expect(server.logged).toEqual([]);
  });

  test.each([
    ['a field among open ones', '{ plans { nodes { id } } workflows { nodes { id } } }', 'workflows'],
    ['a mutation', 'mutation { createOrganization(input: { name: "X", slug: "x-y" }) { clientMutationId } }', 'createOrganization'],
    ['a field of a row', '{ currentOrganization { id teams { nodes { id } } } }', 'teams'],
    ['a column that a function gives', '{ currentOrganization { webhookKey } }', 'webhookKey'],
    ['a fragment', '{ ...F } fragment F on Query { ...G } fragment G on Query { teams { nodes { id } } }', 'teams'],
    ['an inline fragment', '{ ... on Query { ... { users { nodes { id } } } } }', 'users'],
    ['a global id', '{ node(nodeId: "WyJQbGFuIl0=") { nodeId } }', 'node'],
    ['an alias', '{ plans: workflows { nodes { id } } }', 'workflows'],
  ])('%s needs one', async (_case, query, field) => {
    const { status, errors } = await server.query(null, query);
    expect(status).toBe(401);
    expect(errors).toMatchObject(refused(field));
  });

  test('of several operations only the one that is asked for counts', async () => {
    const query = 'query Open { plans { nodes { id } } } query Closed { teams { nodes { id } } }';
    const ask = async (operationName: string) => {
      const headers = { 'content-type': 'application/json', accept: 'application/json' };
      const response = await fetch(server.url, { method: 'POST', headers, body: JSON.stringify({ query, operationName }) });
      return response.status;
    };
    expect([await ask('Open'), await ask('Closed'), await ask('Open')]).toEqual([200, 401, 200]);
  });

  test('over a WebSocket it is an error of the operation', async () => {
    const client = server.subscribe(null);
    const { value } = await client
      .iterate({ query: 'subscription { workflowRuns(workflowId: "01900000-0000-7000-8000-000000000000") { cursor } }' })
      .next();
    expect(value.errors).toMatchObject(refused('workflowRuns'));
    const { value: open } = await client.iterate({ query: '{ currentUser { id } }' }).next();
    expect(open.data).toEqual({ currentUser: null });
    expect(server.logged).toEqual([]);
  });
});

test('what is open is what the role flowgres_anonymous may use', async () => {
  const schema = buildSchema(await printGraphqlSchema(db.url('flowgres_api')));
  const { rows } = await db.admin.query<{ name: string; mine: boolean }>(`
    select p.proname as name, has_function_privilege('flowgres_anonymous', p.oid, 'execute') as mine
    from pg_proc as p where p.pronamespace = 'public'::regnamespace
    union all
    select c.relname, has_table_privilege('flowgres_anonymous', c.oid, 'select')
    from pg_class as c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')`);
  const mayUse = new Set(rows.filter(({ mine }) => mine).map(({ name }) => name));
  // Their functions are the login's, which hashes passwords; a wrong one is no wrong token.
  const own = new Set(['Mutation.login', 'Mutation.registerUser', 'Mutation.resetPassword']);
  /** The function or the table that a field reads. */
  const sourceOf = (type: GraphQLObjectType, name: string, row: string) => {
    const [field, table] = [snake(name), `${snake(row).slice(1)}s`];
    return rows.some((each) => each.name === field)
      ? field
      : type.name === 'Query' || type.name === 'Plan' || type.name === 'PlanLimit'
        ? table
        : '';
  };
  for (const type of [schema.getQueryType()!, schema.getMutationType()!, ...['Plan', 'PlanLimit'].map((name) => schema.getType(name))]) {
    if (!isObjectType(type)) throw new Error('There is no such type.');
    for (const field of Object.values(type.getFields())) {
      const named = getNamedType(field.type);
      if (isLeafType(named) && (type.name === 'Plan' || type.name === 'PlanLimit')) continue;
      const name = `${type.name}.${field.name}`;
      const source = sourceOf(type, field.name, named.name.replace('Connection', ''));
      expect({ name, open: OPEN_FIELDS.has(name) }).toEqual({ name, open: mayUse.has(source) || own.has(name) });
    }
  }
});

test('a person who is in no organization is told so, and not to log in', async () => {
  const person = await createPerson(db);
  const { status, errors } = await server.query(
    person.secret,
    'mutation { createWorkflow(input: { name: "W", definition: {} }) { workflow { id } } }',
  );
  expect(status).toBe(200);
  expect(errors).toMatchObject([{ extensions: { code: 'NO_ORGANIZATION', hint: expect.stringContaining('create_organization') } }]);
  expect((await server.data(person.secret, '{ workflows { nodes { id } } }')).workflows.nodes).toEqual([]);
});

describe('nothing is logged', () => {
  test('of a test of a workflow that takes longer than it may', async () => {
    const person = await createPerson(db);
    await server.data(person.secret, 'mutation { createOrganization(input: { name: "Slow", slug: "slow" }) { organization { id } } }');
    await db.admin.query(`
      create or replace function public.test_workflow(definition jsonb, input jsonb default '{}', "trigger" text default null, pins jsonb default null)
      returns setof public.workflow_test_event language plpgsql stable security definer as $$
      begin perform pg_sleep(10); end $$`);
    const { errors } = await server.query(person.secret, '{ testWorkflow(definition: {}) { nodes { seq } } }');
    expect(errors).toMatchObject([{ extensions: { code: 'TIMEOUT', hint: expect.stringContaining('2') } }]);
    expect(errors![0]!.extensions).not.toHaveProperty('errorId');
    expect(server.logged).toEqual([]);
  });
});
