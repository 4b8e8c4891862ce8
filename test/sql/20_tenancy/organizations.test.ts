/** create_organization(): owner, webhook key, and fields that are refused. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asAnonymous, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

/** Runs as a person who is logged in, in psql's way. */
async function asPerson(text: string, values: unknown[] = [], organization: string | null = null) {
  const client = await db.admin.connect();
  try {
    await client.query('select set_context($1, $2)', [organization, acme.userId]);
    return await client.query(text, values);
  } finally {
    client.release(true);
  }
}

describe('create_organization', () => {
  test('makes the caller its owner and gives it an unguessable webhook key', async () => {
    const { rows } = await asPerson('select * from create_organization($1, $2)', ['Acme Labs', 'acme-labs']);
    expect(rows[0]).toMatchObject({ name: 'Acme Labs', slug: 'acme-labs', webhook_key: expect.stringMatching(/^[\w-]{22}$/) });
    const members = await db.admin.query('select user_id, role from organization_users where organization_id = $1', [rows[0].id]);
    expect(members.rows).toEqual([{ user_id: acme.userId, role: 'owner' }]);
  });

  test.each(['a', 'Acme', 'a--b', '-acme', 'acme-', 'a b', 'admin', 'hooks', 'x'.repeat(64)])('refuses the slug %s', async (slug) => {
    await expect(asPerson('select create_organization($1, $2)', ['Name', slug])).rejects.toMatchObject({ code: 'WF001' });
  });

  test('refuses an empty name, and nulls', async () => {
    for (const [name, slug] of [
      [' ', 'ok-1'],
      [null, 'ok-2'],
      ['Name', null],
    ]) {
      await expect(asPerson('select create_organization($1, $2)', [name, slug])).rejects.toMatchObject({ code: 'WF001' });
    }
  });

  test('says which field is taken', async () => {
    const refused = asPerson('select create_organization($1, $2)', ['Another', acme.slug]);
    await expect(refused).rejects.toMatchObject({ code: 'WF003', detail: expect.stringContaining('"field": "slug"') });
  });

  test('is for people, not for tokens', async () => {
    await expect(acme.user.query(`select create_organization('X', 'x-y')`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(db.admin.query(`select create_organization('X', 'x-y')`)).rejects.toMatchObject({ code: 'WF004' });
  });
});

test('two people cannot have one verified address in two spellings; unverified it may be written down by anybody', async () => {
  await db.admin.query(`insert into users (name, email) values ('Mallory', 'bo@example.com'), ('Mallory', 'BO@example.com')`);
  await db.admin.query(`insert into users (name, email, email_verified_at) values ('Bo', 'Bo@example.com', now())`);
  await expect(
    db.admin.query(`insert into users (name, email, email_verified_at) values ('Bo', 'bo@example.com', now())`),
  ).rejects.toMatchObject({
    constraint: 'users_email_key',
  });
});

test('current_user and current_organization are null for a request without a token', async () => {
  const text =
    'select (select u.id from public.current_user() as u) as "user", (select o.id from current_organization() as o) as organization';
  expect((await acme.user.query(text)).rows).toEqual([{ user: acme.userId, organization: acme.id }]);
  expect((await asAnonymous(db).query(text)).rows).toEqual([{ user: null, organization: null }]);
});
