import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, server] = [await createOrganization(db), await serveGraphql(db)];
});

const CREATE =
  'mutation ($name: String!, $definition: JSON!) { createWorkflow(input: { name: $name, definition: $definition }) { workflow { id revision } } }';
const PUBLISH = 'mutation ($id: UUID!) { publishWorkflow(input: { workflowId: $id }) { workflowVersion { version workflow { name } } } }';
const START = `mutation ($workflow: UUID!, $input: JSON, $key: String) {
  startWorkflowRun(input: { workflowId: $workflow, input: $input, idempotencyKey: $key }) { workflowRun { id status output } }
}`;

const double = chain(
  { id: 'start', type: 'apiTrigger' },
  { id: 'double', type: 'set', properties: { assign: { total: '{{ $.prev.total }}' } } },
);

async function publish(definition: unknown, name = 'Orders'): Promise<string> {
  const { createWorkflow } = await server.data(acme.token, CREATE, { name, definition });
  await server.data(acme.token, PUBLISH, { id: createWorkflow.workflow.id });
  return createWorkflow.workflow.id;
}

test('null takes away again what a command gave', async () => {
  const { createWorkflow } = await server.data(acme.token, CREATE, { name: 'Given', definition: double });
  const { id } = createWorkflow.workflow;
  const { createTeam } = await server.data(acme.token, 'mutation { createTeam(input: { name: "Sales", slug: "sales" }) { team { id } } }');
  const ASSIGN = 'mutation ($id: UUID!, $team: UUID) { assignWorkflow(input: { workflowId: $id, teamId: $team }) { workflow { teamId } } }';
  const assign = async (team: string | null) =>
    (await server.data(acme.token, ASSIGN, { id, team })).assignWorkflow.workflow.teamId as unknown;
  expect(await assign(createTeam.team.id)).toBe(createTeam.team.id);
  expect(await assign(null)).toBeNull();
  const OFFER =
    'mutation ($id: UUID!, $for: TemplateAudience) { setTemplate(input: { workflowId: $id, template: $for }) { workflow { template } } }';
  const offer = async (to: string | null) =>
    (await server.data(acme.token, OFFER, { id, for: to })).setTemplate.workflow.template as unknown;
  expect(await offer('organization')).toBe('organization');
  expect(await offer(null)).toBeNull();
});

test('a workflow is created, validated, published, run and read through GraphQL alone', async () => {
  const { createWorkflow } = await server.data(acme.token, CREATE, { name: 'Orders', definition: double });
  const { id } = createWorkflow.workflow;

  const { validateWorkflow } = await server.data(
    acme.token,
    'query ($d: JSON!) { validateWorkflow(definition: $d) { nodes { severity pointer message } } }',
    {
      d: { nodes: [], connections: [] },
    },
  );
  expect(validateWorkflow.nodes.length).toBeGreaterThan(0);

  const vain = { ...double, nodes: [...double.nodes, { id: 'vain', type: 'if', properties: { when: '$.run.mode == 1' } }] };
  const noticed = await server.data(
    acme.token,
    `mutation ($d: JSON!) { createWorkflow(input: { name: "Vain", definition: $d }) { workflow { id } } }`,
    { d: { ...vain, connections: [...(vain.connections ?? []), { source: vain.nodes[0]!.id, target: 'vain' }] } },
  );
  const published = await server.data(
    acme.token,
    'mutation ($id: UUID!) { publishWorkflow(input: { workflowId: $id }) { workflowVersion { notices } } }',
    {
      id: noticed.createWorkflow.workflow.id,
    },
  );
  expect(published.publishWorkflow.workflowVersion.notices).toMatchObject([
    { severity: 'notice', code: 'NEVER_TRUE', pointer: `/nodes/${double.nodes.length}/properties/when` },
  ]);

  expect(await server.data(acme.token, PUBLISH, { id })).toEqual({
    publishWorkflow: { workflowVersion: { version: 1, workflow: { name: 'Orders' } } },
  });
  const { startWorkflowRun } = await server.data(acme.token, START, { workflow: id, input: { total: 7 }, key: 'order-7' });
  expect(startWorkflowRun.workflowRun).toMatchObject({ status: 'success', output: { total: 7 } });
  const again = await server.data(acme.token, START, { workflow: id, input: { total: 7 }, key: 'order-7' });
  expect(again.startWorkflowRun.workflowRun.id).toBe(startWorkflowRun.workflowRun.id);

  const { workflowRun } = await server.data(
    acme.token,
    `query ($id: UUID!) {
      workflowRun(id: $id) {
        id nodeId mode input output durationMs eventsExpired version
        workflow { id name published { version } }
        events { nodes { seq type payload run { id } } totalCount }
        steps { nodes { node status port } }
      }
    }`,
    { id: startWorkflowRun.workflowRun.id },
  );
  expect(workflowRun).toMatchObject({
    mode: 'api',
    input: { total: 7 },
    output: { total: 7 },
    eventsExpired: false,
    durationMs: expect.any(Number),
    workflow: { id, name: 'Orders', published: { version: 1 } },
    steps: {
      nodes: [
        { node: 'start', status: 'success' },
        { node: 'double', status: 'success' },
      ],
    },
  });
  expect(workflowRun.events.nodes.map((event: { seq: number }) => event.seq)).toEqual([1, 2, 3, 4]);

  const { node, getWorkflowRunEvents } = await server.data(
    acme.token,
    'query ($nodeId: ID!, $id: UUID!) { node(nodeId: $nodeId) { ... on WorkflowRun { id } } getWorkflowRunEvents(runId: $id) { nodes { seq type } } }',
    { nodeId: workflowRun.nodeId, id: workflowRun.id },
  );
  expect(node.id).toBe(workflowRun.id);
  expect(getWorkflowRunEvents.nodes).toEqual(
    workflowRun.events.nodes.map(({ seq, type }: { seq: number; type: string }) => ({ seq, type })),
  );
});

test('the same events come from psql', async () => {
  const workflow = await publish(double);
  const { startWorkflowRun } = await server.data(acme.token, START, { workflow, input: { total: 1 } });
  const { id } = startWorkflowRun.workflowRun;
  const { getWorkflowRunEvents } = await server.data(
    acme.token,
    'query ($id: UUID!) { getWorkflowRunEvents(runId: $id) { nodes { seq type payload } } }',
    { id },
  );
  const { rows } = await db.admin.query('select seq, type, payload from get_workflow_run_events($1)', [id]);
  expect(getWorkflowRunEvents.nodes).toEqual(rows);
});

test('a run is canceled, and verified', async () => {
  const workflow = await publish(chain({ id: 'start', type: 'apiTrigger' }, { id: 'call', type: 'log', properties: { message: 'hi' } }));
  const { startWorkflowRun } = await server.data(acme.token, START, { workflow });
  const { id, status } = startWorkflowRun.workflowRun;
  expect(status).toBe('running');
  await new Driver(db).begin(id, 'call');
  const cancel =
    'mutation ($id: UUID!) { cancelRun(input: { runId: $id, reason: "wrong" }) { workflowRun { status finishedAt steps { nodes { node status } } } } }';
  const { cancelRun } = await server.data(acme.token, cancel, { id });
  expect(cancelRun.workflowRun).toMatchObject({
    status: 'canceled',
    steps: { nodes: [{ node: 'start' }, { node: 'call', status: 'canceled' }] },
  });
  expect((await server.data(acme.token, cancel, { id })).cancelRun).toEqual(cancelRun);
  const { verifyRun } = await server.data(
    acme.token,
    'mutation ($id: UUID!) { verifyRun(input: { runId: $id }) { differences { seq problem } } }',
    { id },
  );
  expect(verifyRun.differences).toEqual([]);
});

describe('lists', () => {
  test('of runs are read newest first, page by page, without a gap', async () => {
    const workflow = await publish(double, 'Paged');
    const started: string[] = [];
    for (let total = 0; total < 5; total += 1)
      started.push((await server.data(acme.token, START, { workflow, input: { total } })).startWorkflowRun.workflowRun.id);
    const read: string[] = [];
    for (let after: string | null = null, more = true; more; ) {
      const { workflow: found } = await server.data(
        acme.token,
        `query ($id: UUID!, $after: Cursor) {
          workflow(id: $id) { runs(first: 2, after: $after, orderBy: PRIMARY_KEY_DESC) { nodes { id } pageInfo { hasNextPage endCursor } } }
        }`,
        { id: workflow, after },
      );
      read.push(...found.runs.nodes.map(({ id }: { id: string }) => id));
      ({ hasNextPage: more, endCursor: after } = found.runs.pageInfo);
    }
    expect(read).toEqual(started.toReversed());
  });

  test('are filtered by indexed columns', async () => {
    const workflow = await publish(double, 'Filtered');
    await server.data(acme.token, START, { workflow, input: { total: 1 } });
    const { workflowRuns, workflows } = await server.data(
      acme.token,
      `query ($id: UUID!) {
        workflowRuns(filter: { workflowId: { equalTo: $id }, status: { in: [success] } }) { nodes { workflowId status } }
        workflows(filter: { name: { equalTo: "Filtered" }, archivedAt: { isNull: true } }) { nodes { id } }
      }`,
      { id: workflow },
    );
    expect(workflowRuns.nodes).toEqual([{ workflowId: workflow, status: 'success' }]);
    expect(workflows.nodes).toEqual([{ id: workflow }]);
  });
});

describe('runs', () => {
  test('are filtered by one type in lists, counts, commands and relations', async () => {
    const workflow = await publish(double, 'Counted');
    await server.data(acme.token, START, { workflow, input: { total: 1 } });
    await server.data(acme.token, START, { workflow, input: { total: 2 } });
    const filter = { workflowId: { equalTo: workflow }, status: { in: ['success'] }, durationMs: { lessThan: 1e9 }, metadata: null };
    const query = `query ($filter: WorkflowRunFilter!) {
      workflowRuns(filter: $filter, orderBy: [DURATION_DESC]) { nodes { triggerNode } }
      workflowRunCount(filter: $filter) { count isExact }
    }`;
    // Nothing is left out silently: a filter that lost its condition would be one of all runs.
    expect((await server.query(acme.token, query, { filter })).errors).toMatchObject([
      { extensions: { code: 'INVALID_ARGUMENT' } },
      { extensions: { code: 'INVALID_ARGUMENT' } },
    ]);
    const { metadata: _metadata, ...valid } = filter;
    const { workflowRuns, workflowRunCount } = await server.data(acme.token, query, { filter: valid });
    expect(workflowRuns.nodes).toEqual([{ triggerNode: 'start' }, { triggerNode: 'start' }]);
    expect(workflowRunCount).toEqual({ count: 2, isExact: true });
    const { workflowRunStats } = await server.data(
      acme.token,
      'query ($filter: WorkflowRunFilter) { workflowRunStats(filter: $filter, groupBy: status, bucket: day) { runs groups { bucket key runs success p95Ms } } }',
      { filter: valid },
    );
    expect(workflowRunStats.runs).toBe(2);
    expect(workflowRunStats.groups[0]).toMatchObject({ bucket: expect.any(String), key: 'success', p95Ms: expect.any(Number) });
    const { retryRuns, cancelRuns } = await server.data(
      acme.token,
      `mutation ($workflow: UUID!) {
        retryRuns(input: { filter: { workflowId: { equalTo: $workflow }, errorCode: { in: ["X"] }, startedAt: { greaterThan: "2024-01-01T00:00:00Z" } } }) { bulkOperation { total filter } }
        cancelRuns(input: { filter: { workflowId: { equalTo: $workflow }, status: { equalTo: waiting }, metadata: { contains: { n: 1.50 } } } }) { bulkOperation { total filter } }
      }`,
      { workflow },
    );
    expect(retryRuns.bulkOperation).toMatchObject({ total: 0, filter: { errorCode: { in: ['X'] } } });
    expect(cancelRuns.bulkOperation).toMatchObject({ total: 0, filter: { metadata: { contains: { n: 1.5 } } } });
  });
});

test('the Ruru page and its files are served by ourselves', async () => {
  const page = await fetch(server.url.replace('/graphql', '/graphiql'), { headers: { accept: 'text/html' } });
  const html = await page.text();
  expect(page.status).toBe(200);
  expect(html).not.toMatch(/(?:src|href)="https?:/);
  const script = /(?:src|href)="(\/ruru-static\/[^"]+\.js)"/.exec(html)?.[1];
  expect((await fetch(new URL(script!, server.url))).status).toBe(200);
});
