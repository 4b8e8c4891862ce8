/** API tokens: secrets, scopes, expiry, revocation. */
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
});

interface NewToken {
  secret: string;
  id: string;
}

async function createToken(scopes: string[], organization = acme): Promise<NewToken> {
  const { rows } = await organization.user.query<NewToken>('select secret, (token).id from create_api_token($1, $2)', ['CI', scopes]);
  return rows[0]!;
}

describe('create_api_token', () => {
  test('shows the secret once; afterwards only its beginning is known', async () => {
    const { secret } = await createToken(['runs:read']);
    expect(secret).toMatch(/^fg_[\w-]{49}$/);
    const { rows } = await acme.user.query('select name, prefix, scopes, revoked_at from api_tokens() limit 1');
    expect(rows).toEqual([{ name: 'CI', prefix: secret.slice(0, 9), scopes: ['runs:read'], revoked_at: null }]);
  });

  test('refuses unknown scopes, none, an empty name and an end in the past', async () => {
    for (const values of [
      ['CI', ['runs:fly'], null],
      ['CI', [], null],
      ['CI', null, null],
      ['CI', [null], null],
      [' ', ['runs:read'], null],
      ['CI', ['runs:read'], '2020-01-01'],
    ]) {
      await expect(acme.user.query('select create_api_token($1, $2, $3)', values)).rejects.toMatchObject({ code: 'WF001' });
    }
  });

  test('gives a token no right that its maker lacks', async () => {
    const { secret } = await createToken(['organization:write', 'runs:read']);
    const weak = asUser(db, secret);
    await expect(weak.query(`select create_api_token('more', '{runs:write}')`)).rejects.toMatchObject({ code: 'WF005' });
    await weak.query(`select create_api_token('same', '{runs:read}')`);
    const { secret: reader } = await createToken(['runs:read']);
    await expect(asUser(db, reader).query(`select create_api_token('x', '{runs:read}')`)).rejects.toMatchObject({ code: 'WF005' });
  });

  test('needs a token', async () => {
    await expect(asAnonymous(db).query(`select create_api_token('x', '{runs:read}')`)).rejects.toMatchObject({ code: '42501' });
  });
});

describe('revoke_api_token', () => {
  test('ends the token at once, and again without effect', async () => {
    const { secret, id } = await createToken(['organization:read']);
    const first = await acme.user.query('select revoked_at from revoke_api_token($1)', [id]);
    const second = await acme.user.query('select revoked_at from revoke_api_token($1)', [id]);
    expect(second.rows).toEqual(first.rows);
    const { rows } = await asUser(db, secret).query('select current_organization_id() as id');
    expect(rows).toEqual([{ id: null }]);
  });

  test('does not know another organization’s token', async () => {
    const { id } = await createToken(['runs:read']);
    await expect(globex.user.query('select revoke_api_token($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
    await expect(globex.user.query('select revoke_api_token(null)')).rejects.toMatchObject({ code: 'WF002' });
  });

  test('of somebody else’s token is for admins', async () => {
    const { id } = await createToken(['runs:read']);
    const client = await db.admin.connect();
    try {
      const { rows } = await client.query(`insert into users (name, email) values ('Mel', 'mel@example.com') returning id`);
      const member = rows[0].id;
      await client.query('insert into organization_users (organization_id, user_id) values ($1, $2)', [acme.id, member]);
      await client.query('select set_context($1, $2)', [acme.id, member]);
      await expect(client.query('select revoke_api_token($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
      await db.admin.query(`update organization_users set role = 'admin' where user_id = $1`, [member]);
      await client.query('select revoke_api_token($1)', [id]);
    } finally {
      client.release(true);
    }
  });
});

test('a scope to write includes the scope to read, and nothing else', async () => {
  const { secret } = await createToken(['runs:write']);
  const seen = await db.admin.query(
    `select private.has_scope('runs:write') as write, private.has_scope('runs:read') as read, private.has_scope('workflows:read') as other
     from (select set_config('flowgres.session', encode(sha256($1::bytea), 'hex'), true)) as request`,
    [Buffer.from(secret)],
  );
  expect(seen.rows).toEqual([{ write: true, read: true, other: false }]);
});
