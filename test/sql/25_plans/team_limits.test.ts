/** Limits of teams, beside those of the organization. */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { type TestPerson, createMember } from '../../helpers/people.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let sales: string;
let echo: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  engine = new Driver(db);
  await engine.startOver();
  acme = await createOrganization(db);
  sales = await createTeam('sales');
  echo = await publish('Echo', sales);
});

async function createTeam(slug: string): Promise<string> {
  return (await acme.user.query<{ id: string }>('select id from create_team($1, $1)', [slug])).rows[0]!.id;
}
async function publish(name: string, team: string | null): Promise<TestWorkflow> {
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }), name);
  await assign(workflow, team);
  return workflow;
}
const assign = (workflow: TestWorkflow, team: string | null) => acme.user.query('select assign_workflow($1, $2)', [workflow.id, team]);
const limit = (metric: string, value: number | null, team = sales) =>
  acme.user.query('select * from set_team_limit($1, $2, $3)', [team, metric, value]);
const limitOrganization = (metric: string, value: number) => acme.user.query('select set_organization_limit($1, $2)', [metric, value]);
const usage = async (metric: string, team: string | null = sales) =>
  (await acme.user.query('select used, "limit" from usage(team => $2) where metric = $1', [metric, team])).rows[0];
const request = (workflow: TestWorkflow) => ({ organizationId: acme.id, workflowId: workflow.id });
const codes = (answers: Awaited<ReturnType<Driver['startAll']>>) => answers.map(({ status, error }) => error?.code ?? status);

describe('executions of a team', () => {
  test('are started up to its limit, and those of others without one', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    await limit('executions_per_month', 2);
    const own = await publish('Own', null);
    const answers = await engine.startAll([request(echo), request(own), request(echo), request(own), request(echo)]);
    expect(codes(answers)).toEqual(['success', 'success', 'success', 'success', 'LIMIT_REACHED']);
    expect(answers[4]).toMatchObject({
      run_id: null,
      error: {
        message: 'The team may have 2 executions a month.',
        details: { metric: 'executions_per_month', team: sales, limit: 2, used: 2, resetAt: '2026-12-01T00:00:00+00:00' },
      },
    });
    expect(await usage('executions_per_month')).toEqual({ used: 2, limit: 2 });
    expect(await usage('executions_per_month', null)).toEqual({ used: 4, limit: null });
  });

  test('are those of all its workflows, in one batch with those of another team', async () => {
    const support = await createTeam('support');
    const workflows = [echo, await publish('A', support), await publish('B', sales), await publish('C', support)];
    await limit('executions_per_month', 3);
    await limit('executions_per_month', 1, support);
    const answers = await engine.startAll([...workflows, ...workflows].map(request));
    expect(codes(answers).filter((code) => code === 'success')).toHaveLength(4);
    expect(await usage('executions_per_month')).toEqual({ used: 3, limit: 3 });
    expect(await usage('executions_per_month', support)).toEqual({ used: 1, limit: 1 });
  });

  test('are under the lower limit, and what one refuses is not counted by the other', async () => {
    await limit('executions_per_month', 1);
    await limitOrganization('executions_per_month', 3);
    const own = await publish('Own', null);
    expect(codes(await engine.startAll([request(echo), request(echo)]))).toEqual(['success', 'LIMIT_REACHED']);
    expect(await usage('executions_per_month', null)).toEqual({ used: 1, limit: 3 });
    await limit('executions_per_month', 10);
    const answers = await engine.startAll([request(own), request(own), request(echo)]);
    expect(codes(answers).sort()).toEqual(['LIMIT_REACHED', 'success', 'success']);
    const { rows } = await acme.user.query(
      'select count(*) as runs, count(*) filter (where workflow_id = $1) as of_team from workflow_runs',
      [echo.id],
    );
    expect(await usage('executions_per_month', null)).toEqual({ used: rows[0]!.runs, limit: 3 });
    expect(await usage('executions_per_month')).toEqual({ used: rows[0]!.of_team, limit: 10 });
  });

  test('count from the beginning of the month when the limit comes later, and begin anew with the next', async () => {
    await engine.freeze(new Date('2026-11-21T12:00:00Z'));
    await engine.startAll([request(echo), request(echo)]);
    await limit('executions_per_month', 3);
    expect(codes(await engine.startAll([request(echo), request(echo)]))).toEqual(['success', 'LIMIT_REACHED']);
    await engine.freeze(new Date('2026-12-01T00:00:00Z'));
    expect(codes(await engine.startAll([request(echo)]))).toEqual(['success']);
    expect((await acme.user.query(`select used from usage(period => '2026-11-01', team => $1)`, [sales])).rows).toEqual([{ used: 3 }]);
    await limit('executions_per_month', null);
    expect(codes(await engine.startAll([1, 2, 3, 4].map(() => request(echo))))).not.toContain('LIMIT_REACHED');
  });
});

describe('the executions of a team', () => {
  test('include retries and forks, as those of the organization do', async () => {
    const failing = await publishWorkflow(
      acme,
      chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'stopAndError', properties: { message: 'no' } }),
      'Failing',
    );
    await assign(failing, sales);
    const { run_id: failed } = await engine.start(acme, failing);
    const { run_id: done } = await engine.start(acme, echo);
    const again = (command: string, run: string | null) => acme.user.query(`select ${command}($1)`, [run]);
    await limit('executions_per_month', 2);
    for (const [command, run] of [
      ['retry_run', failed],
      ['fork_run', done],
    ] as const) {
      await expect(again(command, run)).rejects.toMatchObject({ code: 'WF006', message: expect.stringContaining('The team') });
    }
    await limit('executions_per_month', 4);
    await limitOrganization('executions_per_month', 2);
    for (const [command, run] of [
      ['retry_run', failed],
      ['fork_run', done],
    ] as const) {
      await expect(again(command, run)).rejects.toMatchObject({ code: 'WF006', message: expect.stringContaining('The organization') });
    }
    await limitOrganization('executions_per_month', 9);
    await again('retry_run', failed);
    await again('fork_run', done);
    expect(await usage('executions_per_month')).toEqual({ used: 4, limit: 4 });
    expect(await usage('executions_per_month', null)).toEqual({ used: 4, limit: 9 });
  });

  test('go with the team: who takes over a workflow does not take over what it has used', async () => {
    const support = await createTeam('support');
    await limit('executions_per_month', 1);
    await limit('executions_per_month', 1, support);
    expect(codes(await engine.startAll([request(echo), request(echo)]))).toEqual(['success', 'LIMIT_REACHED']);
    await assign(echo, support);
    await db.admin.query('delete from teams where id = $1', [sales]);
    expect(codes(await engine.startAll([request(echo)]))).toEqual([expect.any(String)]);
    const { rows } = await db.admin.query(
      'select distinct team_id from private.usage_counters where team_id is not null and organization_id = $1',
      [acme.id],
    );
    expect(rows).toEqual([{ team_id: support }]);
  });
});

test('a team looks after workflows up to its limit; one that it has is not counted twice, archiving one makes room', async () => {
  await limit('workflows', 1);
  const second = await publish('Second', null);
  await expect(assign(second, sales)).rejects.toMatchObject({ code: 'WF006', message: 'The team may have 1 workflows.' });
  await assign(echo, sales);
  await acme.user.query('select archive_workflow($1)', [echo.id]);
  await assign(second, sales);
  expect(await usage('workflows')).toEqual({ used: 1, limit: 1 });
});

test('a team has members up to its limit; one who is in it may get another role', async () => {
  const add = (person: TestPerson, role = 'member') => acme.user.query('select add_team_member($1, $2, $3)', [sales, person.id, role]);
  const [ada, bob] = [await createMember(db, acme, 'member', 'ada'), await createMember(db, acme, 'member', 'bob')];
  await limit('team_members', 1);
  await add(ada);
  await expect(add(bob)).rejects.toMatchObject({ code: 'WF006', message: 'The team may have 1 members.' });
  await add(ada, 'admin');
  expect(await usage('team_members')).toEqual({ used: 1, limit: 1 });
  expect((await acme.user.query('select from team_users')).rowCount).toBe(1);
});

describe('the limit of a team', () => {
  test('is set, changed, seen and taken away by admins of the organization', async () => {
    const admin = await createMember(db, acme, 'admin');
    const set = (value: number | null) => admin.user.query(`select metric, value from set_team_limit($1, 'workflows', $2)`, [sales, value]);
    await set(5);
    expect((await set(0)).rows).toEqual([{ metric: 'workflows', value: 0 }]);
    expect((await acme.user.query('select team_id, metric, value from team_limits')).rows).toEqual([
      { team_id: sales, metric: 'workflows', value: 0 },
    ]);
    await set(null);
    expect((await acme.user.query('select from team_limits')).rowCount).toBe(0);
    const { rows } = await db.admin.query(
      `select operation from audit_log where table_name = 'public.team_limits' and organization_id = $1 order by id`,
      [acme.id],
    );
    expect(rows.map(({ operation }) => operation)).toEqual(['insert', 'update', 'delete']);
  });

  test("is nobody else's affair: not the team's own admins', not another organization's", async () => {
    const boss = await createMember(db, acme);
    await acme.user.query(`select add_team_member($1, $2, 'admin')`, [sales, boss.id]);
    const other = await createOrganization(db, 'Other');
    await limit('workflows', 3);
    const set = `select set_team_limit($1, 'workflows', 4)`;
    await expect(boss.user.query(set, [sales])).rejects.toMatchObject({ code: 'WF005' });
    await expect(other.user.query(set, [sales])).rejects.toMatchObject({ code: 'WF002' });
    await expect(other.user.query('select * from usage(team => $1)', [sales])).rejects.toMatchObject({ code: 'WF002' });
    expect((await other.user.query('select from team_limits')).rowCount).toBe(0);
  });

  test('is one of what can be told by team, and 0 or more', async () => {
    await expect(limit('api_calls_per_hour', 1)).rejects.toMatchObject({ code: 'WF009' });
    await expect(limit('workflows', -1)).rejects.toMatchObject({ code: 'WF009' });
  });
});

test('workflows that are copied from a template or imported from n8n are under the limit, too', async () => {
  await acme.user.query(`select set_template($1, 'organization')`, [echo.id]);
  const copy = () => acme.user.query('select copy_template($1)', [echo.id]);
  const importIt = () => acme.user.query(`select import_n8n_workflow('{"nodes": [], "connections": {}}')`);
  await limitOrganization('workflows', 1);
  await expect(copy()).rejects.toMatchObject({ code: 'WF006' });
  await expect(importIt()).rejects.toMatchObject({ code: 'WF006' });
  await limitOrganization('workflows', 3);
  await copy();
  await importIt();
  await expect(copy()).rejects.toMatchObject({ code: 'WF006' });
});
