/** How large a request may be, and what is answered at addresses that there are not. */
import { request } from 'node:http';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { LIMITS } from '../../src/graphql/limits.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  // A test sets the times of a run.
  db = await createTestDatabase({ unchecked: true });
  [acme, server] = [await createOrganization(db), await serveGraphql(db)];
});

const post = (token: string | null, body: unknown) =>
  fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
const codeOf = async (response: Response) =>
  ((await response.json()) as { errors?: { extensions: { code: string } }[] }).errors?.[0]?.extensions.code;
const pad = (bytes: number) => ({ query: '{ currentUser { id } }', variables: { pad: 'x'.repeat(bytes) } });

describe('a body', () => {
  test('may have a definition or an input of 1 MiB', async () => {
    const note = 'x'.repeat(1024 * 1024 - 1_000);
    const create = 'mutation ($d: JSON!) { createWorkflow(input: { name: "Large", definition: $d }) { workflow { id } } }';
    const created = await server.data(acme.token, create, { d: { nodes: [], connections: [], note } });
    expect(created.createWorkflow.workflow.id).toBeTruthy();
    const { id } = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
    const start = 'mutation ($w: UUID!, $i: JSON!) { startWorkflowRun(input: { workflowId: $w, input: $i }) { workflowRun { status } } }';
    const started = await server.data(acme.token, start, { w: id, i: { text: 'x'.repeat(1024 * 1024 - 1_000) } });
    expect(started.startWorkflowRun.workflowRun.status).toBe('success');
  });

  test('has 2 MiB with a valid token and 256 kB without one', async () => {
    expect((await post(acme.token, pad(LIMITS.maxTokenBodyBytes - 200))).status).toBe(200);
    for (const [token, bytes] of [
      [acme.token, LIMITS.maxTokenBodyBytes],
      [null, LIMITS.maxBodyBytes],
      ['fg_unknown', LIMITS.maxBodyBytes],
    ] as const) {
      const refused = await post(token, pad(bytes));
      expect([refused.status, await codeOf(refused)]).toEqual([413, 'TOO_LARGE']);
    }
    expect((await post(null, pad(LIMITS.maxBodyBytes - 200))).status).toBe(200);
  });

  test('keeps its numbers, however large it is', async () => {
    const create = 'mutation ($d: JSON!) { createWorkflow(input: { name: "Exact", definition: $d }) { workflow { definition } } }';
    const body = `{"query": ${JSON.stringify(create)}, "variables": {"d": {"n": 9007199254740993, "note": "${'x'.repeat(300_000)}"}}}`;
    const response = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${acme.token}` },
      body,
    });
    expect(await response.text()).toContain('9007199254740993');
  });

  test('has a document of 256 kB at most', async () => {
    const refused = await post(acme.token, { query: `{ currentUser { id } } # ${'x'.repeat(LIMITS.maxDocumentBytes)}` });
    expect([refused.status, await codeOf(refused)]).toEqual([413, 'TOO_LARGE']);
  });

  test('counts as one request for every 256 kB', async () => {
    const limited = await serveGraphql(db, { rates: { token: { perSecond: 0.01, burst: 7 }, anonymous: null } });
    onTestFinished(() => limited.close());
    const large = { text: 'x'.repeat(LIMITS.maxTokenBodyBytes - 200) };
    expect((await limited.query(acme.token, '{ currentUser { id } }')).status).toBe(200);
    expect((await limited.query(acme.token, '{ currentUser { id } }', large)).status).toBe(429);
  });
});

test('another address is answered 404 in JSON', async () => {
  const { origin } = new URL(server.url);
  for (const [path, method] of [
    ['/nowhere', 'GET'],
    ['/graphql/x', 'POST'],
    ['/ruru-static/nowhere.js', 'GET'],
  ] as const) {
    const response = await fetch(`${origin}${path}`, { method });
    expect([path, response.status, response.headers.get('content-type')]).toEqual([path, 404, 'application/json; charset=utf-8']);
    expect(await response.json()).toMatchObject({ error: { code: 'NOT_FOUND', message: expect.any(String), hint: expect.any(String) } });
  }
  const raw = await new Promise<number | undefined>((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    request({ hostname, port, path: '//nowhere', method: 'HEAD' }, ({ statusCode }) => resolve(statusCode))
      .on('error', reject)
      .end();
  });
  expect(raw).toBe(404);
});

test('the duration of a run is a whole number of milliseconds', async () => {
  const { id } = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
  const { rows } = await acme.user.query<{ id: string }>('select id from start_workflow_run($1)', [id]);
  await db.admin.query(
    `update workflow_runs set started_at = '2026-01-01 00:00:00.000123Z', finished_at = '2026-01-01 00:00:01.234567Z' where id = $1`,
    [rows[0]!.id],
  );
  const { workflowRun } = await server.data(acme.token, 'query ($id: UUID!) { workflowRun(id: $id) { durationMs } }', { id: rows[0]!.id });
  expect(workflowRun.durationMs).toBe(1234);
});
