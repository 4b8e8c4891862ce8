import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  server = await serveGraphql(db);
});

test('plans are shown to everybody, with their limits', async () => {
  const { plans } = await server.data(
    null,
    '{ plans(orderBy: [PRIMARY_KEY_ASC]) { nodes { slug priceCents limits { nodes { metric value } } } } }',
  );
  expect(plans.nodes.map(({ slug }: { slug: string }) => slug).sort()).toEqual(['enterprise', 'free', 'pro']);
});

test('an owner changes the plan, and sees limits and usage as in SQL', async () => {
  const changed = await server.data(
    acme.token,
    'mutation { changePlan(input: {plan: "free"}) { planSubscription { status endedAt plan { slug } } } setOrganizationLimit(input: {metric: workflows, value: "0"}) { organizationLimit { metric value } } }',
  );
  expect(changed).toMatchObject({
    changePlan: { planSubscription: { status: 'active', endedAt: null, plan: { slug: 'free' } } },
    setOrganizationLimit: { organizationLimit: { metric: 'workflows', value: '0' } },
  });
  const { entitlements, usage } = await server.data(
    acme.token,
    '{ entitlements { nodes { metric planLimit ownLimit limit used isOver } } usage { nodes { metric used limit resetsAt } } }',
  );
  expect(entitlements.nodes).toContainEqual({ metric: 'workflows', planLimit: '5', ownLimit: '0', limit: '0', used: '0', isOver: false });
  const { rows } = await acme.user.query('select metric, used::text, "limit"::text, resets_at from usage() where metric <> $1', [
    'api_calls_per_hour',
  ]);
  expect(usage.nodes).toEqual(
    expect.arrayContaining(
      rows.map(({ metric, used, limit, resets_at }) =>
        expect.objectContaining({ metric, used, limit, resetsAt: resets_at && expect.any(String) }),
      ),
    ),
  );
});

test('what is refused in SQL is refused with the same code and details', async () => {
  const definition = chain({ id: 'start', type: 'apiTrigger' });
  const { errors } = await server.query(
    acme.token,
    'mutation Create($definition: JSON!) { createWorkflow(input: {name: "One", definition: $definition}) { clientMutationId } }',
    { definition },
  );
  expect(errors).toMatchObject([
    { extensions: { code: 'LIMIT_REACHED', details: { metric: 'workflows', limit: 0, used: 0, resetAt: null } } },
  ]);
  await expect(acme.user.query(`select create_workflow('One', $1)`, [JSON.stringify(definition)])).rejects.toMatchObject({ code: 'WF006' });
  const refused = await server.query(acme.token, 'mutation { changePlan(input: {plan: "enterprise"}) { clientMutationId } }');
  expect(refused.errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
});

test('owners read the audit log, newest first', async () => {
  const { auditLogs } = await server.data(
    acme.token,
    '{ auditLogs(first: 2, orderBy: [ID_DESC]) { nodes { tableName operation before after userId } } }',
  );
  expect(auditLogs.nodes).toMatchObject([
    { tableName: 'public.organization_limits', operation: 'insert', before: null, after: { metric: 'workflows' }, userId: acme.userId },
    { tableName: 'public.subscriptions', operation: 'insert', after: { status: 'active' } },
  ]);
});

test('limits of the organization and of a team are taken away again, and a team shows its own', async () => {
  const { createTeam } = await server.data(acme.token, 'mutation { createTeam(input: {name: "Sales", slug: "sales"}) { team { id } } }');
  const { id } = createTeam.team;
  await server.data(
    acme.token,
    'mutation Set($id: UUID!) { setTeamLimit(input: {teamId: $id, metric: workflows, value: "2"}) { clientMutationId } }',
    { id },
  );
  const seen =
    'query Seen($id: UUID!) { team(id: $id) { limits { nodes { metric value } } } usage(teamId: $id) { nodes { metric limit } } }';
  const { team, usage } = await server.data(acme.token, seen, { id });
  expect(team.limits.nodes).toEqual([{ metric: 'workflows', value: '2' }]);
  expect(usage.nodes).toContainEqual({ metric: 'workflows', limit: '2' });
  await server.data(
    acme.token,
    'mutation Take($id: UUID!) { setTeamLimit(input: {teamId: $id, metric: workflows, value: null}) { clientMutationId } setOrganizationLimit(input: {metric: workflows, value: null}) { clientMutationId } }',
    { id },
  );
  expect((await server.data(acme.token, seen, { id })).team.limits.nodes).toEqual([]);
  expect((await acme.user.query('select from organization_limits')).rowCount).toBe(0);
});
