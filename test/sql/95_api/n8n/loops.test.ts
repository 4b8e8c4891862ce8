/** Import from n8n: loops become workflows of their own, or problems. */
import { describe, expect, test } from 'vitest';
import { Driver } from '../../../helpers/driver.ts';
import { type Document, type Node, assignments, conditions, line, node, to } from './documents.ts';
import { acme, codesOf, database, definitionOf, find, importDocument, useImporter } from './importer.ts';

useImporter();

const set = (name: string, value: string) => node(name, 'set', 3.4, assignments(['v', 'any', value]));
const many = node('Many', 'set', 3.4, { mode: 'raw', jsonOutput: '={"list": {{ $json.list }} }' });

/** `Loop` behind the trigger, with these nodes in it, and `After` behind it; `back` leads to the loop. */
function loop(body: Node[], inside: object, more: Partial<Node> = {}): Document {
  return {
    nodes: [...line().nodes, node('Loop', 'splitInBatches', 3, { options: {} }, more), ...body, node('After', 'noOp', 1)],
    connections: { In: to(['Loop']), Loop: to(['After'], [body[0]!.name]), ...inside },
    settings: { timezone: 'Europe/Berlin' },
  };
}

/** Takes the jobs of runs that wait for their children until there are none, as a worker would. */
async function settle(driver: Driver): Promise<void> {
  for (;;) {
    const { rows } = await database.admin.query<{ run: string; node: string }>(
      `with job as (
        delete from graphile_worker._private_jobs where payload ->> 'node' is not null returning payload
      )
      select distinct payload ->> 'runId' as run, payload ->> 'node' as node from job`,
    );
    if (!rows.length) return;
    for (const { run, node: step } of rows) await driver.begin(run, step);
  }
}

/** Publishes the workflows that an import has made, and runs the last one. */
async function runImported(doc: Document, input: unknown): Promise<unknown> {
  const { id } = await importDocument(doc);
  const { rows } = await acme.user.query<{ id: string; name: string }>('select id, name from workflows where published_version is null');
  for (const workflow of rows) if (workflow.id !== id) await acme.user.query('select publish_workflow($1)', [workflow.id]);
  await acme.user.query('select publish_workflow($1)', [id]);
  const driver = new Driver(database);
  const { run_id: runId } = await driver.start(acme, { id }, input);
  await settle(driver);
  expect(await driver.run(runId)).toMatchObject({ status: 'success' });
  return driver.output(runId);
}

describe('a loop over single items', () => {
  test('is a workflow of its own that runs for each item, and gives what came back', async () => {
    const doc = loop([set('Upper', '={{ $json.name.toUpperCase() }}'), set('Both', "={{ $json.v }}-{{ $('Loop').item.json.name }}")], {
      Upper: to(['Both']),
      Both: to(['Loop']),
    });
    const { definition, problems } = await definitionOf(doc);
    expect(problems.map(({ pointer }) => pointer)).toEqual(['/nodes/1', '/nodes/1']);
    expect(find(definition, 'Loop')).toMatchObject({
      type: 'forEach',
      properties: { items: '{{ $.prev[*] }}', concurrency: 1, maxItems: 10_000 },
    });
    expect(definition.nodes.map(({ id }) => id)).toEqual(['In', 'Loop', 'After']);
    expect(await runImported({ ...doc, name: 'Names' }, [{ name: 'ada' }, { name: 'bob' }])).toEqual([{ v: 'ADA-ada' }, { v: 'BOB-bob' }]);
    const { rows } = await acme.user.query(`select name from workflows where name like 'Names%' order by name`);
    expect(rows).toEqual([{ name: 'Names' }, { name: 'Names: Loop' }]);
    expect(await runImported({ ...doc, name: 'One name' }, { name: 'eve' })).toEqual([{ v: 'EVE-eve' }]);
  });

  test('may branch when every way leads back, and loop inside of itself', async () => {
    const doc = loop(
      [
        node('If', 'if', 2.2, conditions({ type: 'string', operation: 'equals', right: 'ada' }, '={{ $json.name }}')),
        set('Yes', 'yes'),
        node('Inner', 'splitInBatches', 3, {}),
        set('No', 'no'),
        node('Done', 'noOp', 1),
      ],
      {
        If: to(['Yes'], ['Inner']),
        Yes: to(['Loop']),
        Inner: to(['Done'], ['No']),
        No: to(['Inner']),
        Done: to(['Loop']),
      },
    );
    const { problems } = await definitionOf(doc);
    expect(problems.map(({ pointer }) => pointer)).toContain('/nodes/4');
    expect(await runImported({ ...doc, name: 'Branches' }, [{ name: 'ada' }, { name: 'bob' }])).toEqual([{ v: 'yes' }, [{ v: 'no' }]]);
  });

  test('has its problems at the places of the document', async () => {
    const { problems } = await definitionOf(
      loop([set('First', '={{ $json.a.b() }}'), set('Second', "={{ $('In').item.json.x }}"), set('Third', '={{ $execution.id }}')], {
        First: to(['Second']),
        Second: to(['Third']),
        Third: to(['Loop']),
      }),
    );
    expect(problems.map(({ pointer }) => pointer)).toEqual([
      '/nodes/1',
      '/nodes/1',
      ...[2, 3, 4].map((place) => `/nodes/${place}/parameters/assignments/assignments/0/value`),
    ]);
  });
});

test.each<[string, Document]>([
  ['over ten at a time', loop([set('A', 'x')], { A: to(['Loop']) }, { parameters: { batchSize: 10 } })],
  ['of an older version', loop([set('A', 'x')], { A: to(['Loop']) }, { typeVersion: 2 })],
  ['that begins anew', loop([set('A', 'x')], { A: to(['Loop']) }, { parameters: { options: { reset: true } } })],
  ['with an expression as its size', loop([set('A', 'x')], { A: to(['Loop']) }, { parameters: { batchSize: '={{ 1 }}' } })],
  ['that does not lead back', loop([set('A', 'x')], {})],
  ['with a way that ends', loop([set('A', 'x'), set('B', 'x')], { A: to(['Loop', 'B']) })],
  ['with a branch that ends', loop([node('If', 'if', 2.2, conditions({ type: 'boolean', operation: 'true' }))], { If: to(['Loop']) })],
  ['with a filter', loop([node('F', 'filter', 2.2, conditions({ type: 'boolean', operation: 'true' }))], { F: to(['Loop']) })],
  ['with two ways at a time', loop([set('A', 'x'), set('B', 'x')], { A: to(['B', 'Loop']), B: to(['Loop']) })],
  ['that is entered from outside', loop([set('A', 'x'), set('B', 'x')], { A: to(['B']), B: to(['Loop']), After: to(['B']) })],
  ['that answers a webhook', loop([node('R', 'respondToWebhook', 1.1, {})], { R: to(['Loop']) })],
  ['over errors that are dropped', loop([{ ...set('A', 'x'), onError: 'continueErrorOutput' }], { A: to(['Loop']) })],
])('a loop %s is told, and cannot be published', async (_case, doc) => {
  const { definition, problems } = await definitionOf(doc);
  expect(problems.map(({ pointer }) => pointer)).toContain('/nodes/1');
  expect(find(definition, 'Loop').type).toBe('unconverted');
  expect(await codesOf(definition)).toContain('UNCONVERTED_NODE');
});

test('a loop over what a node before has made', async () => {
  const doc = loop([set('A', '={{ $json.list }}')], { A: to(['Loop']) });
  const nodes = [...doc.nodes, many];
  const connections = { ...(doc.connections as object), In: to(['Many']), Many: to(['Loop']) };
  expect(await runImported({ ...doc, name: 'Made', nodes, connections }, { list: [1, 2] })).toEqual([{ v: [1, 2] }]);
});
