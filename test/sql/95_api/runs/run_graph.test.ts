import { readFile } from 'node:fs/promises';
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
});

/** start → large? → (true) tell, (false) skip. */
const DEFINITION = {
  nodes: [
    { id: 'start', type: 'apiTrigger' },
    { id: 'large', type: 'if', properties: { when: '$.input.n > 10' } },
    { id: 'tell', type: 'log', properties: { message: 'x' } },
    { id: 'rest', type: 'noOp' },
  ],
  connections: [
    { source: 'start', target: 'large' },
    { source: 'large', sourceOutput: 'true', target: 'tell' },
    { source: 'large', sourceOutput: 'false', target: 'rest' },
  ],
};

const graph = async (run: string, { user }: TestOrganization = acme) => {
  const { rows } = await user.query<{ status: string; nodes: string[]; links: string[] }>(
    `select g.status,
       array(select concat_ws(' ', n.node, n.type, n.status, n.port) from unnest(g.nodes) as n) as nodes,
       array(
         select concat_ws(' ', c.source, c.source_output, c.target, c.target_input, c.passed) from unnest(g.connections) as c
       ) as links
     from workflow_run_graph($1) as g`,
    [run],
  );
  return rows[0]!;
};

test('the graph of a run has every node with its state and every connection with whether the run has passed it', async () => {
  const { id } = await publishWorkflow(acme, DEFINITION);
  const { rows } = await acme.user.query<{ id: string }>(`select id from start_workflow_run($1, '{"n": 11}')`, [id]);
  const run = rows[0]!.id;
  expect(await graph(run)).toEqual({
    status: 'running',
    nodes: ['start apiTrigger success main', 'large if success true', 'tell log', 'rest noOp'],
    links: ['start main large main t', 'large true tell main t', 'large false rest main f'],
  });
  await engine.finish(run, 'tell', {});
  expect(await graph(run)).toMatchObject({
    status: 'success',
    nodes: ['start apiTrigger success main', 'large if success true', 'tell log success main', 'rest noOp skipped'],
  });
});

test('another organization’s run is not found', async () => {
  const { id } = await publishWorkflow(acme, DEFINITION);
  const { rows } = await acme.user.query<{ id: string }>(`select id from start_workflow_run($1, '{"n": 1}')`, [id]);
  await expect(graph(rows[0]!.id, await createOrganization(db, 'Globex'))).rejects.toMatchObject({ code: 'WF002' });
});

test('node_types lists each type with its kind, ports and the schema of its properties', async () => {
  const { rows } = await acme.user.query('select name, kind, ports, properties from node_types()');
  expect(rows).toContainEqual({ name: 'noOp', kind: 'pure', ports: ['main'], properties: expect.objectContaining({ type: 'object' }) });
  const { rows: all } = await db.admin.query<{ count: number }>('select count(*)::int as count from engine.node_types');
  expect(rows).toHaveLength(all[0]!.count);
});

test('node_types says of each type in which group, with which icon and where in the documents an editor shows it', async () => {
  const page = await readFile(new URL('../../../../docs/reference/nodes.md', import.meta.url), 'utf8');
  const headings = [...page.matchAll(/^### (\w+)$/gm)].map(([, heading]) => `docs/reference/nodes.md#${heading!.toLowerCase()}`);
  const { rows } = await acme.user.query<Record<string, string>>('select name, category, icon, docs from node_types()');
  expect(rows).toContainEqual({
    name: 'webhookTrigger',
    category: 'trigger',
    icon: 'webhook',
    docs: 'docs/reference/nodes.md#webhooktrigger',
  });
  expect(rows.filter(({ category, icon }) => category === 'custom' || icon === 'puzzle')).toEqual([]);
  expect(rows.map(({ docs }) => docs).filter((docs) => !headings.includes(docs!))).toEqual([]);
});
