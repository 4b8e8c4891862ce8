/** Members: roles, removal, ownership, and the rights of their tokens. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';
import { type TestPerson, createMember, logIn, logInOwner } from '../../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
let admin: TestPerson;
let member: TestPerson;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  [admin, member] = [await createMember(db, acme, 'admin'), await createMember(db, acme)];
});

const roles = async (organization = acme) =>
  Object.fromEntries(
    (await db.admin.query('select user_id, role from organization_users where organization_id = $1', [organization.id])).rows.map((row) => [
      row.user_id,
      row.role,
    ]),
  );

const tokenOf = async (person: TestPerson, scopes: string[]) => {
  const { rows } = await person.user.query<{ secret: string }>(`select secret from create_api_token('test', $1)`, [scopes]);
  return asUser(db, rows[0]!.secret);
};

describe('set_member_role', () => {
  test('is for admins, and for owners when it is about owners', async () => {
    const newcomer = await createMember(db, acme, 'member', 'new');
    await expect(member.user.query(`select set_member_role($1, 'admin')`, [member.id])).rejects.toMatchObject({ code: 'WF005' });
    const { rows } = await admin.user.query(`select user_id, role from set_member_role($1, 'admin')`, [newcomer.id]);
    expect(rows).toEqual([{ user_id: newcomer.id, role: 'admin' }]);
    await expect(admin.user.query(`select set_member_role($1, 'owner')`, [newcomer.id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(admin.user.query(`select set_member_role($1, 'member')`, [acme.userId])).rejects.toMatchObject({ code: 'WF005' });
    await acme.user.query(`select set_member_role($1, 'owner')`, [newcomer.id]);
    await acme.user.query(`select set_member_role($1, 'member')`, [newcomer.id]);
    expect((await roles())[newcomer.id]).toBe('member');
  });

  test('refuses to unmake the last owner, unknown roles, strangers and nulls', async () => {
    const stranger = await createMember(db, await createOrganization(db, 'Globex'));
    await expect(acme.user.query(`select set_member_role($1, 'admin')`, [acme.userId])).rejects.toMatchObject({
      code: 'WF003',
      hint: expect.stringContaining('transfer_ownership'),
    });
    await expect(acme.user.query(`select set_member_role($1, 'king')`, [member.id])).rejects.toMatchObject({ code: 'WF001' });
    await expect(acme.user.query('select set_member_role($1, null)', [member.id])).rejects.toMatchObject({ code: 'WF001' });
    await expect(acme.user.query(`select set_member_role($1, 'admin')`, [stranger.id])).rejects.toMatchObject({ code: 'WF002' });
    await expect(acme.user.query(`select set_member_role(null, 'admin')`)).rejects.toMatchObject({ code: 'WF002' });
    expect((await roles())[acme.userId]).toBe('owner');
  });

  test('takes from the tokens of a person what it takes from the person, at once', async () => {
    const demoted = await createMember(db, acme, 'admin', 'demoted');
    const token = await tokenOf(demoted, ['organization:write']);
    await token.query(`select invite_member('one@example.com')`);
    await acme.user.query(`select set_member_role($1, 'member')`, [demoted.id]);
    await expect(token.query(`select invite_member('two@example.com')`)).rejects.toMatchObject({ code: 'WF005' });
  });
});

describe('remove_member', () => {
  test('ends tokens, teams and the organization of sessions with the membership', async () => {
    const leaver = await createMember(db, acme, 'member', 'leaver');
    const token = await tokenOf(leaver, ['runs:read']);
    const { rows: teams } = await acme.user.query<{ id: string }>(`select id from create_team('Sales', 'sales')`);
    await acme.user.query('select add_team_member($1, $2)', [teams[0]!.id, leaver.id]);
    await admin.user.query('select remove_member($1)', [leaver.id]);
    const { rows } = await db.admin.query(
      `select (select count(*)::int from team_users where user_id = $1) as teams, (select count(*)::int from private.api_tokens where user_id = $1) as tokens`,
      [leaver.id],
    );
    expect(rows).toEqual([{ teams: 0, tokens: 0 }]);
    const who = 'select current_organization_id() as organization, current_user_id() as "user"';
    expect((await token.query(who)).rows).toEqual([{ organization: null, user: null }]);
    // Still logged in, but outside: nothing of the organization can be read or done any more.
    expect((await leaver.user.query(who)).rows).toEqual([{ organization: null, user: leaver.id }]);
    expect((await leaver.user.query('select from workflows')).rowCount).toBe(0);
    await expect(leaver.user.query(`select create_workflow('x', '{}')`)).rejects.toMatchObject({ code: 'WF016' });
  });

  test('is not for members, and owners are removed by owners', async () => {
    await expect(member.user.query('select remove_member($1)', [admin.id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(admin.user.query('select remove_member($1)', [acme.userId])).rejects.toMatchObject({ code: 'WF005' });
    await expect(acme.user.query('select remove_member($1)', [acme.userId])).rejects.toMatchObject({ code: 'WF003' });
  });

  test('keeps what the member made', async () => {
    const author = await createMember(db, acme, 'member', 'author');
    const { rows } = await author.user.query<{ id: string }>(`select id from create_workflow('Kept', '{"nodes": [], "connections": []}')`);
    await acme.user.query('select remove_member($1)', [author.id]);
    const kept = await acme.user.query('select created_by from workflows where id = $1', [rows[0]!.id]);
    expect(kept.rows).toEqual([{ created_by: author.id }]);
  });
});

test('leave_organization is for people, and not for the last owner', async () => {
  const leaver = await createMember(db, acme, 'admin', 'tired');
  await expect(acme.user.query('select leave_organization()')).rejects.toMatchObject({ code: 'WF005' });
  const owner = await logInOwner(db, acme);
  await expect(owner.query('select leave_organization()')).rejects.toMatchObject({ code: 'WF003' });
  await leaver.user.query('select leave_organization()');
  expect((await roles())[leaver.id]).toBeUndefined();
  await expect(leaver.user.query('select leave_organization()')).rejects.toMatchObject({ code: 'WF016' });
});

test('transfer_ownership makes another member the owner and the caller an admin', async () => {
  const hooli = await createOrganization(db, 'Hooli');
  const successor = await createMember(db, hooli);
  await expect(successor.user.query('select transfer_ownership($1)', [successor.id])).rejects.toMatchObject({ code: 'WF005' });
  const owner = await logInOwner(db, hooli);
  await expect(owner.query('select transfer_ownership($1)', [member.id])).rejects.toMatchObject({ code: 'WF002' });
  await owner.query('select transfer_ownership($1)', [successor.id]);
  expect(await roles(hooli)).toEqual({ [successor.id]: 'owner', [hooli.userId]: 'admin' });
  // To oneself it is nothing.
  await successor.user.query('select transfer_ownership($1)', [successor.id]);
  expect((await roles(hooli))[successor.id]).toBe('owner');
});

test('an organization’s own token does what its scopes say, and owns nothing', async () => {
  const client = await db.admin.connect();
  try {
    await client.query('select set_context($1)', [acme.id]);
    const { rows } = await client.query(`select secret from create_api_token('own', '{organization:write}')`);
    const own = asUser(db, rows[0].secret);
    await own.query(`select invite_member('three@example.com')`);
    await expect(own.query(`select invite_member('four@example.com', 'owner')`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(own.query('select delete_organization($1, $2)', [acme.id, acme.slug])).rejects.toMatchObject({ code: 'WF005' });
  } finally {
    client.release(true);
  }
});

describe('an organization always has an owner', () => {
  const owners = async (organization: TestOrganization) =>
    Object.values(await roles(organization)).filter((role) => role === 'owner').length;

  test.each([
    ['leave', 'select leave_organization()'],
    ['unmake themselves', `select set_member_role(current_user_id(), 'member')`],
    ['delete their accounts', 'select delete_user(u.id, u.email) from public.current_user() as u'],
  ])('also when all of its owners %s at once', async (_what, statement) => {
    for (let round = 0; round < 5; round += 1) {
      const organization = await createOrganization(db, `Race ${round}`);
      const people = [
        await createMember(db, organization, 'owner', 'second'),
        await createMember(db, organization, 'owner', 'third'),
        await logIn(db, organization.userId),
      ];
      const outcomes = await Promise.allSettled(people.map(({ user }) => user.query(statement)));
      expect(outcomes.filter(({ status }) => status === 'rejected')).toMatchObject([{ reason: { code: 'WF003' } }]);
      expect(await owners(organization)).toBe(1);
    }
  });

  test('also when two owners remove each other', async () => {
    const organization = await createOrganization(db, 'Duel');
    const second = await createMember(db, organization, 'owner', 'second');
    const outcomes = await Promise.allSettled([
      organization.user.query('select remove_member($1)', [second.id]),
      second.user.query('select remove_member($1)', [organization.userId]),
    ]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await owners(organization)).toBe(1);
  });
});
