/** Teams: who may change them and who is in them. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';
import { type TestPerson, createMember } from '../../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let member: TestPerson;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  member = await createMember(db, acme);
});

let made = 0;
async function createTeam(organization = acme): Promise<string> {
  made += 1;
  const { rows } = await organization.user.query<{ id: string }>('select id from create_team($1, $2)', [`Team ${made}`, `team-${made}`]);
  return rows[0]!.id;
}

test('admins create, change and delete teams; members do not', async () => {
  const id = await createTeam();
  const { rows } = await acme.user.query(`select name, color, description from update_team($1, color => '#FF8800', description => 'All')`, [
    id,
  ]);
  expect(rows).toMatchObject([{ color: '#ff8800', description: 'All' }]);
  for (const [text, values] of [
    [`select create_team('X', 'x-y')`, []],
    [`select update_team($1, name => 'X')`, [id]],
    ['select delete_team($1)', [id]],
    ['select add_team_member($1, $2)', [id, member.id]],
  ] as const) {
    await expect(member.user.query(text, [...values])).rejects.toMatchObject({ code: 'WF005' });
  }
  await acme.user.query('select delete_team($1)', [id]);
  await expect(acme.user.query('select delete_team($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
});

test('a slug is unique in the organization and tells nothing about another’s', async () => {
  await acme.user.query(`select create_team('Sales', 'sales')`);
  await expect(acme.user.query(`select create_team('Sales', 'sales')`)).rejects.toMatchObject({ code: 'WF003' });
  await globex.user.query(`select create_team('Sales', 'sales')`);
});

test('refuses bad names, slugs and colors, and nulls', async () => {
  for (const values of [
    [' ', 'ok', '#000000'],
    ['Name', 'Not A Slug', '#000000'],
    ['Name', 'ok', 'red'],
    [null, 'ok', '#000000'],
    ['Name', null, '#000000'],
  ]) {
    await expect(acme.user.query('select create_team($1, $2, color => $3)', values)).rejects.toMatchObject({ code: 'WF001' });
  }
});

test('a team’s own admin says who is in it, and everybody may go', async () => {
  const id = await createTeam();
  const [lead, other] = [await createMember(db, acme, 'member', 'lead'), await createMember(db, acme, 'member', 'other')];
  await acme.user.query(`select add_team_member($1, $2, 'admin')`, [id, lead.id]);
  await lead.user.query('select add_team_member($1, $2)', [id, other.id]);
  await lead.user.query(`select update_team($1, name => 'Led')`, [id]);
  await expect(other.user.query('select remove_team_member($1, $2)', [id, lead.id])).rejects.toMatchObject({ code: 'WF005' });
  await expect(lead.user.query('select delete_team($1)', [id])).rejects.toMatchObject({ code: 'WF005' });
  await other.user.query('select remove_team_member($1, $2)', [id, other.id]);
  await expect(other.user.query('select remove_team_member($1, $2)', [id, other.id])).rejects.toMatchObject({ code: 'WF002' });
});

test('only members of the organization get into its teams, in a role that exists', async () => {
  const id = await createTeam();
  for (const user of [globex.userId, null]) {
    await expect(acme.user.query('select add_team_member($1, $2)', [id, user])).rejects.toMatchObject({ code: 'WF002' });
  }
  await expect(acme.user.query(`select add_team_member($1, $2, 'king')`, [id, member.id])).rejects.toMatchObject({ code: 'WF001' });
});

test('another organization neither sees nor changes a team', async () => {
  const id = await createTeam();
  await acme.user.query('select add_team_member($1, $2)', [id, member.id]);
  expect((await globex.user.query('select from teams where id = $1', [id])).rowCount).toBe(0);
  expect((await globex.user.query('select from team_users where team_id = $1', [id])).rowCount).toBe(0);
  for (const text of [`select update_team($1, name => 'X')`, 'select delete_team($1)', 'select add_team_member($1, $1)']) {
    await expect(globex.user.query(text, [id])).rejects.toMatchObject({ code: 'WF002' });
  }
});

test('who leaves the organization leaves its teams', async () => {
  const id = await createTeam();
  const leaver = await createMember(db, acme, 'member', 'leaver');
  await acme.user.query('select add_team_member($1, $2)', [id, leaver.id]);
  await leaver.user.query('select leave_organization()');
  expect((await db.admin.query('select from team_users where user_id = $1', [leaver.id])).rowCount).toBe(0);
});
