import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { printGraphqlSchema } from '../../src/graphql/server.ts';
import { createTestDatabase } from '../helpers/database.ts';

test('schema.graphql is what the server serves', async () => {
  const db = await createTestDatabase();
  const sdl = await printGraphqlSchema(db.url('flowgres_api'));
  // Write it anew with: npm test -- test/api/schema.test.ts -u
  await expect(sdl).toMatchFileSnapshot('../../schema.graphql');
  expect(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8')).toBe(sdl);
});

test('nothing of the engine, of secrets or of partitions is in the schema', async () => {
  const sdl = await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8');
  for (const word of ['tokenHash', 'openSteps', 'startKey', 'WorkflowRunsP2', 'setContext', 'acting', 'partition']) {
    expect(sdl.toLowerCase()).not.toContain(`${word.toLowerCase()}(`);
  }
});

test('every field is explained', async () => {
  const { buildSchema, isObjectType } = await import('graphql');
  const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'));
  const silent = Object.values(schema.getTypeMap())
    .filter(
      (type) =>
        isObjectType(type) && /^(Query|Mutation|Subscription|Workflow|Organization|User|Webhook|ApiToken|NewApiToken)/.test(type.name),
    )
    .flatMap((type) => (isObjectType(type) ? Object.values(type.getFields()).map((field) => ({ type: type.name, field })) : []))
    .filter(({ type, field }) => !field.description && !/(Payload|Connection|Edge)$/.test(type))
    .map(({ type, field }) => `${type}.${field.name}`);
  expect(silent).toEqual([]);
});
