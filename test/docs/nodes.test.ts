import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type NodeContext, type TestNode, definitionFor, evaluate, failureOf, runNode, validate } from '../helpers/nodes.ts';

const read = (name: string) => readFile(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8');
const page = (await Promise.all(['reference/nodes', 'how-to/own-nodes', 'how-to/expressions'].map(read))).join('\n');
const blocks = (info: string) => [...page.matchAll(new RegExp(`^\`\`\`${info}\\n(.*?)^\`\`\`$`, 'gms'))].map((block) => block[1]!);

interface Example extends NodeContext {
  node: TestNode;
  port?: string;
  output?: unknown;
  error?: { code: string; message: string };
}

/** A node in a run: what it is given, what happens meanwhile, and what comes of it. */
interface WaitExample {
  node: TestNode;
  prev?: unknown;
  child?: { name: string; node: TestNode };
  passes?: number;
  signal?: { name: string; payload: unknown };
  resume?: unknown;
  approves?: boolean;
  port?: string;
  output: unknown;
}

let db: TestDatabase;
let engine: Driver;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  engine = new Driver(db);
  acme = await createOrganization(db);
  for (const sql of blocks('sql')) await db.admin.query(sql);
});

test('the definition is valid', async () => {
  const definitions = blocks('json definition');
  expect(definitions).toHaveLength(1);
  expect(await validate(db, JSON.parse(definitions[0]!))).toEqual([]);
});

describe('a node of the page', () => {
  const nodes: (Pick<Example, 'inputs'> & TestNode)[] = [
    ...blocks('json node').map((block) => JSON.parse(block) as TestNode),
    ...blocks('json example')
      .map((block) => JSON.parse(block) as Example)
      .map(({ node, inputs }) => ({ ...node, ...(inputs && { inputs }) })),
    ...blocks('json wait').map((block) => (JSON.parse(block) as WaitExample).node),
  ];

  test.each(nodes)('$id ($type) is valid', async ({ inputs = {}, ...node }) => {
    const isTrigger = node.type.endsWith('Trigger');
    expect(await validate(db, isTrigger ? { nodes: [node] } : definitionFor(node, { inputs }))).toEqual([]);
  });

  test('there is one of every type', async () => {
    const { rows } = await db.admin.query<{ name: string }>('select distinct name from engine.node_types order by name');
    expect(rows.map(({ name }) => name).filter((name) => !page.includes(`**${name}**`) && name !== 'vat')).toEqual([]);
  });
});

test.each(blocks('json example').map((block) => JSON.parse(block) as Example))('$node.id does what the page says', async (example) => {
  const { node, port = 'main', output, error, ...context } = example;
  const running = runNode(db, node, context);
  if (!error) return expect(await running).toMatchObject({ port, output });
  expect(await failureOf(running)).toEqual({ sqlstate: 'WF012', message: error.message, detail: { code: error.code } });
});

/** Lets happen what the example says. */
async function happen(runId: string, { node, passes, signal, resume, approves }: WaitExample): Promise<void> {
  if (passes) await engine.freeze(new Date(Date.now() + passes * 1000));
  if (signal) await acme.user.query('select signal_run($1, $2, $3)', [runId, signal.name, JSON.stringify(signal.payload)]);
  if (approves !== undefined) await acme.user.query('select approve_step($1, $2, $3)', [runId, node.id, approves]);
  if (resume) {
    const { rows } = await db.admin.query<{ token: string }>(
      `select engine.resume_token(p.resume_key, r.id, $2) as token
       from workflow_runs as r join engine.compiled_versions as p using (organization_id, workflow_id, version) where r.id = $1`,
      [runId, node.id],
    );
    await db.admin.query('select engine.resume_by_token($1, $2)', [rows[0]!.token, JSON.stringify(resume)]);
  }
}

test.each(blocks('json wait').map((block) => JSON.parse(block) as WaitExample))(
  'a run with $node.id does what the page says',
  async (example) => {
    const { node, prev = {}, child, port = 'main', output } = example;
    if (child) await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, child.node), child.name);
    const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, node));
    const { run_id: runId } = await engine.start(acme, workflow, prev);
    await happen(runId!, example);
    const task = await engine.begin(runId, node.id);
    if (task) {
      const { rows } = await db.pool('flowgres_worker').query('select engine.run_local($1) as outcome', [JSON.stringify(task)]);
      await engine.complete(task, rows[0].outcome.output);
    }
    await engine.freeze(null);
    expect((await engine.log(runId)).find(({ type, payload }) => type === 'step.succeeded' && payload['node'] === node.id)).toMatchObject({
      payload: { port, output },
    });
  },
);

/** Rows of the page's tables whose last cells are `an expression` and `its value`. */
const expressions = [...page.matchAll(/^\|.* `(.*\{\{.*)` \| `(.*)` \|$/gm)].map(([, text, value]) => ({
  text: text!.replaceAll('\\|', '|'),
  value: value!,
}));

test('the page has a table of expressions and one of filters', () => {
  expect(expressions.length).toBeGreaterThan(35);
});

test.each(expressions)('$text is $value', async ({ text, value }) => {
  expect(await evaluate(db, text, { prev: JSON.parse(blocks('json prev')[0]!) })).toEqual(JSON.parse(value));
});

test('every filter is in the table', async () => {
  const { rows } = await db.admin.query<{ name: string }>('select name from engine.filter_parameters()');
  expect(rows.map(({ name }) => name).filter((name) => !new RegExp(`^\\|.*\`${name}[\`(]`, 'm').test(page))).toEqual([]);
});
