import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ApiCalls } from '../../src/limits/api_calls.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { freezeClock } from '../helpers/partitions.ts';

const db = await createTestDatabase();
let server: TestServer;
let acme: TestOrganization;
beforeAll(async () => {
  server = await serveGraphql(db);
});
beforeEach(async () => {
  // A count begins anew with the hour, which must not end in the middle of a test.
  await freezeClock(db, '2026-11-21T10:20:00Z');
  acme = await createOrganization(db);
});

const QUERY = '{ currentOrganization { name } }';
const limitTo = (calls: number) =>
  db.admin.query(`insert into organization_limits values ($1, 'api_calls_per_hour', $2)`, [acme.id, calls]);
/** As which the calls of its token are counted. */
const sessionOf = async ({ id }: TestOrganization): Promise<string> =>
  (await db.admin.query(`select encode(token_hash, 'hex') as hash from private.api_tokens where organization_id = $1`, [id])).rows[0].hash;
const used = async () =>
  (
    await db.admin.query(`select used from private.usage_counters where metric = 'api_calls_per_hour' and organization_id = $1`, [acme.id])
  ).rows.map((row) => row.used);

describe('with a limit of API calls an hour', () => {
  test('exactly so many are answered, however many come at once, and then 429 says until when', async () => {
    await limitTo(10);
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
    await expect.poll(used).toEqual([10]);
  });

  test('two tokens of an organization have one limit, another organization has its own', async () => {
    await limitTo(3);
    const { rows } = await acme.user.query<{ secret: string }>(`select secret from create_api_token('second', '{runs:read}')`);
    const other = await createOrganization(db, 'Other');
    const statuses = [];
    for (const token of [acme.token, rows[0]!.secret, acme.token, rows[0]!.secret, other.token]) {
      statuses.push((await server.query(token, QUERY)).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 200]);
  });
});

test('what one process has counted is known to the next one', async () => {
  await limitTo(3);
  const session = await sessionOf(acme);
  const inAnother = async () => {
    const calls = new ApiCalls(db.pool('flowgres_api'));
    try {
      await calls.admit(session);
    } finally {
      await calls.close();
    }
  };
  for (let call = 0; call < 3; call += 1) await inAnother();
  await expect(inAnother()).rejects.toThrow('allows 3 API calls');
});

test('the next hour begins anew', async () => {
  await limitTo(1);
  const session = await sessionOf(acme);
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
  for (let call = 0; call < 3; call += 1) expect((await server.query(acme.token, QUERY)).status).toBe(200);
  await server.query(null, QUERY);
  await expect.poll(used).toEqual([3]);
  const { rows } = await acme.user.query(`select used, "limit" from usage() where metric = 'api_calls_per_hour'`);
  expect(rows).toEqual([{ used: 3, limit: null }]);
});
