import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type NodeContext, type TestNode, definitionFor, evaluate, failureOf, runNode, validate } from '../helpers/nodes.ts';

const page = await readFile(new URL('../../docs/nodes.md', import.meta.url), 'utf8');
const blocks = (info: string) => [...page.matchAll(new RegExp(`^\`\`\`${info}\\n(.*?)^\`\`\`$`, 'gms'))].map((block) => block[1]!);

interface Example extends NodeContext {
  node: TestNode;
  port?: string;
  output?: unknown;
  error?: { code: string; message: string };
}

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
  for (const sql of blocks('sql')) await db.admin.query(sql);
});

test('the definition is valid', async () => {
  const definitions = blocks('json definition');
  expect(definitions).toHaveLength(1);
  expect(await validate(db, JSON.parse(definitions[0]!))).toEqual([]);
});

describe('a node of the page', () => {
  const nodes = [
    ...blocks('json node').map((block) => JSON.parse(block) as TestNode),
    ...blocks('json example').map((block) => (JSON.parse(block) as Example).node),
  ];

  test.each(nodes)('$id ($type) is valid', async (node) => {
    const isTrigger = node.type.endsWith('Trigger');
    expect(await validate(db, isTrigger ? { nodes: [node] } : definitionFor(node))).toEqual([]);
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
