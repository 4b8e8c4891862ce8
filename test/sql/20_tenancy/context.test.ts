/** The context of a request: organization, user and scopes follow from the token alone. */
import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asAnonymous, asUser, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

const who = 'select current_organization_id() as organization, current_user_id() as "user"';
const nobody = [{ organization: null, user: null }];

describe('the request context', () => {
  test('is the organization and user of the token whose hash the setting holds', async () => {
    const { rows } = await acme.user.query(who);
    expect(rows).toEqual([{ organization: acme.id, user: acme.userId }]);
  });

  test('is empty without a token, with an unknown one, and for a setting that is no hash', async () => {
    expect((await asAnonymous(db).query(who)).rows).toEqual(nobody);
    expect((await asUser(db, 'fg_unknown').query(who)).rows).toEqual(nobody);
    const { rows } = await acme.user.transaction(async (client) => {
      await client.query(`select set_config('flowgres.session', $1, true)`, [acme.id]);
      return client.query(who);
    });
    expect(rows).toEqual(nobody);
  });

  test('ends when the token expires, by the engine’s clock', async () => {
    const other = await createTestDatabase();
    const globex = await createOrganization(other, 'Globex');
    await other.admin.query(`update private.api_tokens set expires_at = now() + interval '1 hour'`);
    expect((await globex.user.query(who)).rows).toEqual([{ organization: globex.id, user: globex.userId }]);
    await other.admin.query(`insert into private.test_mode (frozen_at) values (now() + interval '1 hour')`);
    expect((await globex.user.query(who)).rows).toEqual(nobody);
  });

  test('ends when the user leaves the organization', async () => {
    const initech = await createOrganization(db, 'Initech');
    await db.admin.query('delete from organization_users where user_id = $1', [initech.userId]);
    expect((await initech.user.query(who)).rows).toEqual(nobody);
  });

  test('keeps nothing of a secret but its hash', async () => {
    const { rows } = await db.admin.query(`select token_hash from private.api_tokens where organization_id = $1`, [acme.id]);
    expect(rows).toEqual([{ token_hash: createHash('sha256').update(acme.token).digest() }]);
    // Who reads the hash cannot send it: it would be hashed again.
    expect((await asUser(db, rows[0].token_hash.toString('hex')).query(who)).rows).toEqual(nobody);
  });
});

describe('set_context', () => {
  test('makes a DBA’s session act for an organization until it is ended', async () => {
    const client = await db.admin.connect();
    try {
      await client.query('select set_context($1, $2)', [acme.id, acme.userId]);
      expect((await client.query(who)).rows).toEqual([{ organization: acme.id, user: acme.userId }]);
      await client.query('select set_context($1)', [acme.id]);
      expect((await client.query(who)).rows).toEqual([{ organization: acme.id, user: null }]);
      await expect(client.query('select set_context(null)')).rejects.toMatchObject({ code: 'WF002' });
      await client.query('reset flowgres.session');
      expect((await client.query(who)).rows).toEqual(nobody);
    } finally {
      client.release(true);
    }
  });

  test('refuses an unknown organization, and a user who is not its member', async () => {
    const other = await createOrganization(db, 'Hooli');
    for (const [organization, user] of [
      ['00000000-0000-7000-8000-000000000000', null],
      [acme.id, other.userId],
    ]) {
      await expect(db.admin.query('select set_context($1, $2)', [organization, user])).rejects.toMatchObject({ code: 'WF002' });
    }
  });

  test('is not for users', async () => {
    await expect(acme.user.query('select set_context($1)', [acme.id])).rejects.toMatchObject({ code: '42501' });
  });
});

describe('a command', () => {
  const act = (organization: string | null) => `select private.acting_organization(${organization ? `'${organization}'` : 'null'}) as id`;

  test('of a DBA without a context acts for the organization that it names', async () => {
    expect((await db.admin.query(act(acme.id))).rows).toEqual([{ id: acme.id }]);
    await expect(db.admin.query(act(null))).rejects.toMatchObject({ code: 'WF004', hint: expect.stringContaining('set_context') });
  });

  test('of a person who is in no organization says so, and not that nobody is logged in', async () => {
    const client = await db.admin.connect();
    try {
      const { rows } = await client.query<{ id: string }>(
        `insert into users (name, email) values ('Nemo', 'nemo@example.com') returning id`,
      );
      await client.query('select set_context(null, $1)', [rows[0]!.id]);
      await expect(client.query(act(null))).rejects.toMatchObject({ code: 'WF016', hint: expect.stringContaining('create_organization') });
    } finally {
      client.release(true);
    }
  });

  test('never acts for another organization than the context’s', async () => {
    const client = await db.admin.connect();
    try {
      await client.query('select set_context($1)', [acme.id]);
      expect((await client.query(act(null))).rows).toEqual([{ id: acme.id }]);
      const other = await createOrganization(db, 'Umbrella');
      await expect(client.query(act(other.id))).rejects.toMatchObject({ code: 'WF002' });
    } finally {
      client.release(true);
    }
  });
});
