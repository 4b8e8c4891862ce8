/** Invitations: code, mail, acceptance, expiry, revocation. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';
import { type TestPerson, createMember, createPerson, logIn, readCode, readMail } from '../../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
});

interface Invited {
  code: string;
  id: string;
}
async function invite(email: string, role = 'member', organization = acme): Promise<Invited> {
  const { rows } = await organization.user.query<Invited>('select code, (invitation).id from invite_member($1, $2)', [email, role]);
  return rows[0]!;
}
const accept = (person: Pick<TestPerson, 'user'>, code: string | null) =>
  person.user.query('select organization_id, role from accept_invitation($1)', [code]);

describe('an invitation', () => {
  test('shows its code once, mails it, and keeps its hash', async () => {
    const { code, id } = await invite('new@example.com', 'admin');
    expect(code).toMatch(/^[\w-]{22}$/);
    expect(await readCode(db, 'NEW@example.com')).toBe(code);
    expect((await readMail(db, 'new@example.com'))!.body).toContain('join Acme as admin');
    const { rows } = await acme.user.query('select * from invitations where id = $1', [id]);
    expect(rows).toMatchObject([{ email: 'new@example.com', role: 'admin', accepted_at: null, invited_by: acme.userId }]);
    expect(JSON.stringify(rows)).not.toContain(code);
    expect((await globex.user.query('select from invitations')).rowCount).toBe(0);
  });

  test('lets the owner of the address join, once, in any spelling of it', async () => {
    const person = await createPerson(db, 'Bo');
    const { code } = await invite(person.email.toUpperCase(), 'admin');
    expect((await accept(person, code)).rows).toEqual([{ organization_id: acme.id, role: 'admin' }]);
    // It is the active organization now, since there was none.
    expect((await person.user.query('select current_organization_id() as id')).rows).toEqual([{ id: acme.id }]);
    await expect(accept(person, code)).rejects.toMatchObject({ code: 'WF008', detail: expect.stringContaining('acceptedAt') });
    const { rows } = await acme.user.query(`select accepted_at is not null as accepted from invitations where email ilike $1`, [
      person.email,
    ]);
    expect(rows).toEqual([{ accepted: true }]);
  });

  test('is of no use to anybody else, nor with an unverified address', async () => {
    const [invited, thief] = [await createPerson(db, 'Invited'), await createPerson(db, 'Thief')];
    const { code } = await invite(invited.email);
    await expect(accept(thief, code)).rejects.toMatchObject({ code: 'WF005' });
    const { rows } = await db.admin.query('insert into users (name, email) values ($1, $2) returning id', ['Squatter', invited.email]);
    await expect(accept(await logIn(db, rows[0].id), code)).rejects.toMatchObject({ code: 'WF005' });
    await accept(invited, code);
  });

  test('is for people, not for tokens', async () => {
    const { code } = await invite('token@example.com');
    await expect(acme.user.query('select accept_invitation($1)', [code])).rejects.toMatchObject({ code: 'WF005' });
  });

  test('that was revoked, replaced, has expired or never was, is refused', async () => {
    const person = await createPerson(db, 'Late');
    const revoked = await invite(person.email);
    await acme.user.query('select revoke_invitation($1)', [revoked.id]);
    await acme.user.query('select revoke_invitation($1)', [revoked.id]);
    const [replaced, newest] = [await invite(person.email), await invite(person.email)];
    for (const code of [revoked.code, replaced.code, 'x'.repeat(22), null]) {
      await expect(accept(person, code)).rejects.toMatchObject({ code: 'WF002' });
    }
    await db.admin.query(`update invitations set expires_at = now() where id = $1`, [newest.id]);
    await expect(accept(person, newest.code)).rejects.toMatchObject({ code: 'WF014' });
  });

  test('of two who accept it at once takes one', async () => {
    const person = await createPerson(db, 'Twice');
    const { code } = await invite(person.email);
    const [first, second] = await Promise.allSettled([accept(person, code), accept(await logIn(db, person.id), code)]);
    expect([first.status, second.status].sort()).toEqual(['fulfilled', 'rejected']);
  });

  test('does not change the role of somebody who is a member already', async () => {
    const person = await createPerson(db, 'Already');
    const { code } = await invite(person.email, 'admin');
    await db.admin.query('insert into organization_users (organization_id, user_id) values ($1, $2)', [acme.id, person.id]);
    expect((await accept(person, code)).rows).toEqual([{ organization_id: acme.id, role: 'member' }]);
  });

  test('into a deleted organization is gone', async () => {
    const [organization, person] = [await createOrganization(db, 'Gone'), await createPerson(db, 'Hopeful')];
    const { code } = await invite(person.email, 'member', organization);
    await db.admin.query('select delete_organization($1, $2)', [organization.id, organization.slug]);
    await expect(accept(person, code)).rejects.toMatchObject({ code: 'WF002' });
  });
});

describe('invite_member', () => {
  test('is for admins; owners are invited by owners', async () => {
    const [admin, member] = [await createMember(db, acme, 'admin'), await createMember(db, acme)];
    await expect(member.user.query(`select invite_member('x@example.com')`)).rejects.toMatchObject({ code: 'WF005' });
    await admin.user.query(`select invite_member('x@example.com')`);
    await expect(admin.user.query(`select invite_member('x@example.com', 'owner')`)).rejects.toMatchObject({ code: 'WF005' });
    const { rows } = await acme.user.query(`select secret from create_api_token('weak', '{organization:read}')`);
    await expect(asUser(db, rows[0]!['secret'] as string).query(`select invite_member('x@example.com')`)).rejects.toMatchObject({
      code: 'WF005',
    });
    const { id } = await invite('y@example.com');
    await expect(member.user.query('select revoke_invitation($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(globex.user.query('select revoke_invitation($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
  });

  test('refuses members, bad addresses, unknown roles and nulls', async () => {
    const member = await createMember(db, acme);
    await expect(invite(member.email)).rejects.toMatchObject({ code: 'WF003' });
    for (const [email, role] of [
      ['nobody', 'member'],
      ['a@b\nbcc: c@d', 'member'],
      [null, 'member'],
      ['a@example.com', 'king'],
      ['a@example.com', null],
    ]) {
      await expect(acme.user.query('select invite_member($1, $2)', [email, role])).rejects.toMatchObject({ code: 'WF001' });
    }
  });
});
