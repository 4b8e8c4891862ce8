/** Numbers keep all their digits at every border of GraphQL; test/webhooks and test/nodes have those of webhooks and peers. */
import { createClient } from 'graphql-ws';
import { beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { exactNumber, parseJson } from '../../src/json/json.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { Driver } from '../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

const NUMBERS = ['9007199254740993', '123456789012345.678', '-0.12345678901234567890', '1.10', '12345678901234567890123'];
/** As PostgreSQL writes it. */
const VALUE = `{"list": [${NUMBERS.join(', ')}], "text": "1.10, 9007199254740993 "}`;
const LITERAL = VALUE.replaceAll(/"(list|text)":/g, '$1:');

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
let workflow: TestWorkflow;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  server = await serveGraphql(db);
  const wait = { id: 'wait', type: 'wait', properties: { signal: 'go' } };
  workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, wait, { id: 'end', type: 'noOp' }));
});

/** Asks with a body as it is, and answers with the text as it comes. */
async function ask(query: string, variables = '{}'): Promise<string> {
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${acme.token}` },
    body: `{"query": ${JSON.stringify(query)}, "variables": ${variables}}`,
  });
  return response.text();
}
const compact = (json: string) => json.replaceAll(/([:,]) (?=[["\-\d])/g, '$1').replaceAll('"1.10,9007', '"1.10, 9007');
const stored = async (text: string, values: unknown[] = []) => String((await db.admin.query(text, values)).rows[0]?.['value']);

const START =
  'mutation ($workflow: UUID!, $input: JSON, $metadata: JSON) { startWorkflowRun(input: {workflowId: $workflow, input: $input, metadata: $metadata}) { workflowRun { id input metadata } } }';

describe('numbers keep all their digits', () => {
  test('in variables, what is stored of them, and answers', async () => {
    const answer = await ask(START, `{"workflow": "${workflow.id}", "input": ${VALUE}, "metadata": ${VALUE}}`);
    expect(answer).toContain(`"input":${compact(VALUE)},"metadata":${compact(VALUE)}`);
    const { id } = JSON.parse(answer).data.startWorkflowRun.workflowRun;
    expect(await stored('select workflow_runs_input(r)::text as value from workflow_runs as r where id = $1', [id])).toBe(VALUE);
    expect(await stored('select metadata::text as value from workflow_runs where id = $1', [id])).toBe(VALUE);
    await ask(
      'mutation ($run: UUID!, $payload: JSON) { signalRun(input: {runId: $run, name: "go", payload: $payload}) { workflowRun { id } } }',
      `{"run": "${id}", "payload": ${VALUE}}`,
    );
    expect(await ask('query ($id: UUID!) { workflowRun(id: $id) { output } }', `{"id": "${id}"}`)).toContain(`"output":${compact(VALUE)}`);
  });

  test('in literals of the document, alone, in lists, and beside a variable', async () => {
    const value = async (literal: string, declared = '', variables = '{}') => {
      const answer = await ask(
        `mutation ${declared} { setVariable(input: {name: "exact", value: ${literal}}) { variable { value } } }`,
        variables,
      );
      return `${answer} stored ${await stored(`select value::text from variables where name = 'exact'`)}`;
    };
    for (const number of NUMBERS)
      expect(await value(number)).toBe(`{"data":{"setVariable":{"variable":{"value":${number}}}}} stored ${number}`);
    expect(await value(LITERAL)).toContain(`stored ${VALUE}`);
    expect(await value(LITERAL)).toContain(`"value":${compact(VALUE)}`);
    expect(await value('[[9007199254740993], {a: $x}]', '($x: JSON)', '{"x": 9007199254740995}')).toContain(
      'stored [[9007199254740993], {"a": 9007199254740995}]',
    );
    expect(await value('$x', '($x: JSON! = {a: 9007199254740993})')).toContain('stored {"a": 9007199254740993}');
  });

  test('in definitions, and in the events of a test of one', async () => {
    const definition = `{"nodes": [{"id": "start", "type": "apiTrigger"}, {"id": "t", "type": "transform", "properties": {"template": ${VALUE}}}], "connections": [{"source": "start", "target": "t"}]}`;
    const made = await ask(
      'mutation ($d: JSON!) { createWorkflow(input: {name: "exact", definition: $d}) { workflow { definition } } }',
      `{"d": ${definition}}`,
    );
    expect(made).toContain(`"template":${compact(VALUE)}`);
    const tried = await ask('query ($d: JSON!) { testWorkflow(definition: $d) { nodes { payload } } }', `{"d": ${definition}}`);
    expect(tried).toContain(`"output":${compact(VALUE)}`);
    const document =
      '{"name": "n8n", "nodes": [{"name": "Set", "type": "n8n-nodes-base.noOp", "parameters": {}}], "connections": {}, "meta": 9007199254740993}';
    expect(
      await ask('mutation ($d: JSON!) { importN8NWorkflow(input: {doc: $d}) { workflowImport { problems } } }', `{"d": ${document}}`),
    ).not.toContain('errors');
  });

  test('in subscriptions, from their variables to what they tell', async () => {
    const { rows } = await db.admin.query('select id from workflow_runs where workflow_id = $1 limit 1', [workflow.id]);
    const client = createClient({
      url: server.url.replace('http', 'ws'),
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: { authorization: `Bearer ${acme.token}` },
      jsonMessageReviver: exactNumber as (key: string, value: unknown) => unknown,
    });
    const told = async (query: string, variables: Record<string, unknown>) => {
      for await (const message of client.iterate({ query, variables })) return JSON.stringify(message);
      return undefined;
    };
    const run = rows[0]!['id'];
    expect(await told('subscription ($run: UUID!) { workflowRunEvents(runId: $run) { payload } }', { run })).toContain(
      `"input":${compact(VALUE)}`,
    );
    const set = 'mutation ($v: JSON!) { setVariable(input: {name: "ws", value: $v}) { variable { value } } }';
    expect(await told(set, { v: parseJson(VALUE) })).toContain(`"value":${compact(VALUE)}`);
    await client.dispose();
  });

  test('and other scalars take the numbers that they took before', async () => {
    const list = 'query ($first: Int, $used: BigInt) { entitlements(first: $first, filter: {used: {lessThan: $used}}) { nodes { used } } }';
    for (const used of ['9007199254740993', '"9007199254740993"']) {
      expect(await ask(list, `{"first": 1.0, "used": ${used}}`)).not.toContain('"errors"');
    }
    expect(await ask('query ($first: Int) { workflows(first: $first) { nodes { id } } }', '{"first": 9007199254740993}')).toContain(
      'INVALID_ARGUMENT',
    );
  });
});

describe('JSON that is too deep', () => {
  const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;

  test.each([65, 5_000, 30_000])('at %i levels is refused, in variables and literals', async (levels) => {
    const set = (value: string) =>
      ask('mutation ($v: JSON!) { setVariable(input: {name: "deep", value: $v}) { variable { value } } }', `{"v": ${value}}`);
    expect(await set(nested(levels))).toMatch(/TOO_LARGE|INVALID_ARGUMENT/);
    expect(await set(`[1.10, ${nested(levels)}]`)).toMatch(/TOO_LARGE|INVALID_ARGUMENT/);
    const literal = await ask(
      `mutation { setVariable(input: {name: "deep", value: ${nested(Math.min(levels, 1000))}}) { variable { value } } }`,
    );
    expect(literal).toMatch(/TOO_LARGE|INVALID_ARGUMENT/);
    expect(server.logged).toEqual([]);
  });

  test('is an error at its place when it was stored before, and the rest of the page is told', async () => {
    await new Driver(db).start(acme, workflow);
    const { rows } = await db.admin.query(
      `update workflow_runs set metadata = jsonb_build_object('a', $1::jsonb) where id = (select max(id::text)::uuid from workflow_runs) returning id`,
      [nested(3_000)],
    );
    const answer = JSON.parse(await ask('{ workflowRuns(first: 5, orderBy: ID_DESC) { nodes { id metadata } } }'));
    expect(answer.data.workflowRuns.nodes.length).toBeGreaterThan(1);
    expect(answer.data.workflowRuns.nodes[0]).toEqual({ id: rows[0]!['id'], metadata: null });
    expect(answer.errors).toMatchObject([{ path: ['workflowRuns', 'nodes', 0, 'metadata'], extensions: { code: 'TOO_LARGE' } }]);
  });
});
