/** GraphQL over HTTP, as the public audit of graphql-http checks it. */
import { auditServer } from 'graphql-http';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { serveGraphql } from '../helpers/graphql.ts';

/** What the specification leaves to servers, and this one does not offer: GET, which would have to be cached and logged. */
const NOT_OFFERED = ['5A70', 'D6D5', '6A70'];

test('the audit finds no error and no warning', async () => {
  const { url } = await serveGraphql(await createTestDatabase());
  const results = await auditServer({ url });
  const found = results.filter(({ status }) => status !== 'ok');
  expect(results.length).toBeGreaterThan(50);
  expect(found.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(NOT_OFFERED.map((id) => `${id} notice`).sort());
});
