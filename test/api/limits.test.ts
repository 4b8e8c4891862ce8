import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, server] = [await createOrganization(db), await serveGraphql(db)];
  await db.admin.query(
    `insert into workflows (organization_id, name, definition) select $1, 'w' || n, '{}' from generate_series(1, 230) as n`,
    [acme.id],
  );
});

const page = async (args: string, variables: Record<string, unknown> = {}, declared = ''): Promise<{ count?: number; code?: string }> => {
  const { data, errors } = await server.query(acme.token, `query ${declared} { workflows${args} { nodes { id } } }`, variables);
  return errors ? { code: errors[0]!.extensions!.code! } : { count: data.workflows.nodes.length };
};

describe('a page', () => {
  test('has 50 rows unless the query says otherwise, and 200 at most', async () => {
    expect(await page('')).toEqual({ count: 50 });
    expect(await page('(first: null)')).toEqual({ count: 50 });
    expect(await page('(first: 0)')).toEqual({ count: 0 });
    expect(await page('(first: 200)')).toEqual({ count: 200 });
    expect(await page('(first: 201)')).toEqual({ code: 'INVALID_ARGUMENT' });
    expect(await page('(first: -1)')).toEqual({ code: 'INVALID_ARGUMENT' });
  });

  test('is limited from the end too, and through variables', async () => {
    expect(await page('(last: 3)')).toEqual({ count: 3 });
    expect(await page('(last: 201)')).toEqual({ code: 'INVALID_ARGUMENT' });
    expect(await page('(first: $n)', { n: 201 }, '($n: Int)')).toEqual({ code: 'INVALID_ARGUMENT' });
    expect(await page('(first: $n)', {}, '($n: Int)')).toEqual({ count: 50 });
    expect(await page('(last: $n)', { n: 201 }, '($n: Int)')).toEqual({ code: 'INVALID_ARGUMENT' });
  });

  test('skips 10,000 rows at most', async () => {
    expect(await page('(offset: 225)')).toEqual({ count: 5 });
    expect(await page('(offset: 10001)')).toEqual({ code: 'INVALID_ARGUMENT' });
  });

  test('is limited in relations and in functions that return rows', async () => {
    const { data } = await server.query(acme.token, '{ currentOrganization { workflows { nodes { id } } } }');
    expect(data.currentOrganization.workflows.nodes).toHaveLength(50);
    for (const query of [
      '{ currentOrganization { workflows(first: 201) { nodes { id } } } }',
      '{ apiTokens(first: 201) { nodes { id } } }',
    ]) {
      const { errors } = await server.query(acme.token, query);
      expect(errors?.[0]?.extensions?.code).toBe('INVALID_ARGUMENT');
    }
  });
});

const nested = (depth: number): string => {
  const inner = depth > 2 ? nested(depth - 2) : 'id';
  return `organization { workflows { nodes { ${inner} } } }`;
};

describe('a document', () => {
  test('is refused when it is nested too deeply', async () => {
    const { status, errors } = await server.query(acme.token, `{ workflows { nodes { ${nested(12)} } } }`);
    expect(status).toBe(200);
    expect(errors?.[0]).toMatchObject({ message: expect.stringMatching(/depth/i), extensions: { code: 'INVALID_ARGUMENT' } });
  });

  test('that is wrong says where, with a code', async () => {
    const { errors } = await server.query(acme.token, '{ workflows { nodes { colour } } }');
    expect(errors?.[0]).toMatchObject({ message: expect.stringContaining('colour'), extensions: { code: 'INVALID_ARGUMENT' } });
    const variables = await server.query(acme.token, 'query ($id: UUID!) { workflow(id: $id) { id } }', { id: 'no uuid' });
    expect(variables.errors?.[0]?.extensions?.code).toBe('INVALID_ARGUMENT');
  });

  test('has at most 256 kB, over HTTP and over a WebSocket; variables have more room', async () => {
    const query = `{ currentUser { id } } # ${'x'.repeat(256 * 1024)}`;
    expect((await server.query(acme.token, query)).status).toBe(413);
    const definition = { nodes: [], connections: [], note: '\u{1}'.repeat(300_000) };
    const sent = 'mutation ($d: JSON!) { createWorkflow(input: { name: "Large", definition: $d }) { workflow { id } } }';
    expect((await server.query(acme.token, sent, { d: definition })).status).toBe(200);
    const client = server.subscribe(acme.token);
    const closed = new Promise<{ code: number }>((resolve) => client.on('closed', (event) => resolve(event as { code: number })));
    const answer = Promise.resolve(client.iterate({ query }).next());
    await expect(answer).rejects.toBeDefined();
    expect((await closed).code).toBe(1009);
  });

  test('is refused when its answer could have too many objects, with what it would cost', async () => {
    const refusal = async (query: string, variables = {}) => (await server.query(acme.token, query, variables)).errors?.[0]?.extensions;
    expect(await refusal('{ workflows(first: 200) { nodes { versions(first: 200) { nodes { version } } } } }')).toMatchObject({
      code: 'TOO_LARGE',
      // 1 connection, 200 workflows, for each 1 connection and 200 versions.
      details: {
        cost: 1 + 200 + 200 + 200 * 200,
        limit: 10_000,
        counted: [
          { path: 'workflows.nodes.versions.nodes', objects: 200 * 200 },
          { path: 'workflows.nodes', objects: 200 },
        ],
      },
    });
    const paged = 'query ($n: Int = 200) { workflows(first: $n) { nodes { versions(first: $n) { nodes { version } } } } }';
    expect((await refusal(paged))?.code).toBe('TOO_LARGE');
    expect(await refusal(paged, { n: 10 })).toBeUndefined();
    const edges = '{ workflows(first: 5) { edges { node { runs(first: 50) { nodes { events(first: 50) { nodes { seq } } } } } } } }';
    expect((await refusal(edges))?.code).toBe('TOO_LARGE');
    const client = server.subscribe(acme.token);
    const failed = await Promise.resolve(client.iterate({ query: paged }).next()).catch((errors: unknown) => errors);
    expect(JSON.stringify(failed)).toContain('TOO_LARGE');
  });

  test('may ask for lists inside of lists without saying how long: 10 rows for each row of the outer one', async () => {
    const nested = '{ workflows { nodes { id runs { nodes { id steps { nodes { node } } } } } } }';
    expect((await server.query(acme.token, nested)).errors).toBeUndefined();
    const organization = '{ organizations { nodes { workflows { nodes { id } } more: workflows(first: 20) { nodes { id } } } } }';
    const { organizations } = await server.data(acme.token, organization);
    expect(organizations.nodes[0].workflows.nodes).toHaveLength(10);
    expect(organizations.nodes[0].more.nodes).toHaveLength(20);
    const { currentOrganization } = await server.data(acme.token, '{ currentOrganization { workflows { nodes { id } } } }');
    expect(currentOrganization.workflows.nodes).toHaveLength(50);
  });

  test('is refused when fragments make a small one large', async () => {
    const spread = Array.from({ length: 9 }, (_, index) => `fragment f${index} on Workflow { ${`...f${index + 1} `.repeat(9)} }`).join(' ');
    const { errors } = await server.query(acme.token, `{ workflows { nodes { ...f0 } } } ${spread} fragment f9 on Workflow { id }`);
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'TOO_LARGE', details: { limit: expect.any(Number) } });
  });

  test('has at most 30 aliases and 2,500 tokens, 500 without a token', async () => {
    const aliases = (count: number) => `{ ${Array.from({ length: count }, (_, index) => `a${index}: currentUser { id }`).join(' ')} }`;
    expect((await server.query(acme.token, aliases(30))).errors).toBeUndefined();
    expect((await server.query(acme.token, aliases(500))).errors?.[0]?.extensions?.code).toBe('TOO_LARGE');
    const words = (count: number) => `{ currentUser { ${'id '.repeat(count)} } }`;
    expect((await server.query(acme.token, words(100))).errors).toBeUndefined();
    const code = async (token: string | null, query: string) => (await server.query(token, query)).errors?.[0]?.extensions?.code;
    const long = (count: number) =>
      `query (${Array.from({ length: count / 4 }, (_, place) => `$v${place}: Int`).join(' ')}) { __typename }`;
    expect(await code(acme.token, long(2_400))).toBe('INVALID_ARGUMENT');
    expect(await code(acme.token, long(2_600))).toBe('TOO_LARGE');
    expect(await code(null, long(480))).toBe('INVALID_ARGUMENT');
    // Also when the server knows it already.
    await server.query(acme.token, long(560));
    expect(await code(null, long(560))).toBe('TOO_LARGE');
  });

  test('is not batched', async () => {
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${acme.token}` },
      body: JSON.stringify([{ query: '{ currentUser { id } }' }]),
    });
    expect(response.status).toBe(400);
  });
});

describe('introspection', () => {
  const ask = '{ __schema { queryType { name } } __typename }';

  test('is open by default, and to a token always', async () => {
    expect((await server.data(null, ask)).__schema.queryType.name).toBe('Query');
    const closed = await serveGraphql(db, { openIntrospection: false });
    expect((await closed.data(acme.token, ask)).__schema.queryType.name).toBe('Query');
    // The same document again, now anonymously: what is cached of it does not let it through.
    const { data, errors } = await closed.query(null, ask);
    expect(data).toBeUndefined();
    expect(errors?.[0]?.extensions?.code).toBe('INVALID_ARGUMENT');
    expect(await closed.data(null, '{ __typename currentUser { id } }')).toEqual({ __typename: 'Query', currentUser: null });
    await closed.close();
  });

  test('as the Ruru page does it is not too deep', async () => {
    const { getIntrospectionQuery } = await import('graphql');
    const { __schema } = await server.data(null, getIntrospectionQuery({ inputValueDeprecation: true, specifiedByUrl: true, oneOf: true }));
    expect(__schema.types.length).toBeGreaterThan(50);
  });
});

describe('a statement', () => {
  const isStopped = async (server: TestServer, query: string, variables = {}) => {
    const { errors } = await server.query(acme.token, query, variables);
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'TIMEOUT', errorId: expect.any(String) } });
  };

  test('is stopped after five seconds', async () => {
    await db.admin.query(`create or replace function api_tokens() returns setof api_token language sql stable begin atomic
      select null::uuid, pg_sleep(30)::text, null::text, null::text[], null::uuid, now(), now(), now(), now(); end`);
    await isStopped(server, '{ apiTokens { nodes { id } } }');
  });

  test('that waits for somebody else’s lock is stopped after two', async () => {
    const client = await db.admin.connect();
    try {
      await client.query('begin');
      const { rows } = await client.query('select id from workflows where organization_id = $1 limit 1 for update', [acme.id]);
      await isStopped(server, 'mutation ($id: UUID!) { archiveWorkflow(input: { workflowId: $id }) { workflow { id } } }', rows[0]);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});
