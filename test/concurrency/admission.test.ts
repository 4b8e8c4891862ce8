/** Limits under twenty clients at once, each with a connection of its own. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';

const CLIENTS = 20;
let db: TestDatabase;
let clients: pg.Client[];
beforeAll(async () => {
  db = await createTestDatabase();
  clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect(db.adminUrl)));
});
afterAll(() => Promise.all(clients.map((client) => client.end())));

async function limited(metric: string, value: number): Promise<TestOrganization & { workflow: TestWorkflow }> {
  const organization = await createOrganization(db);
  const workflow = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }));
  await db.admin.query('insert into organization_limits values ($1, $2, $3)', [organization.id, metric, value]);
  return { ...organization, workflow };
}

test('no execution is started beyond the limit, and none below it is refused', async () => {
  const acme = await limited('executions_per_month', 50);
  const other = await limited('executions_per_month', 35);
  const request = (organization: typeof acme) => ({ organizationId: organization.id, workflowId: organization.workflow.id });
  // Two organizations in each batch, named in both orders: locks are taken in one.
  const batches = clients.map((_, index) => {
    const mixed = [request(acme), request(acme), request(other), request(acme)];
    return JSON.stringify(index % 2 ? mixed : mixed.reverse());
  });
  const answers = await Promise.all(
    clients.map(async (client, index) => (await client.query('select error from engine.start_runs($1)', [batches[index]])).rows),
  );
  const { rows } = await db.admin.query('select organization_id, count(*) as runs from workflow_runs group by 1');
  expect(new Map(rows.map(({ organization_id, runs }) => [organization_id, runs]))).toEqual(
    new Map([
      [acme.id, 50],
      [other.id, 20],
    ]),
  );
  expect(answers.flat().filter(({ error }) => error?.code === 'LIMIT_REACHED')).toHaveLength(10);
  const { rows: counters } = await db.admin.query(
    `select organization_id, used from private.usage_counters where metric = 'executions_per_month'`,
  );
  expect(new Map(counters.map(({ organization_id, used }) => [organization_id, used]))).toEqual(
    new Map([
      [acme.id, 50],
      [other.id, 20],
    ]),
  );
});

test('no workflow is created beyond the limit, and none below it is refused', async () => {
  const acme = await limited('workflows', 8);
  const results = await Promise.allSettled(
    clients.map(async (client) => {
      await client.query('select set_context($1)', [acme.id]);
      return client.query(`select create_workflow('W', '{"nodes": [], "connections": []}')`);
    }),
  );
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(7);
  for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'WF006' });
  expect((await db.admin.query('select from workflows where organization_id = $1', [acme.id])).rowCount).toBe(8);
});

test('teams stay within their limits, in batches that meet them in different orders', async () => {
  const acme = await createOrganization(db);
  const workflows: { id: string; team: string }[] = [];
  for (const team of ['red', 'blue', 'red', 'blue']) {
    const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }), `${team} ${workflows.length}`);
    await acme.user.query('select create_team($1, $1) where not exists (select from teams where slug = $1)', [team]);
    await acme.user.query('select assign_workflow($1, (select id from teams where slug = $2))', [workflow.id, team]);
    workflows.push({ id: workflow.id, team });
  }
  await acme.user.query(`select set_team_limit(id, 'executions_per_month', 33) from teams where slug = 'red'`);
  await acme.user.query(`select set_team_limit(id, 'executions_per_month', 50) from teams where slug = 'blue'`);
  // A batch is taken in the order of its workflows: the first two are red and blue, the two in the middle blue and red.
  const batches = clients.map((_, index) => {
    const from = index % 2;
    const pair = workflows.slice(from, from + 2).map(({ id }) => ({ organizationId: acme.id, workflowId: id }));
    return JSON.stringify([...pair, ...pair]);
  });
  const answers = await Promise.all(
    clients.map(async (client, index) => (await client.query('select error from engine.start_runs($1)', [batches[index]])).rows),
  );
  const { rows } = await db.admin.query(
    `select t.slug, count(r.id) as runs, max(c.used) as used
     from teams as t
     join workflows as w on w.team_id = t.id
     join workflow_runs as r on r.workflow_id = w.id
     join private.usage_counters as c on c.team_id = t.id and c.period_start > '-infinity'
     where t.organization_id = $1
     group by t.slug order by t.slug`,
    [acme.id],
  );
  expect(rows).toEqual([
    { slug: 'blue', runs: 40, used: 40 },
    { slug: 'red', runs: 33, used: 33 },
  ]);
  expect(answers.flat().filter(({ error }) => error?.code === 'LIMIT_REACHED')).toHaveLength(7);
});

test('an organization has one subscription, however many change its plan at once', async () => {
  const acme = await createOrganization(db);
  const plans = ['pro', 'enterprise', 'free'];
  await Promise.all(
    clients.map(async (client, index) => {
      await client.query('reset flowgres.session');
      await client.query('select change_plan($1, $2)', [plans[index % plans.length], acme.id]);
    }),
  );
  const { rows } = await db.admin.query('select status from subscriptions where organization_id = $1', [acme.id]);
  expect(rows).toEqual([{ status: 'active' }]);
});
