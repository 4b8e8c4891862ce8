/** Import from n8n: each node type, its parameters and its attempts. */
import { expect, test } from 'vitest';
import { assignments, line, node } from './documents.ts';
import { codesOf, definitionOf, find, run, useImporter } from './importer.ts';

useImporter();

test.each([
  [{ respondWith: 'noData' }, { status: 200, body: '' }],
  [
    { respondWith: 'redirect', redirectURL: 'https://x.example' },
    { status: 307, body: '', headers: { location: 'https://x.example' } },
  ],
  [
    { respondWith: 'text', responseBody: '={{ $json.a }}!' },
    { status: 200, body: 'x!', headers: { 'content-type': 'text/html; charset=utf-8' } },
  ],
  [{}, { status: 200, body: { a: 'x' } }],
  [{ respondWith: 'allIncomingItems' }, { status: 200, body: [{ a: 'x' }] }],
])('an answer %j', async (parameters, answer) => {
  const { definition, problems } = await definitionOf(line(node('Out', 'respondToWebhook', 1.1, parameters)));
  expect(problems).toEqual([]);
  expect((await run(definition, { a: 'x' })).find(({ type }) => type === 'run.responded')?.payload).toMatchObject(answer);
});

test.each([
  [
    4.2,
    { method: 'POST', sendBody: true, bodyParameters: { parameters: [{ name: 'a', value: '={{ $json.a }}' }] } },
    { method: 'POST', body: { a: '{{ $.prev.a }}' } },
  ],
  [4.2, { method: 'POST', sendBody: true, specifyBody: 'json', jsonBody: '={{ $json }}' }, { body: '{{ $.prev }}' }],
  [4.2, { method: 'POST', sendBody: true, specifyBody: 'json', jsonBody: '{"a": [1]}' }, { body: { a: [1] } }],
  [
    4.2,
    { method: 'POST', sendBody: true, contentType: 'raw', body: 'a', rawContentType: 'text/csv' },
    { body: 'a', bodyType: 'raw', headers: { 'content-type': 'text/csv' } },
  ],
  [
    4.2,
    { method: 'POST', sendBody: true, contentType: 'form-urlencoded', bodyParameters: { parameters: [{ name: 'a', value: 'x' }] } },
    { body: { a: 'x' }, bodyType: 'form' },
  ],
  [
    4.2,
    {
      sendHeaders: true,
      specifyHeaders: 'json',
      jsonHeaders: '{"X-A": "b"}',
      sendQuery: true,
      specifyQuery: 'json',
      jsonQuery: '={"q": "{{ $json.q }}"}',
    },
    { headers: { 'X-A': 'b' }, query: { q: '{{ $.prev.q | join("") | default("") }}' } },
  ],
  [
    2,
    {
      requestMethod: 'PUT',
      bodyParametersUi: { parameter: [{ name: 'a', value: 'x' }] },
      headerParametersUi: { parameter: [{ name: 'X-A', value: 'b' }] },
      queryParametersUi: { parameter: [{ name: 'q', value: '1' }] },
    },
    { method: 'PUT', body: { a: 'x' }, headers: { 'X-A': 'b' }, query: { q: '1' } },
  ],
  [1, { requestMethod: 'POST', jsonParameters: true, bodyParametersJson: '{"a": 1}' }, { method: 'POST', body: { a: 1 } }],
])('an HTTP Request %s of %j', async (version, parameters, properties) => {
  const { definition, problems } = await definitionOf(
    line(node('Call', 'httpRequest', version, { url: 'https://api.example', ...parameters })),
  );
  expect(problems).toEqual([]);
  expect(find(definition, 'Call')).toMatchObject({ properties, retry: { maxAttempts: 1 }, timeoutMs: 300_000 });
  expect(find(definition, 'Call_item').properties).toEqual({ path: '$.prev.body' });
  expect(await codesOf(definition)).toEqual([]);
});

test('attempts, pauses, time limits and what follows a request', async () => {
  const { definition } = await definitionOf(
    line(
      node(
        'Call',
        'httpRequest',
        4,
        { url: 'https://x.example', options: { timeout: 5000 } },
        { retryOnFail: true, maxTries: 9, onError: 'continueErrorOutput' },
      ),
      node('Out', 'set', 3.4, assignments(['v', 'any', '={{ $json.id }}'], ['w', 'any', '={{ $("Call").item.json.id }}'])),
    ),
  );
  expect(find(definition, 'Call')).toMatchObject({
    timeoutMs: 5000,
    retry: { maxAttempts: 5, backoff: 'fixed', initialMs: 1000, maxMs: 1000, jitter: false },
    onError: 'errorOutput',
  });
  expect(find(definition, 'Out').properties).toMatchObject({ assign: { v: '{{ $.prev.id }}', w: '{{ $.nodes.Call_item.id }}' } });
  expect(await codesOf(definition)).toEqual([]);
});

test.each([
  [{ field: 'cronExpression', expression: '0 9 * * 1-5' }, { cron: '0 9 * * 1-5' }],
  [{ field: 'cronExpression', expression: '0 0 9 * * *' }, { cron: '0 9 * * *' }],
  [{ field: 'seconds', secondsInterval: 20 }, { every: { n: 20, unit: 'seconds' } }],
  [{ field: 'minutes', minutesInterval: 15 }, { cron: '*/15 * * * *' }],
  [{ field: 'hours', hoursInterval: 2, triggerAtMinute: 30 }, { cron: '30 */2 * * *' }],
  [{ field: 'days', triggerAtHour: 6 }, { cron: '0 6 * * *' }],
  [{ field: 'weeks', triggerAtHour: 6, triggerAtDay: [1, 3] }, { cron: '0 6 * * 1,3' }],
  [{ field: 'months', triggerAtDayOfMonth: 15 }, { cron: '0 0 15 * *' }],
])('a schedule of %j', async (interval, properties) => {
  const { definition, problems } = await definitionOf({
    nodes: [node('Clock', 'scheduleTrigger', 1.2, { rule: { interval: [interval] } })],
    connections: {},
    settings: { timezone: 'America/New_York', executionTimeout: 60, executionOrder: 'v1' },
  });
  expect(problems).toEqual([]);
  expect(definition).toMatchObject({
    nodes: [{ type: 'scheduleTrigger', properties: { ...properties, timezone: 'America/New_York' } }],
    settings: { timezone: 'America/New_York', deadlineMs: 60_000 },
  });
  expect(await codesOf(definition)).toEqual([]);
});

test.each([
  [{ mode: 'everyWeek', hour: 9, minute: 30, weekday: '5' }, '30 9 * * 5'],
  [{ mode: 'everyX', value: 10, unit: 'minutes' }, '*/10 * * * *'],
  [{}, '0 14 * * *'],
])('an old Cron node of %j', async (item, cron) => {
  const doc = { nodes: [node('Clock', 'cron', 1, { triggerTimes: { item: [item] } })], connections: {}, settings: { timezone: 'UTC' } };
  expect((await definitionOf(doc)).definition.nodes[0]).toMatchObject({ properties: { cron } });
});

test.each([
  ['wait', 1.1, { amount: 2, unit: 'minutes' }, { seconds: 120 }],
  ['wait', 1, {}, { seconds: 3600 }],
  ['stopAndError', 1, { errorMessage: '=No {{ $json.sku }}' }, { message: 'No {{ $.prev.sku }}' }],
])('%s %s of %j', async (type, version, parameters, properties) => {
  const { definition, problems } = await definitionOf(line(node('It', type, version, parameters)));
  expect(problems).toEqual([]);
  expect(find(definition, 'It')).toMatchObject({ type, properties });
  expect(await codesOf(definition)).toEqual([]);
});

test.each([
  [{}, { mode: 'append' }],
  [
    { mode: 'combine', combineBy: 'combineByPosition' },
    { mode: 'position', join: 'inner' },
  ],
  [
    { mode: 'combine', fieldsToMatchString: 'k', joinMode: 'enrichInput1' },
    { mode: 'fields', by: 'k', bySecond: 'k', join: 'left' },
  ],
])('a merge of %j', async (parameters, properties) => {
  const { definition, problems } = await definitionOf({
    nodes: [...line().nodes, node('Both', 'merge', 3, parameters)],
    connections: {
      In: {
        main: [
          [
            { node: 'Both', type: 'main', index: 0 },
            { node: 'Both', type: 'main', index: 1 },
          ],
        ],
      },
    },
  });
  expect(problems).toEqual([]);
  expect(find(definition, 'Both')).toMatchObject({ type: 'merge', properties });
  expect(definition.connections.map(({ targetInput }) => targetInput).sort()).toEqual(['main', 'second']);
});
