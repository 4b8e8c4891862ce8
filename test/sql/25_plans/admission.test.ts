/** Limits of a plan: what is admitted, refused and counted, also by concurrent starts. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { createPerson } from '../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let echo: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  engine = new Driver(db);
  await engine.startOver();
  await db.admin.query(`delete from plan_limits where plan_id = (select id from plans where slug = 'test')`);
  acme = await createOrganization(db);
  echo = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
});

/** The plan's limits for the tests: a plan of its own, so that nothing else has them. */
async function limit(metric: string, value: number | null, organization = acme): Promise<void> {
  await db.admin.query(`insert into plans (slug, name, price_cents) values ('test', 'Test', 0) on conflict do nothing`);
  await db.admin.query(
    `insert into plan_limits select id, $1, $2 from plans where slug = 'test' on conflict (plan_id, metric) do update set value = excluded.value`,
    [metric, value],
  );
  await db.admin.query(`select change_plan('test', $1)`, [organization.id]);
}
const used = async (metric = 'executions_per_month', organization = acme) =>
  (await organization.user.query<{ used: number }>('select used from usage() where metric = $1', [metric])).rows[0]!.used;
const request = (organization = acme, workflow = echo) => ({ organizationId: organization.id, workflowId: workflow.id });
const codes = (answers: Awaited<ReturnType<Driver['startAll']>>) => answers.map(({ status, error }) => error?.code ?? status).sort();

describe('executions of a month', () => {
  test('are started up to the limit, the others of the batch are refused one by one', async () => {
    await limit('executions_per_month', 3);
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    const answers = await engine.startAll(Array.from({ length: 5 }, () => request()));
    expect(codes(answers)).toEqual(['LIMIT_REACHED', 'LIMIT_REACHED', 'success', 'success', 'success']);
    expect(answers.find(({ error }) => error)).toMatchObject({
      run_id: null,
      error: {
        code: 'LIMIT_REACHED',
        message: 'The organization may have 3 executions a month.',
        details: { metric: 'executions_per_month', limit: 3, used: 3, resetAt: '2026-12-01T00:00:00+00:00' },
      },
    });
    expect((await acme.user.query('select from workflow_runs')).rowCount).toBe(3);
    expect(await used()).toBe(3);
  });

  test('are refused by start_workflow_run with the same code, limit and reset time', async () => {
    await limit('executions_per_month', 0);
    const failure = await acme.user
      .query('select start_workflow_run($1)', [echo.id])
      .catch((error: unknown) => error as { detail: string });
    expect(failure).toMatchObject({ code: 'WF006' });
    expect(JSON.parse((failure as { detail: string }).detail)).toMatchObject({
      code: 'LIMIT_REACHED',
      metric: 'executions_per_month',
      limit: 0,
    });
  });

  test('count neither duplicates nor starts that were refused for another reason', async () => {
    await limit('executions_per_month', 2);
    const keyed = { ...request(), key: 'once' };
    const answers = await engine.startAll([keyed, keyed, { ...request(), workflowId: acme.id }, { ...request(), mode: 'nonsense' }]);
    expect(codes(answers)).toEqual(['INVALID_ARGUMENT', 'NOT_FOUND', 'success', 'success']);
    expect(await used()).toBe(1);
    expect(await engine.start(acme, echo, {}, { key: 'once' })).toMatchObject({ duplicate: true });
    expect(await used()).toBe(1);
  });

  test('do not use up the key of a refused start, nor answer its duplicate with a run that is not there', async () => {
    await limit('executions_per_month', 0);
    const keyed = { ...request(), key: 'again' };
    const answers = await engine.startAll([keyed, keyed]);
    expect(answers).toMatchObject([
      { run_id: null, duplicate: false, error: { code: 'LIMIT_REACHED' } },
      { run_id: null, duplicate: false, error: { code: 'LIMIT_REACHED' } },
    ]);
    await limit('executions_per_month', 1);
    expect(await engine.start(acme, echo, {}, { key: 'again' })).toMatchObject({ status: 'success', duplicate: false });
  });

  test('of one organization take nothing from another in the same batch', async () => {
    await limit('executions_per_month', 1);
    const other = await createOrganization(db, 'Other');
    const others = await publishWorkflow(other, chain({ id: 'start', type: 'apiTrigger' }));
    const answers = await engine.startAll([request(), request(other, others), request(), request(other, others)]);
    expect(codes(answers)).toEqual(['LIMIT_REACHED', 'success', 'success', 'success']);
    expect(await used('executions_per_month', other)).toBe(2);
  });
});

describe('the executions of a month', () => {
  test('begin anew with the month, in UTC whatever the session thinks', async () => {
    await limit('executions_per_month', 1);
    await engine.freeze(new Date('2026-11-30T23:59:59.999Z'));
    expect(codes(await engine.startAll([request(), request()]))).toEqual(['LIMIT_REACHED', 'success']);
    await engine.freeze(new Date('2026-12-01T00:00:00Z'));
    const client = await connect(db.adminUrl);
    await client.query(`set timezone = 'America/New_York'`);
    const { rows } = await client.query('select error, status from engine.start_runs($1)', [JSON.stringify([request(), request()])]);
    await client.end();
    expect(rows.map(({ status, error }) => error?.code ?? status).sort()).toEqual(['LIMIT_REACHED', 'success']);
  });

  test('of a batch belong to the month in which it began', async () => {
    await limit('executions_per_month', 3);
    await engine.freeze(new Date('2026-11-30T23:59:59.999Z'));
    const client = await connect(db.adminUrl);
    await client.query('begin');
    await client.query('select from engine.start_runs($1)', [JSON.stringify([request(), request()])]);
    await engine.freeze(new Date('2026-12-01T00:00:05Z'));
    await client.query('commit');
    await client.end();
    expect(await used()).toBe(0);
    const { rows } = await acme.user.query(`select used from usage(period => '2026-11-15')`);
    expect(rows).toEqual([{ used: 2 }]);
    expect(codes(await engine.startAll([request(), request(), request()]))).toEqual(['success', 'success', 'success']);
  });

  test('go on with their count when the plan changes in the middle of the month', async () => {
    await engine.startAll([request(), request()]);
    await limit('executions_per_month', 3);
    expect(codes(await engine.startAll([request(), request()]))).toEqual(['LIMIT_REACHED', 'success']);
    await db.admin.query(`select change_plan('self-hosted', $1)`, [acme.id]);
    expect(codes(await engine.startAll([request(), request()]))).toEqual(['success', 'success']);
    expect(await used()).toBe(5);
    await limit('executions_per_month', 6);
    expect(codes(await engine.startAll([request(), request()]))).toEqual(['LIMIT_REACHED', 'success']);
    expect(await used()).toBe(6);
  });

  test('that are rolled back are not counted', async () => {
    await limit('executions_per_month', 1);
    const client = await connect(db.adminUrl);
    await client.query('begin');
    await client.query('select from engine.start_runs($1)', [JSON.stringify([request()])]);
    await client.query('rollback');
    await client.end();
    expect(codes(await engine.startAll([request()]))).toEqual(['success']);
  });
});

describe('workflows', () => {
  const create = (name = 'Next') =>
    acme.user.query<{ id: string }>(`select id from create_workflow($1, '{"nodes": [], "connections": []}')`, [name]);

  test('are created up to the limit; archiving one makes room', async () => {
    await limit('workflows', 2);
    const { rows } = await create();
    await expect(create()).rejects.toMatchObject({ code: 'WF006', message: 'The organization may have 2 workflows.' });
    await acme.user.query('select archive_workflow($1)', [rows[0]!.id]);
    await create();
    expect(await used('workflows')).toBe(2);
  });

  test('that were deleted behind our back do not count: what is there is counted', async () => {
    await limit('workflows', 2);
    await create('Deleted');
    await db.admin.query(`delete from workflows where name = 'Deleted'`);
    await create();
    await expect(create()).rejects.toMatchObject({ code: 'WF006' });
  });

  test('beyond a smaller plan are read-only and listed; nothing is deleted, and what is published runs on', async () => {
    const second = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }), 'Second');
    await limit('workflows', 1);
    const definition = JSON.stringify(chain({ id: 'start', type: 'apiTrigger' }));
    await expect(acme.user.query('select save_workflow($1, $2, 1)', [second.id, definition])).rejects.toMatchObject({ code: 'WF006' });
    await expect(acme.user.query('select publish_workflow($1)', [second.id])).rejects.toMatchObject({ code: 'WF006' });
    await expect(acme.user.query('select rollback_workflow($1, 1)', [second.id])).rejects.toMatchObject({ code: 'WF006' });
    const { rows } = await acme.user.query('select name, workflows_is_over_limit(w) as over from workflows as w order by created_at');
    expect(rows).toEqual([
      { name: 'Test', over: false },
      { name: 'Second', over: true },
    ]);
    expect((await acme.user.query(`select used, "limit", is_over from entitlements where metric = 'workflows'`)).rows).toEqual([
      { used: 2, limit: 1, is_over: true },
    ]);
    expect(await engine.start(acme, second)).toMatchObject({ status: 'success' });
    await acme.user.query('select save_workflow($1, $2, 1)', [echo.id, definition]);
    // Archiving the older one makes room for it.
    await acme.user.query('select archive_workflow($1)', [echo.id]);
    await acme.user.query('select publish_workflow($1)', [second.id]);
  });
});

test('members are admitted up to the limit; an invitation that finds no room stays', async () => {
  await limit('team_members', 2);
  const people = [await createPerson(db, 'Bo'), await createPerson(db, 'Cy')];
  const codes: string[] = [];
  for (const { email } of people) {
    codes.push((await acme.user.query<{ code: string }>(`select code from invite_member($1, 'member')`, [email])).rows[0]!.code);
  }
  const accept = (place: number) => people[place]!.user.query('select role from accept_invitation($1)', [codes[place]]);
  const both = await Promise.allSettled([accept(0), accept(1)]);
  expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  const refused = both.findIndex(({ status }) => status === 'rejected');
  expect(both[refused]).toMatchObject({ reason: { code: 'WF006' } });
  await limit('team_members', 3);
  await accept(refused);
});

test('more than one of what is limited is admitted whole or not at all', async () => {
  await limit('team_members', 2);
  await db.admin.query(`select private.admit($1, 'team_members')`, [acme.id]);
  await expect(db.admin.query(`select private.admit($1, 'team_members', 2)`, [acme.id])).rejects.toMatchObject({ code: 'WF006' });
});

test('what was admitted and not used can be given back', async () => {
  await limit('executions_per_month', 2);
  await db.admin.query(`select private.admit($1, 'executions_per_month', 2)`, [acme.id]);
  await db.admin.query(`select private.return_quota($1, 'executions_per_month', 1)`, [acme.id]);
  expect(await used()).toBe(1);
});

describe('the lower limit counts', () => {
  test('of the plan and of the organization itself', async () => {
    await limit('executions_per_month', 10);
    await acme.user.transaction((client) => client.query(`select set_organization_limit('executions_per_month', 1)`));
    expect(codes(await engine.startAll([request(), request()]))).toEqual(['LIMIT_REACHED', 'success']);
    await acme.user.query(`select set_organization_limit('executions_per_month', 100)`);
    expect(
      (await acme.user.query(`select plan_limit, own_limit, "limit" from entitlements where metric = 'executions_per_month'`)).rows,
    ).toEqual([{ plan_limit: 10, own_limit: 100, limit: 10 }]);
    await acme.user.query(`select set_organization_limit('executions_per_month', null)`);
    expect((await acme.user.query('select from organization_limits')).rows).toEqual([]);
  });

  test('and nobody else sets it, nor a senseless one', async () => {
    await expect(acme.user.query(`select set_organization_limit('nonsense', 1)`)).rejects.toMatchObject({ code: 'WF009' });
    await expect(acme.user.query(`select set_organization_limit('workflows', -1)`)).rejects.toMatchObject({ code: 'WF009' });
    await db.admin.query(`update organization_users set role = 'admin' where user_id = $1`, [acme.userId]);
    await expect(acme.user.query(`select set_organization_limit('workflows', 1)`)).rejects.toMatchObject({ code: 'WF005' });
  });
});
