import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { callerOf } from '../../src/http/client.ts';
import { Operations } from '../../src/graphql/persisted_operations.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let server: TestServer;
beforeAll(async () => {
  db = await createTestDatabase();
  globex = await createOrganization(db, 'Globex');
  [acme, server] = [await createOrganization(db), await serveGraphql(db, { corsOrigins: ['https://app.example.com'] })];
});

const ME = '{ currentOrganization { id } }';

async function send(target: TestServer, body: unknown, headers: Record<string, string> = {}, method = 'POST') {
  const response = await fetch(target.url, {
    method,
    headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
    ...(method === 'POST' ? { body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  // biome-ignore lint/suspicious/noExplicitAny: asserted below
  return { status: response.status, headers: response.headers, body: (text ? JSON.parse(text) : null) as any };
}

describe('every request', () => {
  test('has an id, its own or the client’s, which the database sees', async () => {
    const first = await send(server, { query: ME });
    expect(first.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    const id = crypto.randomUUID();
    expect((await send(server, { query: ME }, { 'x-request-id': id })).headers.get('x-request-id')).toBe(id);
    expect((await send(server, { query: ME }, { 'x-request-id': "'; drop table" })).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    await db.admin.query(
      `create or replace function export_workflow(id uuid) returns jsonb language sql stable strict
       begin atomic select to_jsonb(current_setting('flowgres.request_id')); end`,
    );
    const seen = await send(
      server,
      { query: `{ exportWorkflow(workflowId: "${id}") }` },
      { 'x-request-id': id, authorization: `Bearer ${acme.token}` },
    );
    expect(seen.body.data.exportWorkflow).toBe(id);
  });

  test('that is refused before it is executed says why, with a code and nothing of the server’s inside', async () => {
    const refused = [
      [await send(server, null, {}, 'GET'), 405, 'METHOD_NOT_ALLOWED'],
      [await send(server, {}, { 'content-type': 'text/plain' }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
      [await send(server, {}, { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'UNSUPPORTED_MEDIA_TYPE'],
      [await send(server, { query: 3 }), 400, 'INVALID_ARGUMENT'],
      [await send(server, { query: ME, variables: [] }), 400, 'INVALID_ARGUMENT'],
      [await send(server, [{ query: ME }]), 400, 'INVALID_ARGUMENT'],
      [await send(server, { query: ME, pad: 'x'.repeat(256 * 1024) }), 413, 'TOO_LARGE'],
      [await send(server, { query: ME }, { authorization: 'Bearer fg_wrong' }), 401, 'UNAUTHENTICATED'],
    ] as const;
    for (const [{ status, body, headers }, expected, code] of refused) {
      expect({ status, code: body.errors[0].extensions.code }).toEqual({ status: expected, code });
      expect(body.errors[0].extensions).not.toHaveProperty('statusCode');
      expect(body.errors[0].extensions.hint).toMatch(/^[A-Z].*\.$/);
      expect(headers.get('x-request-id')).toBeTruthy();
    }
  });
});

test('without a database the answer is 503 and when to try again, and not that the request is wrong', async () => {
  const { rows } = await db.admin.query<{ name: string }>('select quote_ident(current_database()) as name');
  const { name } = rows[0]!;
  onTestFinished(() => db.admin.query(`alter database ${name} connection limit -1`).then(() => undefined));
  await db.admin.query(`alter database ${name} connection limit 0`);
  await db.admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'flowgres_api'`,
  );
  const lost = await send(server, { query: ME }, { authorization: `Bearer ${globex.token}` });
  expect([lost.status, lost.headers.get('retry-after'), lost.body.errors[0].extensions.code]).toEqual([503, '1', 'UNAVAILABLE']);
  expect((await send(server, { query: ME }, { authorization: `Bearer ${acme.token}` })).body.errors[0].extensions.code).toBe('UNAVAILABLE');
});

describe('a page of another website', () => {
  const preflight = (origin: string) => send(server, null, { origin, 'access-control-request-method': 'POST' }, 'OPTIONS');

  test('may ask when its origin is in the list', async () => {
    const { status, headers } = await preflight('https://app.example.com');
    expect(status).toBe(204);
    expect(headers.get('access-control-allow-origin')).toBe('https://app.example.com');
    expect(headers.get('access-control-allow-headers')).toContain('authorization');
    expect((await send(server, { query: ME }, { origin: 'https://app.example.com' })).headers.get('access-control-allow-origin')).toBe(
      'https://app.example.com',
    );
  });

  test('may not otherwise, nor open a WebSocket', async () => {
    const { headers } = await preflight('https://evil.example');
    expect(headers.get('access-control-allow-origin')).toBeNull();
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const upgrade = {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'x3JJHMbDL1EzLkh9GBhXDw==',
      };
      httpRequest(server.url, { headers: { ...upgrade, origin: 'https://evil.example' } })
        .on('response', (response) => resolve(response.statusCode))
        .on('error', reject)
        .end();
    });
    expect(status).toBe(403);
  });
});

describe('the rate limit', () => {
  const limited = async (rate: { perSecond: number; burst: number }) => {
    const target = await serveGraphql(db, { rates: { token: rate, anonymous: { perSecond: 0.01, burst: 2 } } });
    onTestFinished(() => target.close());
    return target;
  };

  test('lets a burst through, then answers 429 with when to come again', async () => {
    const target = await limited({ perSecond: 0.01, burst: 5 });
    const other = await limited({ perSecond: 0.01, burst: 5 });
    const ask = () => send(target, { query: ME }, { authorization: `Bearer ${acme.token}` });
    const answers = await Promise.all(Array.from({ length: 12 }, ask));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(5);
    const refused = answers.find(({ status }) => status === 429)!;
    const { extensions } = refused.body.errors[0];
    expect(extensions).toMatchObject({ code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } });
    expect(extensions.details.retryAfterMs).toBeLessThanOrEqual(100_000);
    expect(Number(refused.headers.get('retry-after'))).toBe(Math.ceil(extensions.details.retryAfterMs / 1_000));
    // Another process knows of it: the bucket is in the database.
    expect((await send(other, { query: ME }, { authorization: `Bearer ${acme.token}` })).status).toBe(429);
    await db.admin.query(`update private.rate_buckets set filled_at = filled_at - interval '100 s' where key like 'token:%'`);
    expect((await ask()).status).toBe(200);
    expect((await ask()).status).toBe(429);
  });

  test('counts anonymous requests and wrong tokens by address, and other tokens by themselves', async () => {
    const target = await limited({ perSecond: 100, burst: 100 });
    expect((await send(target, { query: ME })).status).toBe(200);
    expect((await send(target, { query: ME }, { authorization: 'Bearer fg_wrong' })).status).toBe(401);
    expect((await send(target, { query: ME }, { authorization: 'Bearer fg_wrong' })).status).toBe(429);
    expect((await send(target, { query: ME })).status).toBe(429);
    const globex = await createOrganization(db, 'Globex');
    expect((await send(target, { query: ME }, { authorization: `Bearer ${globex.token}` })).status).toBe(200);
  });

  test.each([
    ['10.0.0.9', undefined, 0, '10.0.0.9'],
    ['10.0.0.9', '198.51.100.7', 0, '10.0.0.9'],
    ['10.0.0.9', 'spoofed, 198.51.100.7', 1, '198.51.100.7'],
    ['10.0.0.9', '1.1.1.1, 198.51.100.7, 10.0.0.8', 2, '198.51.100.7'],
    ['10.0.0.9', 'nonsense', 1, '10.0.0.9'],
    ['::ffff:198.51.100.7', undefined, 0, '198.51.100.7'],
    ['2001:db8:1:2:3:4:5:6', undefined, 0, '2001:db8:1:2::/64'],
  ])('takes %s with X-Forwarded-For %s behind %i proxies for %s', (remoteAddress, forwarded, proxies, address) => {
    const request = { headers: { 'x-forwarded-for': forwarded }, socket: { remoteAddress } };
    expect(callerOf(request as unknown as Parameters<typeof callerOf>[0], proxies)).toBe(address);
  });
});

describe('a persisted operation', () => {
  const text = 'query Me { currentOrganization { id } }\n';
  const hash = createHash('sha256').update(text).digest('hex');

  async function folderWith(files: Record<string, string>): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'flowgres-operations-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    return folder;
  }
  async function serve(only: boolean): Promise<TestServer> {
    const operations = await Operations.read(await folderWith({ 'me.graphql': text, 'readme.md': 'no document' }), only);
    const target = await serveGraphql(db, { operations });
    onTestFinished(() => target.close());
    return target;
  }
  const authorization = () => ({ authorization: `Bearer ${acme.token}` });

  test('is executed by its hash or its name, however the client says it', async () => {
    const target = await serve(true);
    for (const body of [
      { documentId: hash },
      { documentId: `sha256:${hash}` },
      { documentId: 'me' },
      { id: hash },
      { extensions: { persistedQuery: { version: 1, sha256Hash: hash } } },
    ]) {
      expect((await send(target, body, authorization())).body).toEqual({ data: { currentOrganization: { id: acme.id } } });
    }
  });

  test('is the only kind that is executed when the server is told so, over a WebSocket too', async () => {
    const target = await serve(true);
    const { status, body } = await send(target, { query: ME }, authorization());
    expect({ status, code: body.errors[0].extensions.code }).toEqual({ status: 403, code: 'FORBIDDEN' });
    expect((await send(target, { documentId: 'me', query: '{ __typename }' }, authorization())).body.data).not.toHaveProperty('__typename');
    const client = target.subscribe(acme.token);
    const failed = await Promise.resolve(client.iterate({ query: ME }).next()).catch((errors: unknown) => errors);
    expect(failed).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
  });

  test('beside others is a shorter way to say it; an unknown one is NOT_FOUND', async () => {
    const target = await serve(false);
    expect((await send(target, { query: ME }, authorization())).status).toBe(200);
    const { status, body } = await send(target, { documentId: 'other' }, authorization());
    expect({ status, code: body.errors[0].extensions.code }).toEqual({ status: 404, code: 'NOT_FOUND' });
  });

  test('that is no document, or a folder that is not there, keeps the server from starting', async () => {
    await expect(Operations.read(await folderWith({ 'a.graphql': '{' }), false)).rejects.toMatchObject({ code: 'INVALID_OPERATION' });
    await expect(Operations.read('/nowhere/at/all', false)).rejects.toMatchObject({ code: 'INVALID_SETTING' });
  });
});
