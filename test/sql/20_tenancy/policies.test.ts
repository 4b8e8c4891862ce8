/** Row-level security of users, organizations and members. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asAnonymous, asUser, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  globex = await createOrganization(db, 'Globex');
  // One person in both organizations.
  await db.admin.query('insert into organization_users (organization_id, user_id) values ($1, $2)', [globex.id, acme.userId]);
});

const names = async (session: TestOrganization['user'], text: string) =>
  (await session.query<{ name: string }>(text)).rows.map(({ name }) => name);

describe('a token', () => {
  test('shows its own organization only, also to somebody who is in another too', async () => {
    expect(await names(acme.user, 'select name from organizations')).toEqual(['Acme']);
    expect(await names(acme.user, 'select distinct organization_id::text as name from organization_users')).toEqual([acme.id]);
  });

  test('shows the members of its organization and nobody else', async () => {
    expect(await names(acme.user, 'select name from users order by name')).toEqual(['Owner of Acme']);
    expect(await names(globex.user, 'select name from users order by name')).toEqual(['Owner of Acme', 'Owner of Globex']);
  });

  test('that may not read the organization shows its own user alone', async () => {
    const { rows } = await globex.user.query<{ secret: string }>(`select secret from create_api_token('runs', '{runs:read}')`);
    const weak = asUser(db, rows[0]!.secret);
    expect(await names(weak, 'select name from users')).toEqual(['Owner of Globex']);
    expect(await names(weak, 'select role as name from organization_users')).toEqual([]);
  });
});

test('a person who is logged in sees all organizations to switch between', async () => {
  const client = await db.admin.connect();
  try {
    await client.query('select set_context($1, $2)', [acme.id, acme.userId]);
    await client.query('set role flowgres_user');
    const { rows } = await client.query('select name from organizations order by name');
    expect(rows).toEqual([{ name: 'Acme' }, { name: 'Globex' }]);
  } finally {
    client.release(true);
  }
});

test('a DBA finds organizations and people, and sees the work of the organization that was chosen', async () => {
  const { rows } = await acme.user.query<{ id: string }>(`select id from create_workflow('Mine', '{"nodes": [], "connections": []}')`);
  const client = await db.admin.connect();
  try {
    await client.query('set role flowgres_dba');
    const seen = async (text: string) => (await client.query({ text, rowMode: 'array' })).rows.flat();
    expect(await seen('select name from organizations order by name')).toEqual(['Acme', 'Globex']);
    expect(await seen('select name from users order by name')).toEqual(['Owner of Acme', 'Owner of Globex']);
    expect(await seen('select id from workflows')).toEqual([]);
    await client.query(`select set_context(id) from organizations where name = 'Acme'`);
    expect(await seen('select id from workflows')).toEqual([rows[0]!.id]);
    await client.query(`select set_context(id) from organizations where name = 'Globex'`);
    expect(await seen('select id from workflows')).toEqual([]);
  } finally {
    client.release(true);
  }
});

test.each(['users', 'organizations', 'organization_users'])(
  'nobody writes %s directly, and a request without a token reads nothing',
  async (table) => {
    for (const statement of [`delete from ${table}`, `insert into ${table} default values`, `update ${table} set created_at = now()`]) {
      await expect(acme.user.query(statement)).rejects.toMatchObject({ code: '42501' });
    }
    await expect(asAnonymous(db).query(`select from ${table}`)).rejects.toMatchObject({ code: '42501' });
  },
);

test.each(['private.sessions', 'private.api_tokens'])('nobody reads %s', async (table) => {
  for (const role of ['flowgres_api', 'flowgres_intake', 'flowgres_worker', 'flowgres_monitor'] as const) {
    await expect(db.pool(role).query(`select from ${table}`)).rejects.toMatchObject({ code: '42501' });
  }
  await expect(acme.user.query(`select from ${table}`)).rejects.toMatchObject({ code: '42501' });
});
