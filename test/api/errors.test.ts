import { GraphQLError } from 'postgraphile/graphql';
import { SafeError } from 'postgraphile/grafast';
import { beforeAll, describe, expect, test } from 'vitest';
import { errorMask } from '../../src/graphql/errors.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

describe('an error', () => {
  const logged: { errorId: string; message: string }[] = [];
  const mask = errorMask((entry) => logged.push(entry));
  const masked = (original: Error | undefined, message = 'raw') => {
    logged.length = 0;
    const {
      message: told,
      extensions,
      path,
    } = mask(new GraphQLError(message, { path: ['field'], ...(original ? { originalError: original } : {}) }));
    return { told, extensions, path };
  };
  const database = (code: string, more: object = {}) => Object.assign(new Error('secret text'), { code, severity: 'ERROR', ...more });

  test('of ours is told in full: code, hint and details', () => {
    const detail = '{"code": "CONFLICT", "revision": 3}';
    expect(masked(database('WF003', { message: 'The draft is at revision 3.', detail, hint: 'Read it again.' }))).toEqual({
      told: 'The draft is at revision 3.',
      extensions: { code: 'CONFLICT', hint: 'Read it again.', details: { revision: 3 } },
      path: ['field'],
    });
    expect(logged).toEqual([]);
  });

  test.each([
    ['42501', 'FORBIDDEN'],
    ['23505', 'CONFLICT'],
    ['57014', 'TIMEOUT'],
    ['22P02', 'INVALID_ARGUMENT'],
    ['22004', 'INVALID_ARGUMENT'],
    ['XX000', 'INTERNAL'],
    ['42P01', 'INTERNAL'],
  ])('of PostgreSQL, %s, is %s, in our words and with an id that the log knows', (sqlstate, code) => {
    const { told, extensions } = masked(database(sqlstate, { detail: 'Failing row contains (secret)' }));
    expect(told).not.toContain('secret');
    expect(extensions).toMatchObject({ code, errorId: expect.stringMatching(/^[\w-]{8}$/) });
    expect(logged).toMatchObject([{ errorId: extensions['errorId'], sqlstate, message: 'secret text' }]);
    expect(JSON.stringify(logged)).not.toContain('Failing row');
  });

  test('of the program is masked', () => {
    const { told, extensions } = masked(new TypeError('x is undefined'));
    expect({ told, code: extensions['code'] }).toEqual({ told: 'Something went wrong here.', code: 'INTERNAL' });
    expect(logged).toMatchObject([{ message: 'TypeError: x is undefined' }]);
  });

  test('that is meant for the client passes', () => {
    expect(masked(new SafeError('Too much.', { code: 'INVALID_ARGUMENT' }))).toMatchObject({
      told: 'Too much.',
      extensions: { code: 'INVALID_ARGUMENT' },
    });
  });
});

describe('over HTTP', () => {
  let db: TestDatabase;
  let acme: TestOrganization;
  let server: TestServer;
  beforeAll(async () => {
    db = await createTestDatabase();
    [acme, server] = [await createOrganization(db), await serveGraphql(db)];
  });

  const createWorkflow = (definition: unknown) =>
    server.query(acme.token, 'mutation ($d: JSON!) { createWorkflow(input: { name: "W", definition: $d }) { workflow { id } } }', {
      d: definition,
    });

  test('an invalid definition is refused with all its problems', async () => {
    const { data } = await createWorkflow({ nodes: [{ id: 'a', type: 'nonsense' }], connections: [] });
    const { errors } = await server.query(
      acme.token,
      'mutation ($id: UUID!) { publishWorkflow(input: { workflowId: $id }) { workflowVersion { version } } }',
      {
        id: data.createWorkflow.workflow.id,
      },
    );
    expect(errors?.[0]?.extensions).toMatchObject({
      code: 'VALIDATION_FAILED',
      hint: expect.any(String),
      details: { problems: expect.arrayContaining([expect.objectContaining({ pointer: expect.any(String) })]) },
    });
  });

  test('a text that PostgreSQL cannot store is the client’s error', async () => {
    const { errors } = await createWorkflow({ note: '\u0000' });
    expect(errors?.[0]?.extensions?.code).toBe('INVALID_TEXT');
  });

  test('an unknown id is null where it is read and NOT_FOUND where it is acted on', async () => {
    const id = '01900000-0000-7000-8000-000000000000';
    expect(await server.data(acme.token, 'query ($id: UUID!) { workflow(id: $id) { id } workflowRun(id: $id) { id } }', { id })).toEqual({
      workflow: null,
      workflowRun: null,
    });
    const { errors } = await server.query(acme.token, 'mutation ($id: UUID!) { cancelRun(input: { runId: $id }) { workflowRun { id } } }', {
      id,
    });
    expect(errors?.[0]?.extensions?.code).toBe('NOT_FOUND');
  });

  test('a failure of the database itself tells nothing but an id', async () => {
    await db.admin.query(
      `alter function public.workflow_runs_duration_ms(workflow_runs) rename to gone; alter function public.api_tokens() rename to no_tokens`,
    );
    const { errors } = await server.query(acme.token, '{ apiTokens { nodes { id } } }');
    expect(errors).toMatchObject([
      { message: 'Something went wrong here.', extensions: { code: 'INTERNAL', errorId: expect.any(String) } },
    ]);
    expect(server.logged.map(({ errorId }) => errorId)).toContain(errors![0]!.extensions!.errorId);
  });
});
