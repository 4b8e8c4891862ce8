/** Import from n8n: workflows with the same meaning here and there. */
import { expect, test } from 'vitest';
import { CONDITIONS, RUNS, assignments, branch, branches, conditions, line, node, setV, to } from './documents.ts';
import { acme, codesOf, definitionOf, find, importDocument, lastNode, run, useImporter } from './importer.ts';

useImporter();

test.each(Object.entries(RUNS))('means the same: %s', async (_name, [doc, input, output]) => {
  const { definition, problems } = await definitionOf(doc);
  expect(problems).toEqual([]);
  const events = await run(definition, input);
  expect(events.at(-1)).toEqual({ type: 'run.succeeded', payload: { output } });
});

test.each(CONDITIONS)('compares alike: %j with %j is %s', async (condition, v, wanted) => {
  const { definition, problems } = await definitionOf(branch(condition));
  expect(problems).toEqual([]);
  const events = await run(definition, { v });
  expect(events.at(-1)!.type === 'run.failed' ? 'fails' : lastNode(events)).toBe(wanted);
});

test.each([
  ['if', node('If', 'if', 1, { conditions: { number: [{ value1: '={{ $json.v }}', operation: 'larger', value2: 5 }] } }), 6, 'T'],
  ['if', node('If', 'if', 1, { conditions: { string: [{ value1: '={{ $json.v }}', operation: 'isEmpty' }] } }), [], 'T'],
  ['if', node('If', 'if', 1, { conditions: { string: [{ value1: '={{ $json.v }}', value2: '5' }] } }), 5, 'F'],
  ['no condition', node('If', 'if', 2, { conditions: { combinator: 'and', conditions: [] } }), 1, 'T'],
  [
    'switch',
    node('Way', 'switch', 3.2, {
      rules: { values: [conditions({ type: 'number', operation: 'gt', right: 5 })] },
      options: { fallbackOutput: 'extra' },
    }),
    6,
    'T',
  ],
  [
    'switch',
    node('Way', 'switch', 3.2, {
      rules: { values: [conditions({ type: 'number', operation: 'gt', right: 5 })] },
      options: { fallbackOutput: 'extra' },
    }),
    5,
    'F',
  ],
  ['switch that leads nowhere', node('Way', 'switch', 3, {}), 5, 'Way'],
  [
    'old switch',
    node('Way', 'switch', 1, {
      dataType: 'string',
      value1: '={{ $json.v }}',
      rules: { rules: [{ value2: 'a' }, { value2: 'b', output: 1 }] },
    }),
    'b',
    'F',
  ],
  [
    'old switch without a match',
    node('Way', 'switch', 1, { dataType: 'string', value1: '={{ $json.v }}', rules: { rules: [{ value2: 'a' }] } }),
    'b',
    'Way',
  ],
])('goes the same way: %s %j', async (_name, decision, v, wanted) => {
  const { definition, problems } = await definitionOf(branches(decision));
  expect(problems).toEqual([]);
  expect(lastNode(await run(definition, { v }))).toBe(wanted);
});

test.each<[string, unknown, unknown]>([
  ['={{ $json.items.length }}', { items: [1, 2] }, 2],
  ['={{ $json.a["b c"].length }}', { a: { 'b c': [[], []] } }, 2],
  ['={{ $json.items.length }}', {}, null],
  ['={{ $json.items.length }}', { items: { length: 3 } }, null],
  ['=There are {{ $json.items.length }}', { items: [] }, 'There are 0'],
  ['={{ $now }}', {}, expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0[12]:00$/)],
  ['={{ $now.toFormat("yyyy-MM-dd HH:mm") }}', {}, expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d$/)],
  ['={{ $now.plus({ days: 400 }).toISODate() }}', {}, expect.stringMatching(/^\d{4}-\d\d-\d\d$/)],
])('takes over, and tells where it differs: %s of %j', async (value, input, wanted) => {
  const { definition, problems } = await definitionOf({ ...setV(value), settings: { timezone: 'Europe/Berlin' } });
  expect(problems.map(({ pointer }) => pointer)).toEqual(['/nodes/1/parameters/assignments/assignments/0/value']);
  expect((await run(definition, input)).at(-1)).toEqual({ type: 'run.succeeded', payload: { output: { v: wanted } } });
});

test('$now is moved by the units of the zone', async () => {
  const { definition } = await definitionOf(setV('={{ $now.minus({ weeks: 1 }).plus({ hours: 2 }) }}'));
  expect(find(definition, 'Out').properties['assign']).toEqual({
    v: '{{ $.run.startedAt | add(-1, "weeks", "UTC") | add(2, "hours", "UTC") | date("UTC") }}',
  });
});

test.each(['switch', 'merge', 'splitInBatches', 'slack'])('what stands for a %s has the ports that are connected', async (type) => {
  const ends = ['A', 'B', 'C'].map((name) => node(name, 'noOp', 1));
  const doc = line(node('It', type, 9, { mode: 'expression' }));
  const second = {
    main: [
      [
        { node: 'It', type: 'main', index: 0 },
        { node: 'It', type: 'main', index: 1 },
      ],
    ],
  };
  const { definition } = await definitionOf({
    nodes: [...doc.nodes, ...ends],
    connections: { In: type === 'merge' ? second : to(['It']), It: to(['A'], ['B'], ['C']) },
  });
  expect(await codesOf(definition)).toEqual(['UNCONVERTED_NODE']);
  expect(new Set(definition.connections.map(({ target }) => target))).toEqual(new Set(['It', 'A', 'B', 'C']));
});

test('a filter stops what it does not keep', async () => {
  const only = node('Only', 'filter', 2, conditions({ type: 'boolean', operation: 'true' }));
  const { definition, problems } = await definitionOf(line(only, node('Out', 'noOp', 1)));
  expect(problems).toEqual([]);
  expect(lastNode(await run(definition, { v: false }))).toBe('Only');
});

test('a webhook, its item and its answer', async () => {
  const { definition, problems, name, id } = await importDocument({
    name: 'Orders',
    nodes: [
      node('Order in', 'webhook', 2, { path: 'orders', httpMethod: 'POST', responseMode: 'responseNode' }),
      node('Large?', 'if', 2, conditions({ type: 'number', operation: 'gt', right: 100 }, '={{ $json.body.total }}')),
      node('Shape', 'set', 3.4, assignments(['who', 'any', '={{ $(\'Order in\').item.json.body["full name"] }}'])),
      node('Answer', 'respondToWebhook', 1.1, {
        respondWith: 'json',
        responseBody: '={"who": "{{ $json.who }}"}',
        options: { responseCode: 201, responseHeaders: { entries: [{ name: 'X-A', value: 'b' }] } },
      }),
      node('A note', 'stickyNote', 1, { content: 'Hello' }),
    ],
    connections: { 'Order in': to(['Large?']), 'Large?': to(['Shape'], []), Shape: to(['Answer']) },
  });
  expect(problems).toEqual([]);
  expect(name).toBe('Orders');
  const events = await run(definition, { method: 'POST', headers: {}, query: {}, params: {}, body: { total: 120, 'full name': 'Ada' } });
  expect(events.find(({ type }) => type === 'run.responded')?.payload).toMatchObject({
    status: 201,
    headers: { 'x-a': 'b', 'content-type': 'application/json; charset=utf-8' },
    body: { who: 'Ada' },
  });
  expect((await acme.user.query('select version from publish_workflow($1)', [id])).rows).toEqual([{ version: 1 }]);
});

test('names that become the same stay apart', async () => {
  const doc = line(node('A b', 'noOp', 1), node('A_b', 'noOp', 1), node('A-B', 'noOp', 1), node('A_b_2', 'noOp', 1), node('1', 'noOp', 1));
  const { definition } = await definitionOf(doc);
  expect(new Set(definition.nodes.map(({ id }) => id.toLowerCase())).size).toBe(6);
  expect(await codesOf(definition)).toEqual([]);
});

test('a node without a counterpart keeps the workflow from being published until it is replaced', async () => {
  const { id, definition } = await importDocument(line(node('Post', 'slack', 2.1, { text: 'Hi {{ name }}' }), node('Out', 'noOp', 1)));
  expect(find(definition, 'Post')).toMatchObject({
    type: 'unconverted',
    properties: { from: 'n8n-nodes-base.slack', typeVersion: 2.1, parameters: { text: 'Hi {{ name }}' } },
  });
  const publish = () => acme.user.query('select version from publish_workflow($1)', [id]);
  await expect(publish()).rejects.toMatchObject({ code: 'WF001', detail: expect.stringContaining('UNCONVERTED_NODE') });
  const nodes = definition.nodes.map((one) => (one.type === 'unconverted' ? { id: one.id, type: 'noOp' } : one));
  await acme.user.query('select save_workflow($1, $2, (select revision from workflows where id = $1))', [
    id,
    JSON.stringify({ ...definition, nodes }),
  ]);
  expect((await publish()).rows).toEqual([{ version: 1 }]);
});

test.each([
  ['no document', null],
  ['no nodes', { name: 'x' }],
  ['a list', []],
  ['too many nodes', { nodes: Array.from({ length: 501 }, () => ({})) }],
])('refuses %s', async (_case, doc) => {
  await expect(acme.user.query('select import_n8n_workflow($1)', [JSON.stringify(doc)])).rejects.toMatchObject({ code: 'WF001' });
});

test('of nonsense inside a document fails with nothing worse than problems', async () => {
  for (const nodes of [[1, 'x', null], [{ type: 3 }], [{ type: 'a', name: 5, parameters: 'x', position: 'y' }], [node('', 'noOp', 1)]]) {
    for (const connections of [null, 3, [], { i: 1 }, { i: { main: 'x' } }]) await importDocument({ nodes, connections });
  }
});
