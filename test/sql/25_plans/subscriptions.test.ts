/** Plans, trials and subscriptions: their transitions and what a smaller plan changes. */
import { beforeEach, describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { type TestDatabase, asAnonymous, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';
import { freezeClock } from '../../helpers/partitions.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeEach(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

const changePlan = (plan: string) => db.admin.query('select * from change_plan($1, $2)', [plan, acme.id]);
const setStatus = (status: string) => db.admin.query('select * from set_subscription_status($1, $2)', [acme.id, status]);
const subscriptions = async () =>
  (await acme.user.query('select p.slug, s.status from subscriptions as s join plans as p on p.id = s.plan_id order by s.id')).rows;
const limitOf = async (metric: string) =>
  (await acme.user.query('select "limit" from entitlements where metric = $1', [metric])).rows[0]!['limit'];

test('a new installation has the plans self-hosted, free, pro and enterprise; loading them again changes nothing', async () => {
  const { readFile } = await import('node:fs/promises');
  const seeds = await readFile(new URL('../../../sql/25_plans/seeds.sql', import.meta.url), 'utf8');
  await db.admin.query(`update plan_limits set value = 7 where metric = 'workflows' and value = 5`);
  await db.admin.query(seeds);
  const { rows } = await db.admin.query(`
    select p.slug, (select jsonb_object_agg(l.metric, l.value) from plan_limits as l where l.plan_id = p.id) as limits
    from plans as p order by sort_order`);
  expect(rows).toEqual([
    { slug: 'self-hosted', limits: null },
    { slug: 'free', limits: expect.objectContaining({ workflows: 7, executions_per_month: 1000 }) },
    {
      slug: 'pro',
      limits: { workflows: 100, executions_per_month: 10000, team_members: 10, credentials: 50, storage_gb: 5, api_calls_per_hour: 1000 },
    },
    { slug: 'enterprise', limits: null },
  ]);
});

test('a new organization is limited by nothing, unless another plan is the default', async () => {
  expect(await limitOf('workflows')).toBeNull();
  await db.admin.query(`update plans set is_default = false where is_default; update plans set is_default = true where slug = 'free'`);
  expect(await limitOf('workflows')).toBe(5);
  expect(await limitOf('executions_per_month')).toBe(1000);
});

test('one plan is the default', async () => {
  await expect(db.admin.query(`update plans set is_default = true where slug = 'free'`)).rejects.toMatchObject({ code: '23505' });
});

describe('a subscription', () => {
  const STATES = ['trialing', 'active', 'past_due', 'canceled', 'expired'];
  const LEGAL = [
    'trialing active',
    'trialing canceled',
    'trialing expired',
    'active past_due',
    'active canceled',
    'past_due active',
    'past_due canceled',
    'past_due expired',
  ];

  test('moves from state to state as the table says, and in no other way', async () => {
    for (const from of STATES) {
      for (const to of STATES.filter((state) => state !== from)) {
        const move = db.admin.query(
          `with s as (
             insert into subscriptions (organization_id, plan_id, status, started_at, trial_ends_at, grace_ends_at, ended_at)
             select $1, id, $2::text, now(), now(), case when $2 = 'past_due' then now() end, case when $2 in ('canceled', 'expired') then now() end
             from plans where slug = 'pro' returning id
           ) select id from s`,
          [acme.id, from],
        );
        const { id } = (await move).rows[0];
        const moved = db.admin.query('select (private.transition_subscription($1, $2)).status', [id, to]);
        if (LEGAL.includes(`${from} ${to}`)) expect((await moved).rows).toEqual([{ status: to }]);
        else await expect(moved, `${from} ${to}`).rejects.toMatchObject({ code: 'WF003' });
        await db.admin.query('delete from subscriptions');
      }
    }
  });

  test('that a payment is missing for keeps its plan for 14 days', async () => {
    await freezeClock(db, '2026-11-01T00:00:00Z');
    await changePlan('pro');
    await setStatus('past_due');
    await freezeClock(db, '2026-11-14T23:59:59Z');
    expect((await db.admin.query('select * from engine.advance_subscriptions()')).rows).toEqual([]);
    expect(await limitOf('workflows')).toBe(100);
    await freezeClock(db, '2026-11-15T00:00:00Z');
    expect((await db.pool('flowgres_maintenance').query('select * from engine.advance_subscriptions()')).rows).toEqual([
      { organization_id: acme.id, status: 'expired' },
    ]);
    expect(await limitOf('workflows')).toBeNull();
  });

  test('that is paid after all is active again', async () => {
    await changePlan('pro');
    await setStatus('past_due');
    await setStatus('active');
    expect(await subscriptions()).toEqual([{ slug: 'pro', status: 'active' }]);
  });

  test('has ended when it is canceled: the next one is another', async () => {
    await changePlan('pro');
    await setStatus('canceled');
    await expect(setStatus('active')).rejects.toMatchObject({ code: 'WF002' });
    await changePlan('enterprise');
    expect(await subscriptions()).toEqual([
      { slug: 'pro', status: 'canceled' },
      { slug: 'enterprise', status: 'active' },
    ]);
  });
});

describe('an owner', () => {
  test('takes what is free, and goes back to the default', async () => {
    await acme.user.query(`select change_plan('free')`);
    expect(await limitOf('workflows')).toBe(5);
    await acme.user.query(`select change_plan('self-hosted')`);
    expect(await subscriptions()).toEqual([{ slug: 'free', status: 'canceled' }]);
    expect(await limitOf('workflows')).toBeNull();
  });

  test('tries once what can be tried, and then has to pay', async () => {
    await freezeClock(db, '2026-11-01T00:00:00Z');
    const { rows } = await acme.user.query(`select status, trial_ends_at from change_plan('pro')`);
    expect(rows).toEqual([{ status: 'trialing', trial_ends_at: new Date('2026-11-15T00:00:00Z') }]);
    await freezeClock(db, '2026-11-15T00:00:00Z');
    await db.admin.query('select * from engine.advance_subscriptions()');
    expect(await subscriptions()).toEqual([{ slug: 'pro', status: 'expired' }]);
    await expect(acme.user.query(`select change_plan('pro')`)).rejects.toMatchObject({ code: 'WF005' });
    await changePlan('pro');
    expect(await subscriptions()).toContainEqual({ slug: 'pro', status: 'active' });
  });

  test('does not give himself what is by agreement, or what is not on offer', async () => {
    await expect(acme.user.query(`select change_plan('enterprise')`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(acme.user.query(`select change_plan('nonsense')`)).rejects.toMatchObject({ code: 'WF002' });
    await db.admin.query(`update plans set is_default = false where is_default; update plans set is_default = true where slug = 'free'`);
    await expect(acme.user.query(`select change_plan('self-hosted')`)).rejects.toMatchObject({ code: 'WF005' });
  });

  test('and nobody else in the organization changes the plan', async () => {
    await db.admin.query(`update organization_users set role = 'admin' where user_id = $1`, [acme.userId]);
    await expect(acme.user.query(`select change_plan('free')`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(asAnonymous(db).query(`select change_plan('free')`)).rejects.toMatchObject({ code: '42501' });
  });
});

describe('what is seen', () => {
  test('are the plans on offer, by everybody, and its own by the organization', async () => {
    const slugs = async (session: TestOrganization['user']) =>
      (await session.query('select slug from plans order by sort_order')).rows.map(({ slug }) => slug);
    expect(await slugs(asAnonymous(db))).toEqual(['free', 'pro', 'enterprise']);
    await db.admin.query(`update plans set is_public = false where slug = 'enterprise'`);
    await changePlan('enterprise');
    expect(await slugs(acme.user)).toEqual(['free', 'pro', 'enterprise']);
    expect(await slugs((await createOrganization(db, 'Other')).user)).toEqual(['free', 'pro']);
    expect((await asAnonymous(db).query('select from plan_limits')).rowCount).toBe(12);
  });

  test('are no subscriptions, limits and usage of others', async () => {
    const other = await createOrganization(db, 'Other');
    await changePlan('pro');
    await acme.user.query(`select set_organization_limit('workflows', 3)`);
    expect((await other.user.query('select from subscriptions')).rows).toEqual([]);
    expect((await other.user.query('select from organization_limits')).rows).toEqual([]);
    await expect(other.user.query('select * from usage($1)', [acme.id])).rejects.toMatchObject({ code: 'WF002' });
    expect((await other.user.query(`select "limit" from entitlements where metric = 'workflows'`)).rows).toEqual([{ limit: null }]);
  });
});

test('a DBA keeps the plans, except for their prices', async () => {
  const client = await connect(db.adminUrl);
  await client.query('set role flowgres_dba');
  await client.query(`update plans set name = 'Professional' where slug = 'pro'`);
  await client.query(`update plan_limits set value = 200 where metric = 'workflows' and value = 100`);
  await client.query(`insert into plans (slug, name, price_cents) values ('pro-2027', 'Pro', 5900)`);
  await expect(client.query(`update plans set price_cents = 1 where slug = 'pro'`)).rejects.toMatchObject({ code: '42501' });
  await expect(client.query(`update subscriptions set status = 'active'`)).rejects.toMatchObject({ code: '42501' });
  await client.end();
});

test('a plan that somebody has cannot be deleted', async () => {
  await changePlan('pro');
  await expect(db.admin.query(`delete from plans where slug = 'pro'`)).rejects.toMatchObject({
    code: expect.stringMatching(/^23(001|503)$/),
  });
});
