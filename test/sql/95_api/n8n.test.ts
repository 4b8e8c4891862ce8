import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

interface Imported {
  definition: { nodes: Record<string, unknown>[]; connections: Record<string, unknown>[] };
  problems: { pointer: string; message: string }[];
  name: string;
  id: string;
}

async function importDocument(doc: unknown): Promise<Imported> {
  const { rows: imports } = await acme.user.query<{ workflow_id: string; problems: Imported['problems'] }>(
    'select * from import_n8n_workflow($1)',
    [JSON.stringify(doc)],
  );
  const { workflow_id: id, problems } = imports[0]!;
  const { rows } = await acme.user.query<{ name: string; definition: Imported['definition'] }>(
    'select name, definition from workflows where id = $1',
    [id],
  );
  return { id, problems, ...rows[0]! };
}

const node = (name: string, type: string, parameters: unknown = {}, more: object = {}) => ({
  id: crypto.randomUUID(),
  name,
  type: `n8n-nodes-base.${type}`,
  typeVersion: 1,
  position: [240, 300],
  parameters,
  ...more,
});
const to = (...outputs: string[][]) => ({
  main: outputs.map((targets) => targets.map((target) => ({ node: target, type: 'main', index: 0 }))),
});

const ORDERS = {
  name: 'Orders',
  nodes: [
    node('Order in', 'webhook', { path: 'orders', httpMethod: 'POST', responseMode: 'responseNode' }),
    node('Large?', 'if', {
      conditions: {
        combinator: 'and',
        conditions: [
          { leftValue: '={{ $json.body.total }}', rightValue: 100, operator: { type: 'number', operation: 'gt' } },
          { leftValue: '={{ $json.body.country }}', rightValue: 'DE', operator: { type: 'string', operation: 'equals' } },
        ],
      },
    }),
    node('Edit Fields', 'set', {
      assignments: {
        assignments: [{ id: '1', name: 'customer', value: '={{ $(\'Order in\').item.json.body["full name"] }}', type: 'string' }],
      },
    }),
    node('Tell them', 'httpRequest', {
      method: 'POST',
      url: '=https://api.example.com/orders/{{ $json.customer }}',
      sendBody: true,
      bodyParameters: { parameters: [{ name: 'who', value: '={{ $json.customer }}' }] },
    }),
    node('Answer', 'respondToWebhook', { respondWith: 'json', responseBody: '={{ $json }}', options: { responseCode: 201 } }),
    node('Small', 'noOp'),
    node('A note', 'stickyNote', { content: 'Hello' }),
  ],
  connections: {
    'Order in': to(['Large?']),
    'Large?': to(['Edit Fields'], ['Small']),
    'Edit Fields': to(['Tell them']),
    'Tell them': to(['Answer']),
  },
};

describe('import_n8n_workflow', () => {
  test('takes over nodes, connections and the expressions that are paths', async () => {
    const { definition, problems, name, id } = await importDocument(ORDERS);
    expect(problems).toEqual([]);
    expect(name).toBe('Orders');
    expect(definition.nodes).toMatchObject([
      {
        id: 'Order_in',
        type: 'webhookTrigger',
        properties: { path: '/orders', method: 'POST', respond: 'respondNode' },
        position: { x: 240, y: 300 },
      },
      { id: 'Large_', type: 'if', properties: { when: '$.input.body.total > 100 && $.input.body.country == "DE"' } },
      { id: 'Edit_Fields', type: 'set', properties: { pick: [], assign: { customer: '{{ $.input.body."full name" }}' } } },
      {
        id: 'Tell_them',
        type: 'httpRequest',
        properties: { method: 'POST', url: 'https://api.example.com/orders/{{ $.prev.customer }}', body: { who: '{{ $.prev.customer }}' } },
      },
      { id: 'Answer', type: 'respondToWebhook', properties: { status: 201, body: '{{ $.prev }}' } },
      { id: 'Small', type: 'noOp' },
    ]);
    expect(definition.connections).toEqual(
      expect.arrayContaining([
        { source: 'Large_', sourceOutput: 'true', target: 'Edit_Fields', targetInput: 'main' },
        { source: 'Large_', sourceOutput: 'false', target: 'Small', targetInput: 'main' },
      ]),
    );
    expect((await acme.user.query('select version from publish_workflow($1)', [id])).rows).toEqual([{ version: 1 }]);
  });

  test('says what it could not take over, and keeps the graph whole', async () => {
    const { definition, problems } = await importDocument({
      nodes: [
        node('Start', 'manualTrigger'),
        node('Post', 'slack', { text: 'Hi' }),
        node('Shape', 'set', { values: { string: [{ name: 'at', value: '={{ new Date().toISOString() }}' }] } }),
        node('Call', 'httpRequest', { url: 'https://example.com' }, { credentials: { httpBasicAuth: { id: '1' } } }),
        node('Start', 'noOp'),
      ],
      connections: { Start: to(['Post']), Post: to(['Shape', 'Call']) },
    });
    expect(problems).toEqual([
      { pointer: '/nodes/1', message: expect.stringContaining('n8n-nodes-base.slack') },
      { pointer: '/nodes/2/parameters', message: expect.stringContaining('new Date()') },
      { pointer: '/nodes/3/credentials', message: expect.stringContaining('credentials') },
    ]);
    expect(definition.nodes[1]).toMatchObject({ id: 'Post', type: 'noOp', disabled: true, name: 'Post' });
    expect(definition.nodes[4]).toMatchObject({ id: 'Start_4', type: 'noOp' });
  });

  test.each([
    [{ field: 'cronExpression', expression: '0 9 * * 1-5' }, '0 9 * * 1-5'],
    [{ field: 'minutes', minutesInterval: 15 }, '*/15 * * * *'],
    [{ field: 'hours', hoursInterval: 2, triggerAtMinute: 30 }, '30 */2 * * *'],
    [{ field: 'days', triggerAtHour: 6 }, '0 6 * * *'],
    [{ field: 'weeks', triggerAtHour: 6, triggerAtDay: [1, 3] }, '0 6 * * 1,3'],
  ])('a schedule of %j is the cron expression %s', async (interval, cron) => {
    const { definition } = await importDocument({
      nodes: [node('Clock', 'scheduleTrigger', { rule: { interval: [interval] } })],
      connections: {},
    });
    expect(definition.nodes[0]).toMatchObject({ type: 'scheduleTrigger', properties: { cron } });
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
    for (const nodes of [
      [1, 'x', null],
      [{ type: 3 }],
      [{ type: 'a', name: 5, parameters: 'x', position: 'y' }],
      [{ type: 'n8n-nodes-base.if', name: 'i', parameters: { conditions: 3 } }],
    ]) {
      for (const connections of [null, 3, [], { i: 1 }, { i: { main: 'x' } }]) await importDocument({ nodes, connections });
    }
  });
});
