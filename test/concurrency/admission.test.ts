/** Limits under twenty clients at once, each with a connection of its own. */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/database.ts';
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
