/** Organizations and people: changes, deletion, restoring, purging, super admins. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';
import { createMember, createPerson, logIn, logInOwner } from '../../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

const current = async (session: TestOrganization['user']) =>
  (await session.query<{ id: string | null }>('select current_organization_id() as id')).rows[0]!.id;
const remove = (organization: TestOrganization) =>
  db.admin.query('select delete_organization($1, $2)', [organization.id, organization.slug]);

describe('update_organization', () => {
  test('changes what is given, for admins', async () => {
    const [admin, member] = [await createMember(db, acme, 'admin'), await createMember(db, acme)];
    const { rows } = await admin.user.query(`select name, slug, description from update_organization(description => 'We make things')`);
    expect(rows).toEqual([{ name: 'Acme', slug: acme.slug, description: 'We make things' }]);
    await expect(member.user.query(`select update_organization(name => 'X')`)).rejects.toMatchObject({ code: 'WF005' });
    const { rows: weak } = await acme.user.query(`select secret from create_api_token('weak', '{organization:read}')`);
    await expect(asUser(db, weak[0]!['secret'] as string).query(`select update_organization(name => 'X')`)).rejects.toMatchObject({
      code: 'WF005',
    });
  });

  test.each(['admin', 'a--b', 'UPPER', 'x', ''])('refuses the slug "%s"', async (slug) => {
    await expect(acme.user.query('select update_organization(slug => $1)', [slug])).rejects.toMatchObject({ code: 'WF001' });
  });

  test('refuses a slug that is taken', async () => {
    const other = await createOrganization(db, 'Taken');
    await expect(acme.user.query('select update_organization(slug => $1)', [other.slug])).rejects.toMatchObject({ code: 'WF003' });
  });
});

describe('switch_organization', () => {
  test('moves a session, and only to where its user is a member', async () => {
    const [globex, hooli] = [await createOrganization(db, 'Globex'), await createOrganization(db, 'Hooli')];
    const person = await createMember(db, globex);
    await db.admin.query('insert into organization_users (organization_id, user_id) values ($1, $2)', [acme.id, person.id]);
    expect(await current(person.user)).toBe(globex.id);
    await person.user.query('select switch_organization($1)', [acme.id]);
    expect(await current(person.user)).toBe(acme.id);
    for (const id of [hooli.id, '01900000-0000-7000-8000-000000000000', null]) {
      await expect(person.user.query('select switch_organization($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
    }
    expect(await current(person.user)).toBe(acme.id);
    await expect(acme.user.query('select switch_organization($1)', [acme.id])).rejects.toMatchObject({ code: 'WF005' });
  });

  test('cannot point at an organization that one is not in, whoever writes it', async () => {
    const person = await createPerson(db);
    const write = db.admin.query('update private.sessions set organization_id = $1 where user_id = $2', [acme.id, person.id]);
    await expect(write).rejects.toMatchObject({ constraint: 'sessions_member_fkey' });
  });
});

describe('a deleted organization', () => {
  test('needs its slug and an owner', async () => {
    const organization = await createOrganization(db, 'Careful');
    const [owner, admin] = [await logInOwner(db, organization), await createMember(db, organization, 'admin')];
    const stranger = await createPerson(db);
    for (const slug of ['other', '', null]) {
      await expect(owner.query('select delete_organization($1, $2)', [organization.id, slug])).rejects.toMatchObject({ code: 'WF001' });
    }
    const values = [organization.id, organization.slug];
    await expect(admin.user.query('select delete_organization($1, $2)', values)).rejects.toMatchObject({ code: 'WF005' });
    await expect(organization.user.query('select delete_organization($1, $2)', values)).rejects.toMatchObject({ code: 'WF005' });
    await expect(stranger.user.query('select delete_organization($1, $2)', values)).rejects.toMatchObject({ code: 'WF002' });
    const { rows } = await owner.query('select deleted_at is not null as deleted from delete_organization($1, $2)', values);
    expect(rows).toEqual([{ deleted: true }]);
    await expect(owner.query('select delete_organization($1, $2)', values)).rejects.toMatchObject({ code: 'WF002' });
  });

  test('answers no token, session, webhook or schedule, and comes back as it was', async () => {
    const organization = await createOrganization(db, 'Phoenix');
    const definition = {
      nodes: [
        { id: 'hook', type: 'webhookTrigger', properties: { path: '/in', method: 'POST' } },
        { id: 'tick', type: 'scheduleTrigger', properties: { cron: '* * * * *' } },
        { id: 'end', type: 'noOp' },
      ],
      connections: [
        { source: 'hook', target: 'end' },
        { source: 'tick', target: 'end' },
      ],
    };
    await publishWorkflow(organization, definition);
    const owner = await logInOwner(db, organization);
    const findWebhook = async () =>
      (await db.pool('flowgres_intake').query(`select engine.find_webhook($1, 'POST', '/in') as found`, [organization.webhookKey])).rows[0]
        .found;
    const due = async () => {
      await db.admin.query('update schedules set fires_at = now(), next_run_at = now() where organization_id = $1', [organization.id]);
      return new Driver(db).fireSchedules();
    };
    expect(await current(organization.user)).toBe(organization.id);
    await remove(organization);
    expect([await current(organization.user), await current(owner), await findWebhook(), await due()]).toEqual([null, null, null, 0]);
    await expect(owner.query('select switch_organization($1)', [organization.id])).rejects.toMatchObject({ code: 'WF002' });
    // An owner still sees it, to restore it; a member does not.
    expect((await owner.query('select from organizations where id = $1 and deleted_at is not null', [organization.id])).rowCount).toBe(1);
    await owner.query('select restore_organization($1)', [organization.id]);
    await owner.query('select restore_organization($1)', [organization.id]);
    await owner.query('select switch_organization($1)', [organization.id]);
    expect([await current(organization.user), await current(owner)]).toEqual([organization.id, organization.id]);
    expect(await findWebhook()).toMatchObject({ organizationId: organization.id });
    expect(await due()).toBe(1);
  });

  test('cannot be restored after 30 days, nor by others', async () => {
    const organization = await createOrganization(db, 'Late');
    const [owner, member] = [await logInOwner(db, organization), await createMember(db, organization)];
    await remove(organization);
    await expect(member.user.query('select restore_organization($1)', [organization.id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(acme.user.query('select restore_organization($1)', [organization.id])).rejects.toMatchObject({ code: 'WF005' });
    await db.admin.query(`update organizations set deleted_at = now() - interval '30 days' where id = $1`, [organization.id]);
    await expect(owner.query('select restore_organization($1)', [organization.id])).rejects.toMatchObject({ code: 'WF014' });
  });
});

describe('purging', () => {
  test('takes all that belonged to an organization, in batches, and nothing else', async () => {
    const own = await createTestDatabase();
    const [gone, kept] = [await createOrganization(own, 'Gone'), await createOrganization(own, 'Kept')];
    const member = await createMember(own, gone);
    const engine = new Driver(own);
    for (const organization of [gone, kept]) {
      const workflow = await publishWorkflow(
        organization,
        chain({ id: 'start', type: 'apiTrigger' }, { id: 'note', type: 'log', properties: { message: 'x' } }),
      );
      for (let count = 0; count < 5; count += 1) await engine.start(organization, workflow, { count });
      await organization.user.query(`select create_team('Team', 'team')`);
      await organization.user.query(`select invite_member('someone@example.com')`);
      await organization.user.query('select start_workflow_run($1, $2, $3)', [workflow.id, '{}', 'key']);
    }
    await own.admin.query('select delete_organization($1, $2)', [gone.id, gone.slug]);
    const call = () => own.pool('flowgres_maintenance').query('call engine.purge_organizations()');
    await call();
    expect((await own.admin.query('select from organizations')).rowCount).toBe(2);
    await own.admin.query(`update organizations set deleted_at = now() - interval '31 days' where deleted_at is not null`);
    const { rows: batch } = await own.admin.query('select thing, deleted::int from engine.purge_some(2)');
    expect(batch).toEqual([{ thing: 'runs', deleted: 2 }]);
    await call();
    // Every table that has tenants' rows, whatever table there may be one day; the audit log is append-only, and leaves
    // by its own retention.
    const { rows: tables } = await own.admin.query<{ name: string }>(`
      select c.oid::regclass::text as name from pg_class as c
      join pg_attribute as a on a.attrelid = c.oid and a.attname = 'organization_id'
      where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace::regnamespace::text in ('public', 'private', 'engine')
        and c.relname not in ('audit_log', 'audit_unsealed')`);
    const count = async (id: string) => {
      const counts = await Promise.all(tables.map(({ name }) => own.admin.query(`select from ${name} where organization_id = $1`, [id])));
      return Object.fromEntries(tables.map(({ name }, place) => [name, counts[place]!.rowCount]));
    };
    expect(Object.entries(await count(gone.id)).filter(([, rows]) => rows! > 0)).toEqual([]);
    expect(await count(kept.id)).toMatchObject({ workflow_runs: 6, workflow_events: expect.any(Number), teams: 1, invitations: 1 });
    // People stay: they may belong to others.
    expect((await own.admin.query('select from users where id = any ($1)', [[gone.userId, member.id]])).rowCount).toBe(2);
  });
});

describe('a super admin', () => {
  test('sees organizations and people, deletes and restores, and sees nobody’s work; a token never does', async () => {
    const organization = await createOrganization(db, 'Tenant');
    await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }));
    const admin = await createPerson(db, 'Super');
    const { rows } = await db.admin.query(`select global_role from set_global_role($1, 'super_admin')`, [admin.id]);
    expect(rows).toEqual([{ global_role: 'super_admin' }]);
    const seen = async (table: string) => (await admin.user.query(`select from ${table}`)).rowCount;
    expect(await seen('organizations')).toBe((await db.admin.query('select from organizations')).rowCount);
    expect(await seen('users')).toBe((await db.admin.query('select from users')).rowCount);
    expect(await Promise.all(['workflows', 'workflow_runs', 'organization_users', 'invitations'].map(seen))).toEqual([0, 0, 0, 0]);
    await admin.user.query('select delete_organization($1, $2)', [organization.id, organization.slug]);
    await admin.user.query('select restore_organization($1)', [organization.id]);
    await db.admin.query(`update users set global_role = 'super_admin' where id = $1`, [acme.userId]);
    expect((await acme.user.query('select from organizations')).rowCount).toBe(1);
    await expect(acme.user.query('select delete_organization($1, $2)', [organization.id, organization.slug])).rejects.toMatchObject({
      code: 'WF005',
    });
    await db.admin.query(`select set_global_role($1, 'user')`, [acme.userId]);
  });

  test('is made by DBAs and super admins, not by oneself', async () => {
    const person = await createPerson(db);
    await expect(person.user.query(`select set_global_role($1, 'super_admin')`, [person.id])).rejects.toMatchObject({ code: 'WF005' });
    await expect(person.user.query(`update users set global_role = 'super_admin'`)).rejects.toMatchObject({ code: '42501' });
    for (const role of ['god', null]) {
      await expect(db.admin.query('select set_global_role($1, $2)', [person.id, role])).rejects.toMatchObject({ code: 'WF001' });
    }
    await expect(db.admin.query(`select set_global_role(null, 'user')`)).rejects.toMatchObject({ code: 'WF002' });
  });
});

describe('delete_user', () => {
  const removeUser = (session: TestOrganization['user'], id: string | null, email: string | null) =>
    session.query('select * from delete_user($1, $2)', [id, email]);

  test('keeps what somebody made, without a name, and ends every way in', async () => {
    const author = await createMember(db, acme, 'member', 'Author');
    const { rows: made } = await author.user.query<{ id: string }>(
      `select id from create_workflow('Kept', '{"nodes": [], "connections": []}')`,
    );
    const { rows: tokens } = await author.user.query<{ secret: string }>(`select secret from create_api_token('mine', '{runs:read}')`);
    const { rows } = await removeUser(author.user, author.id, author.email);
    expect(rows).toMatchObject([{ name: 'Deleted user', email: `${author.id}@deleted.invalid`, email_verified_at: null }]);
    expect((await acme.user.query('select created_by from workflows where id = $1', [made[0]!.id])).rows).toEqual([
      { created_by: author.id },
    ]);
    expect([await current(author.user), await current(asUser(db, tokens[0]!.secret))]).toEqual([null, null]);
    const { rows: left } = await db.admin.query('select to_jsonb(u)::text as row from users as u where id = $1', [author.id]);
    expect(left[0].row).not.toContain(author.email);
    // The address is free again.
    await db.admin.query('insert into users (name, email, email_verified_at) values ($1, $2, now())', ['Back', author.email]);
  });

  test('is refused for the last owner of an organization, unless that is deleted', async () => {
    const organization = await createOrganization(db, 'Orphan');
    const owner = await logIn(db, organization.userId);
    const { rows } = await owner.user.query<{ email: string }>('select email from public.current_user()');
    await expect(removeUser(owner.user, organization.userId, rows[0]!.email)).rejects.toMatchObject({ code: 'WF003' });
    await remove(organization);
    await removeUser(owner.user, organization.userId, rows[0]!.email);
  });

  test('is for oneself, super admins and DBAs, with the address to confirm it', async () => {
    const [person, other] = [await createPerson(db), await createPerson(db)];
    for (const email of ['x@example.com', null])
      await expect(removeUser(person.user, person.id, email)).rejects.toMatchObject({ code: 'WF001' });
    await expect(removeUser(person.user, other.id, other.email)).rejects.toMatchObject({ code: 'WF002' });
    await expect(removeUser(person.user, null, person.email)).rejects.toMatchObject({ code: 'WF002' });
    await expect(removeUser(acme.user, acme.userId, 'x')).rejects.toMatchObject({ code: 'WF005' });
    await db.admin.query('select delete_user($1, $2)', [other.id, other.email]);
  });

  test('is not replaced by a DBA’s delete: a member’s row cannot go', async () => {
    await expect(db.admin.query('delete from users where id = $1', [acme.userId])).rejects.toMatchObject({
      constraint: 'organization_users_user_id_fkey',
    });
  });
});

test('update_profile changes one’s own name', async () => {
  const person = await createPerson(db);
  expect((await person.user.query(`select name from update_profile('Grace')`)).rows).toEqual([{ name: 'Grace' }]);
  for (const name of [' ', null, 'x'.repeat(201)]) {
    await expect(person.user.query('select update_profile($1)', [name])).rejects.toMatchObject({ code: 'WF001' });
  }
  await expect(acme.user.query(`select update_profile('X')`)).rejects.toMatchObject({ code: 'WF005' });
});
