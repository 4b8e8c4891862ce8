/** Bad input, row by row: what GraphQL answers, and that nothing of the server's inside is in it. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
let closed: TestServer;
let workflow: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, server, closed] = [await createOrganization(db), await serveGraphql(db), await serveGraphql(db, { openIntrospection: false })];
  workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
});

const nest = (depth: number): string => (depth === 0 ? 'id' : `organization { workflows { nodes { ${nest(depth - 1)} } } }`);
const aliases = (count: number) => Array.from({ length: count }, (_, index) => `a${index}: currentUser { id }`).join(' ');
const spread = (count: number) =>
  Array.from({ length: count }, (_, index) => `fragment f${index} on User { ...f${(index + 1) % count} }`).join(' ');

/** A document, its variables, and the code that it is refused with. */
const REFUSED: Record<string, [query: string, variables: Record<string, unknown>, code: string]> = {
  'nested deeper than 12': [`{ workflows { nodes { ${nest(6)} } } }`, {}, 'INVALID_ARGUMENT'],
  '31 aliases': [`{ ${aliases(31)} }`, {}, 'TOO_LARGE'],
  '500 aliases': [`{ ${aliases(500)} }`, {}, 'TOO_LARGE'],
  'more than 10,000 objects': ['{ workflowRuns(first: 200) { nodes { events(first: 200) { nodes { seq } } } } }', {}, 'TOO_LARGE'],
  'a page of 201': ['{ workflowRuns(first: 201) { nodes { id } } }', {}, 'INVALID_ARGUMENT'],
  'a page of 2147483647': ['query ($n: Int) { workflows(first: $n) { nodes { id } } }', { n: 2_147_483_647 }, 'INVALID_ARGUMENT'],
  'a page of -1': ['query ($n: Int) { workflows(first: $n) { nodes { id } } }', { n: -1 }, 'INVALID_ARGUMENT'],
  'a page of a number that is no int': ['query ($n: Int) { workflows(first: $n) { nodes { id } } }', { n: 1e300 }, 'INVALID_ARGUMENT'],
  'more than 5,000 tokens': [`{ currentUser { ${'id '.repeat(5_000)} } }`, {}, 'TOO_LARGE'],
  'a directive used over and over': [`{ currentUser { id ${'@skip(if: false) '.repeat(200)} } }`, {}, 'TOO_LARGE'],
  'an unknown directive': ['{ currentUser { id @own } }', {}, 'INVALID_ARGUMENT'],
  'fragments in a circle': [`{ currentUser { ...f0 } } ${spread(3)}`, {}, 'INVALID_ARGUMENT'],
  'no document at all': ['{', {}, 'INVALID_ARGUMENT'],
  'two operations and no name': ['query A { __typename } query B { __typename }', {}, 'INVALID_ARGUMENT'],
  'a variable of another type': ['query ($id: UUID!) { workflow(id: $id) { id } }', { id: 7 }, 'INVALID_ARGUMENT'],
  'a variable that is missing': ['query ($id: UUID!) { workflow(id: $id) { id } }', {}, 'INVALID_ARGUMENT'],
  'an id that is none': ['query ($id: UUID!) { workflow(id: $id) { id } }', { id: "'; drop table users; --" }, 'INVALID_ARGUMENT'],
  'a cursor that is none': ['{ workflowRuns(after: "bm9uc2Vuc2U=") { nodes { id } } }', {}, 'INVALID_ARGUMENT'],
  'an infinite time': [
    'query ($f: WorkflowFilter) { workflows(filter: $f) { nodes { id } } }',
    { f: { createdAt: { lessThan: 'tomorrow-ish' } } },
    'INVALID_ARGUMENT',
  ],
  'a filter by null': ['{ workflows(filter: { name: { equalTo: null } }) { nodes { id } } }', {}, 'INVALID_ARGUMENT'],
  'a filter by nothing': ['{ workflows(filter: { name: {} }) { nodes { id } } }', {}, 'INVALID_ARGUMENT'],
  'a filter by a column without an index': [
    '{ workflows(filter: { description: { equalTo: "x" } }) { nodes { id } } }',
    {},
    'INVALID_ARGUMENT',
  ],
  'an order by the definition': ['{ workflows(orderBy: DEFINITION_ASC) { nodes { id } } }', {}, 'INVALID_ARGUMENT'],
  'a secret column': ['{ users { nodes { passwordHash } } }', {}, 'INVALID_ARGUMENT'],
  'another organization in an input': [
    'mutation { createWorkflow(input: { name: "x", definition: {}, organizationId: "01900000-0000-7000-8000-000000000000" }) { workflow { id } } }',
    {},
    'INVALID_ARGUMENT',
  ],
  'a computed column written': [
    'mutation { createWorkflow(input: { name: "x", definition: {}, publishedVersion: 1 }) { workflow { id } } }',
    {},
    'INVALID_ARGUMENT',
  ],
  'a table written directly': ['mutation { updateWorkflow(input: {}) { clientMutationId } }', {}, 'INVALID_ARGUMENT'],
  'an update of a run’s status': [
    'mutation { updateWorkflowRun(input: { status: "success" }) { clientMutationId } }',
    {},
    'INVALID_ARGUMENT',
  ],
  'a null where a value is required': [
    'mutation { publishWorkflow(input: { workflowId: null }) { workflowVersion { version } } }',
    {},
    'INVALID_ARGUMENT',
  ],
  'an idempotency key of 10 kB': [
    'mutation ($w: UUID!, $k: String) { startWorkflowRun(input: { workflowId: $w, idempotencyKey: $k }) { workflowRun { id } } }',
    { k: 'x'.repeat(10_240) },
    'INVALID_ARGUMENT',
  ],
  'an empty idempotency key': [
    'mutation ($w: UUID!, $k: String) { startWorkflowRun(input: { workflowId: $w, idempotencyKey: $k }) { workflowRun { id } } }',
    { k: '' },
    'INVALID_ARGUMENT',
  ],
  'a character that cannot be stored': [
    'mutation ($n: String!) { createWorkflow(input: { name: $n, definition: {} }) { workflow { id } } }',
    { n: '\u0000' },
    'INVALID_TEXT',
  ],
  'half a surrogate': [
    'mutation ($d: JSON!) { createWorkflow(input: { name: "x", definition: $d }) { workflow { id } } }',
    { d: { x: '\ud800' } },
    'INVALID_TEXT',
  ],
};

/** What a client must never read. */
const INSIDE = /select |insert |pg_|sqlstate|relation "|constraint|node_modules|\.ts:|at Object|private\.|engine\./i;

describe('GraphQL refuses', () => {
  test.each(Object.entries(REFUSED))('%s', async (_case, [query, variables, code]) => {
    const { status, data, errors } = await server.query(acme.token, query, { w: workflow.id, ...variables });
    expect(status).toBeLessThan(500);
    expect(errors?.[0]?.extensions?.code, JSON.stringify({ data, errors })).toBe(code);
    for (const { message } of errors!) expect(message).not.toMatch(INSIDE);
  });

  test('the schema to anonymous requests in production, __typename floods as any', async () => {
    for (const query of ['{ __schema { types { name } } }', '{ __type(name: "Query") { name } }']) {
      expect((await closed.query(null, query)).errors?.[0]?.extensions?.code).toBe('INVALID_ARGUMENT');
    }
    const flood = Array.from({ length: 31 }, (_, index) => `t${index}: __typename`).join(' ');
    expect((await closed.query(null, `{ ${flood} }`)).errors?.[0]?.extensions?.code).toBe('TOO_LARGE');
  });

  test('GET, batches, other media types and large bodies', async () => {
    const post = (body: string, type = 'application/json') =>
      fetch(server.url, { method: 'POST', headers: { 'content-type': type, accept: 'application/json' }, body });
    const mutation = 'mutation { createOrganization(input: { name: "x", slug: "x" }) { organization { id } } }';
    expect((await fetch(`${server.url}?query=${encodeURIComponent(mutation)}`)).status).toBe(405);
    expect((await post(JSON.stringify([{ query: '{ __typename }' }]))).status).toBe(400);
    expect((await post(`query=${encodeURIComponent(mutation)}`, 'application/x-www-form-urlencoded')).status).toBe(415);
    expect((await post(mutation, 'text/plain')).status).toBe(415);
    expect((await post(JSON.stringify({ query: '{ __typename }', pad: 'x'.repeat(256 * 1024) }))).status).toBe(413);
    expect((await post('{')).status).toBe(400);
    expect((await post('')).status).toBe(400);
    expect((await post('null')).status).toBe(400);
  });
});
