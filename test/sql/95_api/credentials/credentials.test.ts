import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asApi, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';
import { type TestPerson, createMember, logIn } from '../../../helpers/people.ts';
import { type TestVault, createCredential, createTestVault } from '../../../helpers/vault.ts';
import { newSecretId } from '../../../../src/vault/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let keys: TestVault;
let ada: TestPerson;
let ben: TestPerson;
let admin: TestPerson;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  keys = await createTestVault();
  [ada, ben, admin] = [await createMember(db, acme), await createMember(db, acme), await createMember(db, acme, 'admin')];
});

const api = (person: TestPerson) => asApi(db, person.secret);
const bearer = (name: string) => ({ name, type: 'bearer', data: { token: `token of ${name}` } });
const create = (name: string, person = ada) => createCredential(db, keys, acme, bearer(name), api(person));
const seen = async (person: TestPerson, id: string) =>
  (await person.user.query('select from credentials where id = $1', [id])).rowCount === 1;
const usable = async (person: TestPerson, id: string) =>
  api(person)
    .query('select from engine.read_own_credential($1)', [id])
    .then(
      () => true,
      (error: { code: string }) => (error.code === 'WF002' ? false : Promise.reject(error)),
    );

describe('who sees and uses a credential', () => {
  test('at first only its creator; admins see it and do not use it', async () => {
    const id = await create('private');
    expect(await Promise.all([ada, ben, admin].map((person) => seen(person, id)))).toEqual([true, false, true]);
    expect(await Promise.all([ada, ben, admin].map((person) => usable(person, id)))).toEqual([true, false, false]);
  });

  test('every member, when it is shared with the organization, until that is taken back', async () => {
    const id = await create('shared');
    await ada.user.query('select share_credential($1, is_shared => true)', [id]);
    expect([await seen(ben, id), await usable(ben, id)]).toEqual([true, true]);
    await ada.user.query('select share_credential($1)', [id]);
    expect([await seen(ben, id), await usable(ben, id)]).toEqual([false, false]);
  });

  test('the members of a team, when it is shared with the team, as long as they are in it', async () => {
    const id = await create('of the team');
    const { rows } = await admin.user.query<{ id: string }>(`select id from create_team('Sales', $1)`, [`sales-${Date.now()}`]);
    const team = rows[0]!.id;
    await ada.user.query('select share_credential($1, team => $2)', [id, team]);
    expect([await seen(ben, id), await usable(ben, id)]).toEqual([false, false]);
    await admin.user.query(`select add_team_member($1, $2, 'member')`, [team, ben.id]);
    expect([await seen(ben, id), await usable(ben, id)]).toEqual([true, true]);
    await admin.user.query('select remove_team_member($1, $2)', [team, ben.id]);
    expect([await seen(ben, id), await usable(ben, id)]).toEqual([false, false]);
  });

  test('nobody of another organization, even when it is shared', async () => {
    const id = await create('ours');
    await ada.user.query('select share_credential($1, is_shared => true)', [id]);
    expect((await globex.user.query('select from credentials')).rowCount).toBe(0);
    for (const statement of ['select delete_credential($1)', 'select share_credential($1)']) {
      await expect(globex.user.query(statement, [id])).rejects.toMatchObject({ code: 'WF002' });
    }
    await expect(asApi(db, globex.token).query('select engine.read_own_credential($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
  });

  test('when its creator leaves, an admin shares it, and no other member', async () => {
    const leaver = await createMember(db, acme);
    const id = await create('left behind', leaver);
    await leaver.user.query('select leave_organization()');
    expect([await seen(ben, id), await seen(admin, id)]).toEqual([false, true]);
    await expect(ben.user.query('select share_credential($1, is_shared => true)', [id])).rejects.toMatchObject({ code: 'WF002' });
    await admin.user.query('select share_credential($1, is_shared => true)', [id]);
    expect(await usable(ben, id)).toBe(true);
  });

  test('a token without the scope reads none, and changes none', async () => {
    const id = await create('scoped');
    const { rows } = await ada.user.query<{ secret: string }>(`select secret from create_api_token('reader', '{workflows:write}')`);
    const reader = asApi(db, rows[0]!.secret);
    await expect(reader.query('select engine.credential_to_seal($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(reader.query('select engine.read_own_credential($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
  });
});

describe('a change', () => {
  test('of one shared with oneself is for its creator and admins', async () => {
    const id = await create('changed');
    await ada.user.query('select share_credential($1, is_shared => true)', [id]);
    await expect(ben.user.query('select delete_credential($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(api(ben).query(`select update_credential($1, name => 'mine')`, [id])).rejects.toMatchObject({ code: 'WF005' });
    await api(admin).query(`select update_credential($1, name => 'changed by an admin')`, [id]);
    await ada.user.query('select delete_credential($1)', [id]);
    expect((await db.admin.query('select from private.secrets where id = $1', [id])).rowCount).toBe(0);
  });

  test('of the secret counts its version; of two at once one is refused', async () => {
    const id = await create('versioned');
    const envelope = (version: number) => keys.vault.seal({ organizationId: acme.id, id, version }, { token: 'next token' });
    const change = (version: number) =>
      api(ada).query('select version from update_credential($1, envelope => $2, version => $3)', [id, envelope(version), version]);
    expect((await change(2)).rows).toEqual([{ version: 2 }]);
    await expect(change(2)).rejects.toMatchObject({ code: 'WF003' });
    await expect(change(4)).rejects.toMatchObject({ code: 'WF003' });
    await expect(change(1)).rejects.toMatchObject({ code: 'WF003' });
  });

  test('is in the audit log, without the secret; use is not', async () => {
    const id = await create('audited');
    await db.admin.query('update credentials set usage_count = 7, last_used_at = now() where id = $1', [id]);
    const { rows } = await db.admin.query<{ operation: string; after: Record<string, unknown> }>(
      `select operation, after from audit_log where table_name = 'public.credentials' and row_key ->> 'id' = $1`,
      [id],
    );
    expect(rows).toMatchObject([{ operation: 'insert', after: { name: 'audited', type: 'bearer', version: 1 } }]);
    expect((await db.admin.query(`select from audit_log where table_name = 'private.secrets'`)).rowCount).toBe(0);
  });
});

describe('is refused', () => {
  const envelope = (id: string) => keys.vault.seal({ organizationId: acme.id, id, version: 1 }, { token: 'some token' });
  const given = (change: Record<string, unknown>) => {
    const id = newSecretId();
    return { id, name: `n${id}`, type: 'bearer', envelope: envelope(id), hosts: [] as unknown, ...change };
  };
  test.each([
    ['no name', { name: '' }, 'WF001'],
    ['an unknown type', { type: 'password' }, 'WF001'],
    ['something that is no envelope', { envelope: 'topsecret' }, 'WF001'],
    ['an envelope that was cut', { envelope: `fv1.k1.${'a'.repeat(79)}` }, 'WF001'],
    ['an envelope of more than 64 KiB', { envelope: `fv1.k1.${'a'.repeat(80)}.${'a'.repeat(100_000)}` }, 'WF010'],
    ['a host with a path', { hosts: ['api.example.com/x'] }, 'WF001'],
    ['any host', { hosts: ['*'] }, 'WF001'],
    ['a host in capitals', { hosts: ['API.example.com'] }, 'WF001'],
    ['no host in the list', { hosts: [null] }, 'WF001'],
    ['51 hosts', { hosts: Array.from({ length: 51 }, (_, index) => `h${index}.example`) }, 'WF001'],
  ])('a credential with %s', async (_case, change, code) => {
    const { id, name, type, envelope: sealed, hosts } = given(change);
    await expect(api(ada).query('select create_credential($1, $2, $3, $4, $5)', [id, name, type, sealed, hosts])).rejects.toMatchObject({
      code,
      message: expect.not.stringContaining('topsecret'),
    });
  });

  test('a second one of the same name', async () => {
    await create('twice');
    await expect(create('twice', ben)).rejects.toMatchObject({ code: 'WF003' });
    expect(
      (await db.admin.query(`select from private.secrets as s where not exists (select from credentials as c where c.id = s.id)`)).rowCount,
    ).toBe(0);
  });

  test('one more than the plan allows', async () => {
    const small = await createOrganization(db, 'Small');
    await db.admin.query(`insert into organization_limits (organization_id, metric, value) values ($1, 'credentials', 1)`, [small.id]);
    await createCredential(db, keys, small, bearer('first'));
    await expect(createCredential(db, keys, small, bearer('second'))).rejects.toMatchObject({ code: 'WF006' });
  });

  test('to read ciphertexts, for every role of a request', async () => {
    for (const session of [ada.user, api(ada), acme.user]) {
      await expect(session.query('select * from private.secrets')).rejects.toMatchObject({ code: '42501' });
    }
    const { user } = await logIn(db, ada.id);
    await expect(user.query('select engine.read_credential($1, p_name => $2)', [acme.id, 'crm'])).rejects.toMatchObject({ code: '42501' });
  });
});
