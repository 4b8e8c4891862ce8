import { beforeEach, describe, expect, test } from 'vitest';
import { ApiCalls } from '../../src/server/api_calls.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { freezeClock } from '../helpers/partitions.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeEach(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  // A count begins anew with the hour, which must not end in the middle of a test.
  await freezeClock(db, '2026-11-21T10:20:00Z');
});

const QUERY = '{ currentOrganization { name } }';
const limitTo = (calls: number) =>
  db.admin.query(`insert into organization_limits values ($1, 'api_calls_per_hour', $2)`, [acme.id, calls]);
const used = async () =>
  (await db.admin.query(`select used from private.usage_counters where metric = 'api_calls_per_hour'`)).rows.map((row) => row.used);

describe('with a limit of API calls an hour', () => {
  test('exactly so many are answered, however many come at once, and then 429 says until when', async () => {
    await limitTo(10);
    const server = await serveGraphql(db);
    const answers = await Promise.all(Array.from({ length: 25 }, () => server.query(acme.token, QUERY)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(answers.find(({ status }) => status !== 200)).toMatchObject({
      status: 429,
      errors: [
        {
          extensions: {
            code: 'LIMIT_REACHED',
            details: { metric: 'api_calls_per_hour', limit: 10, resetAt: '2026-11-21T11:00:00.000Z' },
          },
        },
      ],
    });
    await server.close();
    expect(await used()).toEqual([10]);
  });

  test('two tokens of an organization have one limit, another organization has its own', async () => {
    await limitTo(3);
    const { rows } = await acme.user.query<{ secret: string }>(`select secret from create_api_token('second', '{runs:read}')`);
    const other = await createOrganization(db, 'Other');
    const server = await serveGraphql(db);
    const statuses = [];
    for (const token of [acme.token, rows[0]!.secret, acme.token, rows[0]!.secret, other.token]) {
      statuses.push((await server.query(token, QUERY)).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 200]);
  });
});

test('what one process has counted is known to the next one', async () => {
  await limitTo(3);
  for (const expected of [200, 200, 200, 429]) {
    const server = await serveGraphql(db);
    expect((await server.query(acme.token, QUERY)).status).toBe(expected);
    await server.close();
  }
});

test('the next hour begins anew', async () => {
  await limitTo(1);
  const session = (
    await db.admin.query(`select encode(token_hash, 'hex') as hash from private.api_tokens where organization_id = $1`, [acme.id])
  ).rows[0].hash;
  const inHour = async (at: string) => {
    await freezeClock(db, at);
    const calls = new ApiCalls(db.pool('flowgres_api'));
    await calls.admit(session);
    await expect(calls.admit(session)).rejects.toThrow('allows 1 API calls');
    await calls.close();
  };
  await inHour('2026-11-21T10:59:59.999Z');
  await inHour('2026-11-21T11:00:00Z');
});

test('without a limit nothing is refused, and calls are counted all the same', async () => {
  const server = await serveGraphql(db);
  for (let call = 0; call < 3; call += 1) expect((await server.query(acme.token, QUERY)).status).toBe(200);
  await server.query(null, QUERY);
  await server.close();
  expect(await used()).toEqual([3]);
  const { rows } = await acme.user.query(`select used, "limit" from usage() where metric = 'api_calls_per_hour'`);
  expect(rows).toEqual([{ used: 3, limit: null }]);
});
