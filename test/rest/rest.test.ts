/** REST over HTTP: operations, their limits and errors, the documents that describe them, and streams of events. */
import { readFile } from 'node:fs/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { beforeAll, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/constants.ts';
import { ROUTES } from '../../src/rest/routes.ts';
import { errorAnswer } from '../../src/rest/schemas.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let other: TestOrganization;
let server: TestServer;
let origin: string;
let pure: TestWorkflow;
let signaled: TestWorkflow;
const start = { id: 'start', type: 'apiTrigger' };

beforeAll(async () => {
  db = await createTestDatabase();
  [acme, other] = await Promise.all([createOrganization(db), createOrganization(db, 'Other')]);
  server = await serveGraphql(db, { accessLogSample: 1 });
  origin = server.url.replace('/graphql', '');
  pure = await publishWorkflow(acme, chain(start, { id: 'end', type: 'noOp' }), 'Pure');
  signaled = await publishWorkflow(acme, chain(start, { id: 'paid', type: 'wait', properties: { signal: 'paid' } }), 'Signaled');
});

interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test asserts on the shape that it asked for
  body: any;
}
interface Options {
  token?: string | null;
  body?: unknown;
  headers?: Record<string, string>;
}

/** Sends a request; an answer that is not of the shape in the OpenAPI document fails the test. */
async function call(method: string, path: string, { token = acme.token, body, headers = {} }: Options = {}): Promise<Answer> {
  const response = await fetch(`${origin}${path}`, {
    method,
    headers: {
      ...(token ? { authorization: `Bearer ${token}` } : {}),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const parsed = text ? JSON.parse(text) : undefined;
  const route = ROUTES.find(
    (each) => each.method === method && new RegExp(`^${each.path.replaceAll(/\{\w+\}/g, '[^/]+')}(\\?|$)`).test(path),
  );
  if (response.status >= 400) errorAnswer.parse(parsed);
  else if (route) route.answer.parse(parsed);
  return { status: response.status, headers: response.headers, text, body: parsed };
}
const startRun = (workflow: TestWorkflow, options: Options = {}) => call('POST', `/api/v1/workflows/${workflow.id}/runs`, options);
const tokenWith = async (scopes: string[]): Promise<string> =>
  (await acme.user.query<{ secret: string }>('select (create_api_token($1, $2)).secret', ['limited', scopes])).rows[0]!.secret;

describe('runs', () => {
  test('a start answers with the run, and the same key with the same run', async () => {
    const options = { body: { input: { n: 7 }, metadata: { customer: 42 } }, headers: { 'idempotency-key': 'order-17' } };
    const first = await startRun(pure, options);
    expect(first).toMatchObject({
      status: 201,
      body: { status: 'success', output: { n: 7 }, workflow: 'Pure', mode: 'api', metadata: { customer: 42 } },
    });
    expect(first.headers.get('location')).toBe(`/api/v1/runs/${first.body.id}`);
    expect((await startRun(pure, options)).body.id).toBe(first.body.id);
    expect(await startRun(pure, { ...options, body: { input: { n: 8 } } })).toMatchObject({
      status: 409,
      body: { error: { code: 'CONFLICT' } },
    });
    expect(await call('GET', first.headers.get('location')!)).toMatchObject({ status: 200, body: first.body });
  });

  test('a start needs no body, and numbers keep their digits', async () => {
    expect(await startRun(pure)).toMatchObject({ status: 201, body: { output: {} } });
    const { text } = await startRun(pure, { body: '{"input": {"price": 1.50, "id": 12345678901234567890}}' });
    expect(text).toContain('"price": 1.50');
    expect(text).toContain('12345678901234567890');
  });

  test('lists are filtered and paged, the newest first', async () => {
    const workflow = await publishWorkflow(acme, chain(start), 'Listed');
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1) ids.unshift((await startRun(workflow)).body.id);
    const list = async (query: string) =>
      (await call('GET', `/api/v1/runs?workflowId=${workflow.id}&${query}`)).body.runs.map(({ id }: { id: string }) => id);
    expect(await list('limit=2')).toEqual(ids.slice(0, 2));
    expect(await list(`before=${ids[1]}`)).toEqual(ids.slice(2));
    expect(await list('status=error')).toEqual([]);
    const { body } = await call('GET', '/api/v1/workflows?name=Listed');
    expect(body.workflows).toMatchObject([{ id: workflow.id, publishedVersion: 1, tags: [] }]);
    expect((await call('GET', '/api/v1/workflows?after=Listed&limit=1')).body.workflows).toMatchObject([{ name: 'Pure' }]);
  });

  test('signal, approve and cancel do what the functions of the same name do', async () => {
    const approved = await publishWorkflow(acme, chain(start, { id: 'check', type: 'wait', properties: { approval: {} } }), 'Approved');
    const waiting = (await startRun(signaled)).body;
    expect(waiting).toMatchObject({ status: 'waiting', output: null });
    const signal = { name: 'paid', payload: { amount: 120 } };
    expect(await call('POST', `/api/v1/runs/${waiting.id}/signal`, { body: signal })).toMatchObject({
      status: 200,
      body: { status: 'success', output: { amount: 120 } },
    });
    expect(await call('POST', `/api/v1/runs/${waiting.id}/signal`, { body: signal })).toMatchObject({
      status: 409,
      body: { error: { code: 'RUN_FINISHED' } },
    });
    const second = (await startRun(approved)).body.id;
    const decision = { node: 'check', approved: true, comment: 'fine' };
    expect(await call('POST', `/api/v1/runs/${second}/approve`, { body: decision })).toMatchObject({
      status: 200,
      body: { status: 'success' },
    });
    const third = (await startRun(signaled)).body.id;
    expect(await call('POST', `/api/v1/runs/${third}/cancel`, { body: { reason: 'enough' } })).toMatchObject({
      body: { status: 'canceled' },
    });
    expect(await call('POST', `/api/v1/runs/${third}/cancel`)).toMatchObject({ status: 200, body: { status: 'canceled' } });
  });

  test('events and log lines come in pages that say whether more can follow', async () => {
    const logging = await publishWorkflow(
      acme,
      chain(start, { id: 'note', type: 'log', properties: { message: 'Hello {{ $.prev.name }}' } }),
      'Logging',
    );
    const { id } = (await startRun(logging, { body: { input: { name: 'Ada' } } })).body;
    const all = (await call('GET', `/api/v1/runs/${id}/events`)).body;
    expect(all.events[0]).toMatchObject({ seq: 1, type: 'run.created', payload: { input: { name: 'Ada' } } });
    const page = (await call('GET', `/api/v1/runs/${id}/events?after=1&limit=1`)).body;
    expect(page).toEqual({ events: [all.events[1]], isFinished: all.isFinished });
    expect((await call('GET', `/api/v1/runs/${id}/logs`)).body).toMatchObject({ logs: expect.any(Array) });
  });
});

describe('workflows from documents', () => {
  const documents = [{ name: 'Deployed', definition: chain(start) }];

  test('plan, apply and export fit together', async () => {
    const body = { documents, variables: { rate: 0.19 }, project: 'rest' };
    expect((await call('POST', '/api/v1/documents/plan', { body })).body.changes).toMatchObject([
      { kind: 'variable', name: 'rate', action: 'create' },
      { kind: 'workflow', name: 'Deployed', action: 'create', workflowId: null },
    ]);
    const applied = await call('POST', '/api/v1/documents/apply', { body });
    expect(applied.body.changes[1]).toMatchObject({ action: 'create', version: 1 });
    const exported = (await call('GET', '/api/v1/documents?project=rest')).body;
    expect(exported).toMatchObject({ documents, variables: { rate: 0.19 } });
    const again = await call('POST', '/api/v1/documents/apply', { body: { ...exported, project: 'rest' } });
    expect(again.body.changes.every(({ action }: { action: string }) => action === 'unchanged')).toBe(true);
  });

  test('a definition is tested without being stored', async () => {
    const definition = chain(start, { id: 'double', type: 'transform', properties: { path: '$.prev.n * 2' } });
    const { body } = await call('POST', '/api/v1/tests', { body: { definition, input: { n: 4 } } });
    expect(body.events.at(-1)).toMatchObject({ type: 'run.succeeded', payload: { output: 8 } });
  });
});

describe('refusals', () => {
  const runs = () => `/api/v1/workflows/${pure.id}/runs`;

  test.each([
    ['no token', 401, 'UNAUTHENTICATED', () => call('GET', '/api/v1/runs', { token: null })],
    ['a wrong token', 401, 'UNAUTHENTICATED', () => call('GET', '/api/v1/runs', { token: 'nobody' })],
    ['another organization', 404, 'NOT_FOUND', () => call('POST', runs(), { token: other.token })],
    ['an id that is none', 400, 'INVALID_ARGUMENT', () => call('GET', '/api/v1/runs/17')],
    ['an unknown address', 404, 'NOT_FOUND', () => call('GET', '/api/v1/nothing')],
    ['another method', 405, 'METHOD_NOT_ALLOWED', () => call('DELETE', '/api/v1/runs')],
    ['a body that is no JSON', 400, 'INVALID_JSON', () => call('POST', runs(), { body: '{' })],
    [
      'a body of a form',
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      () => call('POST', runs(), { body: 'a=1', headers: { 'content-type': 'text/plain' } }),
    ],
    ['an unknown field', 400, 'INVALID_ARGUMENT', () => call('POST', runs(), { body: { inputs: {} } })],
    ['an unknown status', 400, 'INVALID_ARGUMENT', () => call('GET', '/api/v1/runs?status=done')],
    ['a parameter twice', 400, 'INVALID_ARGUMENT', () => call('GET', '/api/v1/runs?limit=1&limit=2')],
    ['a page too large', 400, 'INVALID_ARGUMENT', () => call('GET', '/api/v1/runs?limit=201')],
    ['a body too large', 413, 'TOO_LARGE', () => call('POST', runs(), { body: { input: 'x'.repeat(LIMITS.graphql.maxTokenBodyBytes) } })],
    ['an input too large', 413, 'TOO_LARGE', () => call('POST', runs(), { body: { input: 'x'.repeat(2 ** 20) } })],
    ['a token in the address', 400, 'INVALID_ARGUMENT', () => call('GET', '/api/v1/runs?token=x')],
    ['an unknown signal field', 400, 'INVALID_ARGUMENT', () => call('POST', `/api/v1/runs/${pure.id}/signal`, { body: {} })],
  ])('%s: %i %s', async (_, status, code, send) => {
    const answer = await send();
    expect(answer).toMatchObject({ status, body: { error: { code, message: expect.any(String) } } });
    if (status === 401) expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    if (status === 405) expect(answer.headers.get('allow')).toBe('GET');
  });

  test('each operation asks for the scope that its description names', async () => {
    const bodies: Record<string, unknown> = {
      startRun: {},
      signalRun: { name: 'x' },
      approveStep: { node: 'x' },
      planDocuments: { documents: [] },
      applyDocuments: { documents: [] },
      testWorkflow: { definition: {} },
    };
    const run = (await startRun(signaled)).body.id;
    for (const route of ROUTES) {
      const others = ['organization:write', route.scope.startsWith('runs') ? 'workflows:write' : 'runs:write'];
      const path = route.path.replace('{runId}', run).replace('{workflowId}', signaled.id);
      const body = route.method === 'POST' ? { body: bodies[route.operationId] ?? {} } : {};
      const answer = await call(route.method, path, { token: await tokenWith(others), ...body });
      expect.soft(answer, route.operationId).toMatchObject({ status: 403, body: { error: { details: { scope: route.scope } } } });
    }
  });

  test('requests count against the rate of their token', async () => {
    const limited = await serveGraphql(db, { rates: { token: { perSecond: 0.01, burst: 2 }, anonymous: null } });
    const send = () => fetch(limited.url.replace('graphql', 'api/v1/workflows'), { headers: { authorization: `Bearer ${other.token}` } });
    expect([(await send()).status, (await send()).status]).toEqual([200, 200]);
    const refused = await send();
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([429, true]);
    await limited.close();
  });

  test('requests are in the access log, with their operation and error', async () => {
    await call('GET', '/api/v1/runs/17', { headers: { 'x-request-id': 'c0ffee00-0000-4000-8000-000000000001' } });
    await expect
      .poll(
        async () =>
          (
            await db.admin.query(
              `select operation, status, error_code from api_access_log where error_code = 'INVALID_ARGUMENT' and operation = 'readRun'`,
            )
          ).rows,
      )
      .toContainEqual({ operation: 'readRun', status: 400, error_code: 'INVALID_ARGUMENT' });
  });
});

describe('descriptions', () => {
  const validity = async (document: Record<string, unknown>) => {
    const { valid, errors } = await new Validator().validate(document);
    return valid || errors;
  };

  test('the OpenAPI document is valid and has every route', async () => {
    const { body } = await call('GET', '/openapi.json', { token: null });
    expect(await validity(structuredClone(body))).toBe(true);
    expect(body.openapi).toBe('3.1.0');
    const operations = Object.values(body.paths as Record<string, Record<string, { operationId: string }>>).flatMap(Object.values);
    expect(operations.map(({ operationId }) => operationId).sort()).toEqual(ROUTES.map(({ operationId }) => operationId).sort());
  });

  test('the page of REST has every operation with its scope, and no other', async () => {
    const page = await readFile(new URL('../../docs/reference/http.md', import.meta.url), 'utf8');
    const listed = [...page.matchAll(/^\| `((?:GET|POST) \S+)` \|.*\| `(\S+)` \|$/gm)].map(
      ([, operation, scope]) => `${operation} ${scope}`,
    );
    expect(listed).toEqual(ROUTES.map(({ method, path, scope }) => `${method} ${path} ${scope}`));
  });

  test('a workflow has a document of its own, with the schema of its input', async () => {
    const input = { type: 'object', required: ['total'], properties: { total: { type: 'number' } } };
    const checked = await publishWorkflow(acme, chain({ id: 'in', type: 'subworkflowTrigger', properties: { input } }), 'Checked');
    const { body } = await call('GET', `/api/v1/workflows/${checked.id}/openapi.json`);
    expect(await validity(structuredClone(body))).toBe(true);
    const operation = body.paths[`/api/v1/workflows/${checked.id}/runs`].post;
    expect(operation.requestBody).toMatchObject({ required: true, content: { 'application/json': { schema: { properties: { input } } } } });
    expect(await startRun(checked, { body: { input: { total: 'x' } } })).toMatchObject({
      status: expect.toSatisfy((each) => each === 400 || each === 201),
    });
    expect((await call('GET', `/api/v1/workflows/${checked.id}/openapi.json`, { token: other.token })).status).toBe(404);
  });

  test('the schema of workflow files is for everybody, from any page', async () => {
    const response = await fetch(`${origin}/schema/workflow.json`);
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, '*']);
    const { rows } = await db.admin.query('select workflow_schema() as schema');
    expect(await response.json()).toEqual(rows[0].schema);
  });
});

describe('streams of events', () => {
  interface Stream {
    status: number;
    messages: EventSourceMessage[];
    ended: Promise<void>;
    stop(): void;
  }
  async function open(run: string, headers: Record<string, string> = {}, query = ''): Promise<Stream> {
    const gone = new AbortController();
    const response = await fetch(`${origin}/api/v1/runs/${run}/events${query}`, {
      headers: { accept: 'text/event-stream', authorization: `Bearer ${acme.token}`, ...headers },
      signal: gone.signal,
    });
    const messages: EventSourceMessage[] = [];
    const parser = createParser({ onEvent: (message) => void messages.push(message) });
    const read = async () => {
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }));
    };
    const ended = read().catch((error: unknown) => {
      if (!gone.signal.aborted) throw error;
    });
    return { status: response.status, messages, ended, stop: () => gone.abort() };
  }

  test('a stream sends what was and what comes, once and in order, and ends with the run', async () => {
    const { id } = (await startRun(signaled)).body;
    const stream = await open(id);
    await expect.poll(() => stream.messages.map(({ event }) => event)).toEqual(['run.created', 'step.succeeded', 'step.waiting']);
    await call('POST', `/api/v1/runs/${id}/signal`, { body: { name: 'paid', payload: 1.5 } });
    await stream.ended;
    const { events } = (await call('GET', `/api/v1/runs/${id}/events`)).body;
    expect(stream.messages.map(({ data }) => JSON.parse(data))).toEqual(events);
    expect(stream.messages.map((message) => Number(message.id))).toEqual(events.map(({ seq }: { seq: number }) => seq));

    const rest = await open(id, { 'last-event-id': '3' });
    await rest.ended;
    expect(rest.messages.map((message) => message.id)).toEqual(events.slice(3).map(({ seq }: { seq: number }) => String(seq)));
    const last = events.at(-1).seq;
    expect((await open(id, { 'last-event-id': String(last) })).status).toBe(204);
    expect((await open(id, {}, `?after=${last}`)).status).toBe(204);
  });

  test('a stream needs the same rights as a page', async () => {
    const { id } = (await startRun(signaled)).body;
    expect((await open(id, { authorization: `Bearer ${other.token}` })).status).toBe(404);
    expect((await open(id, { authorization: `Bearer ${await tokenWith(['workflows:read'])}` })).status).toBe(403);
    expect((await open(id, { 'last-event-id': 'x' })).status).toBe(400);
  });

  test('a token has a number of streams, and one that ends makes room for another', async () => {
    const { id } = (await startRun(signaled)).body;
    const streams = await Promise.all(Array.from({ length: LIMITS.httpApi.streams }, () => open(id)));
    expect(streams.every(({ status }) => status === 200)).toBe(true);
    expect((await open(id)).status).toBe(429);
    streams.pop()!.stop();
    await expect
      .poll(async () => {
        const next = await open(id);
        streams.push(next);
        return next.status;
      })
      .toBe(200);
    for (const each of streams) each.stop();
  });

  test('a stream ends when the server closes', async () => {
    const closing = await serveGraphql(db);
    const { id } = (await startRun(signaled)).body;
    const response = await fetch(closing.url.replace('graphql', `api/v1/runs/${id}/events`), {
      headers: { accept: 'text/event-stream', authorization: `Bearer ${acme.token}` },
    });
    const reading = response.text();
    await closing.close();
    expect(await reading).toContain('event: run.created');
  });
});
