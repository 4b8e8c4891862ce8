import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { freezeClock } from '../helpers/partitions.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

const logged = async () => (await db.admin.query('select * from api_access_log order by at')).rows;

test('requests are there with token, operation, status, error code and time; those that fail always', async () => {
  const server = await serveGraphql(db, { accessLogSample: 1 });
  await server.query(acme.token, 'query Mine { workflows { nodes { name } } }');
  await server.query(acme.token, '{ workflow(id: "nonsense") { name } }');
  await server.query(acme.token, 'query Broken { nothing }');
  await server.query(
    acme.token,
    'mutation Archive { archiveWorkflow(input: {workflowId: "00000000-0000-7000-8000-000000000000"}) { clientMutationId } }',
  );
  await server.query('fg_unknown', 'query Mine { workflows { nodes { name } } }');
  await server.query(null, 'query Nobody { currentUser { name } }');
  await server.close();
  const { rows: tokens } = await db.admin.query('select id from private.api_tokens where organization_id = $1', [acme.id]);
  const mine = { organization_id: acme.id, token_id: tokens[0].id, user_id: acme.userId };
  const nobody = { organization_id: null, token_id: null, user_id: null };
  expect(await logged()).toEqual(
    [
      { ...mine, operation: 'Mine', status: 200, error_code: null },
      { ...mine, operation: null, status: 200, error_code: 'INVALID_ARGUMENT' },
      { ...mine, operation: 'Broken', status: 200, error_code: 'INVALID_ARGUMENT' },
      { ...mine, operation: 'Archive', status: 200, error_code: 'NOT_FOUND' },
      { ...nobody, operation: 'Mine', status: 401, error_code: 'UNAUTHENTICATED' },
      { ...nobody, operation: 'Nobody', status: 200, error_code: null },
    ].map((entry) => expect.objectContaining({ ...entry, ms: expect.any(Number), at: expect.any(Date) })),
  );
  // Its owner reads it as an owner reads the audit log; another organization does not.
  const own = await acme.user.query('select operation from api_access_log');
  expect(own.rows).toHaveLength(4);
  const other = await createOrganization(db, 'Other');
  expect((await other.user.query('select from api_access_log')).rows).toEqual([]);
});

test('of those that succeed a sample is', async () => {
  await db.admin.query('truncate api_access_log');
  const server = await serveGraphql(db, { accessLogSample: 0 });
  await server.query(acme.token, 'query Mine { workflows { nodes { name } } }');
  await server.query(acme.token, 'query Broken { nothing }');
  await server.close();
  expect((await logged()).map(({ operation }) => operation)).toEqual(['Broken']);
});

test('nobody waits for it, and a failure to write is told to the operator only', async () => {
  const server = await serveGraphql(db, { accessLogSample: 1 });
  await db.admin.query('alter function engine.log_api_requests(jsonb) rename to elsewhere');
  const { errors } = await server.query(acme.token, 'query Mine { workflows { nodes { name } } }');
  await server.close();
  await db.admin.query('alter function engine.elsewhere(jsonb) rename to log_api_requests');
  expect(errors).toBeUndefined();
  expect(server.logged).toMatchObject([{ message: 'The access log could not be written.' }]);
});

test('it is kept for 30 days', async () => {
  await freezeClock(db, new Date(Date.now() + 45 * 864e5).toISOString());
  await db.admin.query('select * from partitions.maintain()');
  await db.admin.query('select * from partitions.retire()');
  expect(await logged()).toEqual([]);
});
