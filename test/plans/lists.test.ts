import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type SentStatement, recordStatements } from '../helpers/sql_log.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
let ids: { workflow: string; run: string };

/** Two organizations of the same size, so that reading all rows is never as good as reading one's own. */
beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  const globex = await createOrganization(db, 'Globex');
  server = await serveGraphql(db);
  const both = [[acme.id, globex.id]];
  const many = (statement: string) => db.admin.query(statement, statement.includes('$1') ? both : []);
  // A few workflows have all the runs.
  await many(
    `insert into workflows (organization_id, name, definition, created_at, tags)
     select o, 'w' || n, '{}', now() - n * interval '1 minute', '{a}' from generate_series(1, 600) as n, unnest($1::uuid[]) as o`,
  );
  await many(
    `insert into workflow_versions (organization_id, workflow_id, version, definition)
     select w.organization_id, w.id, v, '{}' from workflows as w, generate_series(1, 3) as v`,
  );
  await many(
    `insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
     select engine.uuid_v7(now() - n * interval '1 second'), w.organization_id, w.id, 1, 'api', s, now(), case s when 'running' then null else now() end
     from workflows as w, generate_series(1, 200) as n
     cross join lateral (select (array['success', 'error', 'running', 'success'])[1 + n % 4] as s) as status
     where w.name in ('w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7', 'w8', 'w9', 'w10')`,
  );
  await many(
    `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
     select r.organization_id, r.id, s, now() + s * interval '1 ms', 'step.succeeded', jsonb_build_object('node', 'n' || s, 'attempt', 1)
     from workflow_runs as r, generate_series(1, case when r.id in (select max(id::text)::uuid from workflow_runs group by organization_id) then 200 else 3 end) as s`,
  );
  await many(
    `insert into workflow_run_logs (organization_id, run_id, message, ts) select r.organization_id, r.id, 'x', now() from workflow_runs as r`,
  );
  await many(
    `insert into variables (organization_id, name, value) select o, 'v' || n, '1' from generate_series(1, 600) as n, unnest($1::uuid[]) as o`,
  );
  await many(
    `insert into schedules (organization_id, workflow_id, node, version, properties, next_run_at, fires_at)
     select organization_id, id, 'clock', 1, '{}', now(), now() from workflows`,
  );
  await many(
    `insert into webhooks (organization_id, workflow_id, node, version, methods, path, segments, properties)
     select organization_id, id, 'hook', 1, '{POST}', '/' || name, array[name], '{}' from workflows`,
  );
  const { rows: parents } = await db.admin.query<{ parent: string }>('select parent::text from partitions.managed_tables');
  await db.admin.query(`analyze; ${parents.map(({ parent }) => `analyze ${parent};`).join(' ')}`);
  const { rows } = await db.admin.query<{ workflow: string; run: string }>(
    `select workflow_id as workflow, id as run from workflow_runs where organization_id = $1 order by id desc limit 1`,
    [acme.id],
  );
  ids = rows[0]!;
}, 120_000);

interface CompiledNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Actual Rows'?: number;
  Plans?: CompiledNode[];
}

async function explain({ text, values }: SentStatement): Promise<CompiledNode> {
  const client = await db.pool('flowgres_api').connect();
  try {
    await client.query('begin');
    await client.query(
      `select set_config('role', 'flowgres_user', true), set_config('flowgres.session', $1, true),
         set_config('plan_cache_mode', 'force_custom_plan', true)`,
      [createHash('sha256').update(acme.token).digest('hex')],
    );
    // The values as PostGraphile passes them: with a plan for these, or for any.
    const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: CompiledNode }] }>(
      `explain (analyze, timing off, format json) ${text}`,
      values,
    );
    return rows[0]!['QUERY PLAN'][0].Plan;
  } finally {
    await client.query('rollback');
    client.release();
  }
}

const flatten = (node: CompiledNode): CompiledNode[] => [node, ...(node.Plans ?? []).flatMap(flatten)];

/** Tables that an organization has a handful of rows in: reading them whole is no scan to speak of. */
const SMALL = new Set(['organizations', 'organization_users', 'users']);

const LISTS: Record<string, string> = {
  'latest runs': '{ workflowRuns(first: 20, orderBy: ID_DESC) { nodes { id status startedAt } pageInfo { hasNextPage endCursor } } }',
  'oldest runs': '{ workflowRuns(first: 20, orderBy: ID_ASC) { nodes { id } } }',
  'runs without an order': '{ workflowRuns(first: 20) { nodes { id } } }',
  'failed runs': '{ workflowRuns(first: 20, orderBy: ID_DESC, filter: { status: { equalTo: error } }) { nodes { id } } }',
  'runs by their start': '{ workflowRuns(first: 20, orderBy: STARTED_AT_DESC) { nodes { id } pageInfo { hasNextPage endCursor } } }',
  'runs by their end': '{ workflowRuns(first: 20, orderBy: FINISHED_AT_ASC) { nodes { id } pageInfo { hasNextPage endCursor } } }',
  'paused runs, which are few': '{ workflowRuns(first: 20, filter: { status: { equalTo: paused } }) { nodes { id } } }',
  'runs of a code': '{ workflowRuns(first: 20, filter: { errorCode: { equalTo: "RARE" } }) { nodes { id } } }',
  'runs since a time': `{ workflowRuns(first: 20, filter: { startedAt: { greaterThan: "2024-07-01T00:00:00Z" } }) { nodes { id } } }`,
  'children of a run': 'query ($run: UUID!) { workflowRuns(first: 20, filter: { parentRunId: { equalTo: $run } }) { nodes { id } } }',
  'runs of a workflow': 'query ($workflow: UUID!) { workflow(id: $workflow) { runs(first: 20, orderBy: ID_DESC) { nodes { id } } } }',
  'runs filtered by their workflow':
    'query ($workflow: UUID!) { workflowRuns(first: 20, orderBy: ID_DESC, filter: { workflowId: { equalTo: $workflow } }) { nodes { id } } }',
  'runs with workflow and events':
    '{ workflowRuns(first: 20, orderBy: ID_DESC) { nodes { id workflow { name } events(first: 5) { nodes { seq type } } } } }',
  'runs with workflow and latest events':
    '{ workflowRuns(first: 20, orderBy: ID_DESC) { nodes { id workflow { name } latestEvents(first: 5) { nodes { seq type } } } } }',
  // Not its steps: they are what its whole log comes to.
  'a run with logs and events':
    'query ($run: UUID!) { workflowRun(id: $run) { input output logs { nodes { message } } events { nodes { seq } } } }',
  workflows: '{ workflows(first: 20) { nodes { id name } } }',
  'newest workflows': '{ workflows(first: 20, orderBy: CREATED_AT_DESC) { nodes { id } } }',
  'workflows by name': '{ workflows(first: 20, orderBy: NAME_ASC) { nodes { id } } }',
  'the workflow of a name': '{ workflows(filter: { name: { equalTo: "w7" } }) { nodes { id } } }',
  'workflows of a team':
    '{ workflows(first: 20, filter: { teamId: { equalTo: "01900000-0000-7000-8000-000000000000" } }) { nodes { id } } }',
  'versions of a workflow': 'query ($workflow: UUID!) { workflow(id: $workflow) { versions { nodes { version message } } } }',
  'workflows with their published version': '{ workflows(first: 20) { nodes { name published { version } } } }',
  variables: '{ variables(first: 20) { nodes { name value } } }',
  webhooks: '{ webhooks(first: 20) { nodes { path workflow { name } } } }',
  schedules: '{ schedules(first: 20) { nodes { nextRunAt workflow { name } } } }',
};

describe('no list sorts, and none reads a table from end to end:', () => {
  test.each(Object.entries(LISTS))('%s', async (_name, query) => {
    const statements = await recordStatements(() => server.data(acme.token, query, query.startsWith('query') ? { ...ids } : {}));
    expect(statements.length).toBeGreaterThan(0);
    for (const statement of statements) {
      const nodes = flatten(await explain(statement));
      const bad = nodes.filter(
        (node) =>
          (node['Node Type'] === 'Seq Scan' && !SMALL.has(node['Relation Name'] ?? '') && (node['Actual Rows'] ?? 0) > 0) ||
          // A handful is put in order faster than found in order.
          (/Sort/.test(node['Node Type']) && (node.Plans?.[0]?.['Actual Rows'] ?? 0) > 20),
      );
      expect(bad, statement.text).toEqual([]);
    }
  });
});

test('lists by status use the index of status and time', async () => {
  const query = '{ workflowRuns(first: 20, filter: { status: { equalTo: canceled } }) { nodes { id } } }';
  const [statement] = await recordStatements(() => server.data(acme.token, query));
  const indexes = flatten(await explain(statement!)).flatMap((node) => node['Index Name'] ?? []);
  expect(indexes.join()).toMatch(/status_idx/);
});
