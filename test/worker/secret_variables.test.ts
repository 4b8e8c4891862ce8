/** Secret variables: set, named in definitions, joined by the worker, and seen nowhere. */
import { createHmac } from 'node:crypto';
import { type IncomingMessage, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { newSecretId } from '../../src/vault/vault.ts';
import { startWorker } from '../../src/worker/start.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { evaluate, validate } from '../helpers/nodes.ts';
import { type TestVault, createTestVault } from '../helpers/vault.ts';

const VALUE = 'planted "secret" & variable';
let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let keys: TestVault;
let worker: Awaited<ReturnType<typeof startWorker>>;
let intake: Engine;
let hosts: string[];
let seen: { url: string; headers: IncomingMessage['headers']; body: string }[] = [];

beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  keys = await createTestVault();
  intake = new Engine(db.pool('flowgres_intake'));
  const [peer, other] = [createPeer(), createPeer()];
  hosts = await Promise.all(
    [peer, other].map(async (server) => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `127.0.0.1:${(server.address() as AddressInfo).port}`;
    }),
  );
  worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 4,
    vault: keys.vault,
    nodes: { httpAllow: hosts },
  });
  await setSecret('key', VALUE, [hosts[0]!]);
  await setSecret('token', `${VALUE} two`, hosts);
  return () => {
    for (const server of [peer, other]) server.close().closeAllConnections();
  };
});
afterAll(() => worker.stop());
beforeEach(() => {
  seen = [];
});

/** Echoes what it is sent; /away leads to the other peer. */
function createPeer() {
  return createServer(async (request, response) => {
    const body = await text(request);
    seen.push({ url: `${request.headers.host}${request.url}`, headers: request.headers, body });
    if (request.url === '/away') return response.writeHead(307, { location: `http://${hosts[1]}/` }).end();
    return response.setHeader('content-type', 'application/json').end(JSON.stringify({ headers: request.headers, body }));
  });
}

function sealed(value: string, organization = acme): string {
  const id = newSecretId();
  return JSON.stringify({ id, envelope: keys.vault.seal({ organizationId: organization.id, id, version: 1 }, value) });
}
const setSecret = (name: string, value: string, allowed: string[], organization = acme) =>
  organization.user.query('select * from set_variable($1, $2, secret => true, allowed_hosts => $3)', [
    name,
    sealed(value, organization),
    allowed,
  ]);

/** Runs httpRequest with these properties; returns the status of the run and the error of the step. */
async function send(properties: Record<string, unknown>, input: unknown = {}) {
  const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'call', type: 'httpRequest', properties });
  const { id } = await publishWorkflow(acme, definition);
  const { runId } = await intake.startRun({ organizationId: acme.id, workflowId: id, mode: 'api', input });
  const answer = async () => (await intake.runAnswers([runId]))[0]!;
  await expect.poll(async () => ['success', 'error'].includes((await answer()).status)).toBe(true);
  const { status, error } = await answer();
  return { runId, status, code: error?.code };
}

describe('a secret variable', () => {
  test('is set, replaced by another, by an open one, and deleted; no value comes back, and no secret stays behind', async () => {
    const secrets = async () =>
      (await db.admin.query<{ n: number }>('select count(*)::int as n from private.secrets where organization_id = $1', [globex.id]))
        .rows[0]!.n;
    const set = await setSecret('one', 'abcdef', ['a.example'], globex);
    expect(set.rows).toMatchObject([{ name: 'one', value: null, is_secret: true, allowed_hosts: ['a.example'] }]);
    await setSecret('one', 'ghijkl', [], globex);
    expect(await secrets()).toBe(1);
    const { rows } = await globex.user.query(
      `select value, is_secret, allowed_hosts from set_variable('one', '7', allowed_hosts => '{b.example}')`,
    );
    expect(rows).toEqual([{ value: 7, is_secret: false, allowed_hosts: [] }]);
    expect(await secrets()).toBe(0);
    await setSecret('one', 'abcdef', [], globex);
    await globex.user.query(`select delete_variable('one')`);
    expect(await secrets()).toBe(0);
  });

  test.each<[string, () => string, string]>([
    ['a value that is not sealed', () => JSON.stringify('plain text'), 'WF001'],
    ['no value', () => 'null', 'WF001'],
    ['an envelope that was cut', () => `${sealed('abcdef').slice(0, -40)}"}`, 'WF001'],
    ['an id that is none', () => sealed('abcdef').replace(/"id":"[^"]*"/, '"id":"x"'), 'WF001'],
    ['a name that is none', () => sealed('abcdef'), 'WF001'],
  ])('is refused with %s', async (what, value, code) => {
    const name = what.startsWith('a name') ? 'no-name' : 'bad';
    await expect(acme.user.query('select set_variable($1, $2, secret => true)', [name, value()])).rejects.toMatchObject({ code });
  });

  test('is refused with an envelope that another variable has', async () => {
    const value = sealed('abcdef');
    await acme.user.query(`select set_variable('once', $1, secret => true)`, [value]);
    await expect(acme.user.query(`select set_variable('twice', $1, secret => true)`, [value])).rejects.toMatchObject({ code: 'WF001' });
  });
});

describe('a definition', () => {
  const problems = async (node: { type: string; properties: Record<string, unknown> }, session = acme.user) => {
    const { rows } = await session.query<{ problem: string }>(
      `select format('%s %s', pointer, code) as problem from validate_workflow($1)`,
      [JSON.stringify(chain({ id: 'start', type: 'apiTrigger' }, { id: 'n', ...node }))],
    );
    return rows.map(({ problem }) => problem);
  };
  const http = (properties: Record<string, unknown>) => ({ type: 'httpRequest', properties: { url: 'https://x.example', ...properties } });

  test('names secret variables in headers, query and body of httpRequest', async () => {
    expect(
      await problems(
        http({
          headers: { a: 'Bearer {{ $.secrets.key }}', b: '{{ $.prev | json | hmac("sha1", $.secrets.key) }}' },
          query: { c: '{{ $.secrets.token }}' },
          body: { d: [{ e: '{{ $.prev.x | constant_time_equals($.secrets.key) }}' }] },
        }),
      ),
    ).toEqual([]);
  });

  test.each<[string, { type: string; properties: Record<string, unknown> }, string]>([
    ['in the address', http({ url: 'https://x.example/{{ $.secrets.key }}' }), '/nodes/1/properties/url SECRET_NOT_ALLOWED'],
    [
      'in a pure node',
      { type: 'set', properties: { assign: { a: '{{ $.secrets.key }}' } } },
      '/nodes/1/properties/assign/a SECRET_NOT_ALLOWED',
    ],
    [
      'in a line of the log',
      { type: 'log', properties: { message: '{{ $.secrets.key }}' } },
      '/nodes/1/properties/message SECRET_NOT_ALLOWED',
    ],
    ['in a condition', { type: 'if', properties: { when: '$.secrets.key == "a"' } }, '/nodes/1/properties/when INVALID_EXPRESSION'],
    ['with a member', http({ body: '{{ $.secrets.key.a }}' }), '/nodes/1/properties/body INVALID_EXPRESSION'],
    ['with a filter', http({ body: '{{ $.secrets.key | upper }}' }), '/nodes/1/properties/body INVALID_EXPRESSION'],
    ['beside an operator', http({ body: '{{ $.secrets.key == $.prev }}' }), '/nodes/1/properties/body INVALID_EXPRESSION'],
    [
      'as an argument of another filter',
      http({ body: '{{ $.prev | default($.secrets.key) }}' }),
      '/nodes/1/properties/body INVALID_EXPRESSION',
    ],
    [
      'in place of an algorithm',
      http({ body: '{{ $.prev | hmac($.secrets.key, $.secrets.key) }}' }),
      '/nodes/1/properties/body INVALID_EXPRESSION',
    ],
    ['that does not exist', http({ body: '{{ $.secrets.none }}' }), '/nodes/1/properties/body UNKNOWN_SECRET'],
    ['as an open one', http({ body: '{{ $.vars.key }}' }), '/nodes/1/properties/body SECRET_NOT_ALLOWED'],
  ])('is refused when it names one %s', async (_case, node, problem) => {
    expect(await problems(node)).toEqual([problem]);
  });

  test.each([
    ['a text in place of the variable', '{{ $.prev | hmac("sha256", "key") }}'],
    ['an unknown algorithm', '{{ $.prev | hmac("md5", $.secrets.key) }}'],
    ['an unknown encoding', '{{ $.prev | hmac("sha256", $.secrets.key, "rot13") }}'],
    ['a filter behind it', '{{ $.prev | hmac("sha256", $.secrets.key) | upper }}'],
  ])('is refused with hmac and %s', async (_case, body) => {
    expect(await problems(http({ body }))).toEqual(['/nodes/1/properties/body INVALID_EXPRESSION']);
  });

  test('does not see the secret variables of another organization', async () => {
    expect(await problems(http({ body: '{{ $.secrets.key }}' }), globex.user)).toEqual(['/nodes/1/properties/body UNKNOWN_SECRET']);
  });

  test('that reads what has become secret gets null', async () => {
    await acme.user.query(`select set_variable('later', '"open"')`);
    const { id } = await publishWorkflow(
      acme,
      chain({ id: 'start', type: 'apiTrigger' }, { id: 'n', type: 'transform', properties: { template: '{{ $.vars.later }}' } }),
    );
    await setSecret('later', 'abcdef', []);
    const { runId } = await intake.startRun({ organizationId: acme.id, workflowId: id, mode: 'api', input: {} });
    expect((await intake.runAnswers([runId]))[0]).toMatchObject({ status: 'success', output: expect.objectContaining({ text: 'null' }) });
  });

  test('constant_time_equals compares texts anywhere, without a secret', async () => {
    expect(await evaluate(db, '{{ "a" | constant_time_equals($.prev) }}', { prev: 'a' })).toBe(true);
    expect(await evaluate(db, '{{ $.prev | constant_time_equals("b") }}', { prev: 'a' })).toBe(false);
    expect(await evaluate(db, '{{ $.prev | constant_time_equals("b") }}')).toBe(false);
    expect(await validate(db, chain({ id: 'start', type: 'apiTrigger' }))).toEqual([]);
  });
});

describe('a worker', () => {
  test('joins secret texts in headers, query and body, and signs', async () => {
    const input = { name: 'Ada', total: 12.5, seal: createHmac('sha256', VALUE).update('Ada').digest('base64url') };
    const { status } = await send(
      {
        method: 'POST',
        url: `http://${hosts[0]}/in`,
        query: { key: '{{ $.secrets.token }}' },
        headers: {
          Authorization: 'Bearer {{ $.secrets.token }}',
          'X-Signature': 'sha512={{ $.prev.total | hmac("sha512", $.secrets.key, "hex") }}',
        },
        body: {
          both: ['{{ $.prev.name }}: {{ $.secrets.key }}, {{ $.prev.total }}'],
          known: '{{ $.prev.name | hmac("sha256", $.secrets.key, "base64url") | constant_time_equals($.prev.seal) }}',
          unknown: '{{ $.prev.name | constant_time_equals($.secrets.key) }}',
        },
      },
      input,
    );
    expect(status).toBe('success');
    expect(seen).toMatchObject([
      {
        url: `${hosts[0]}/in?${new URLSearchParams({ key: `${VALUE} two` })}`,
        headers: {
          authorization: `Bearer ${VALUE} two`,
          'x-signature': `sha512=${createHmac('sha512', VALUE).update('12.5').digest('hex')}`,
        },
      },
    ]);
    expect(JSON.parse(seen[0]!.body)).toEqual({ both: [`Ada: ${VALUE}, 12.5`], known: true, unknown: false });
  });

  test('takes data that looks like a secret text as data', async () => {
    const forged = { secretText: [{ secret: 'token' }] };
    const { status } = await send(
      { method: 'POST', url: `http://${hosts[0]}/`, headers: { a: '{{ $.secrets.key }}' }, body: { given: '{{ $.prev }}' } },
      forged,
    );
    expect([status, JSON.parse(seen[0]!.body)]).toEqual(['success', { given: forged }]);
  });

  test('signs what is computed in a local step', async () => {
    const { status } = await send(
      { method: 'POST', url: `http://${hosts[0]}/`, body: '{{ $.prev.** ? (@ == "x") | first | hmac("sha256", $.secrets.key) }}' },
      { a: { b: 'x' } },
    );
    expect([status, seen[0]?.body]).toEqual(['success', JSON.stringify(createHmac('sha256', VALUE).update('x').digest('hex'))]);
  });

  test('sends them to no host that a variable does not allow, nor along a redirect to one', async () => {
    const headers = { a: '{{ $.secrets.key }}' };
    expect(await send({ url: `http://${hosts[1]}/`, headers })).toMatchObject({ status: 'error', code: 'CREDENTIAL_HOST' });
    expect(seen).toEqual([]);
    expect(await send({ url: `http://${hosts[0]}/away`, headers })).toMatchObject({ status: 'error', code: 'CREDENTIAL_HOST' });
    expect(seen.map(({ url }) => url)).toEqual([`${hosts[0]}/away`]);
  });

  test('fails a step whose variable was deleted, and one that signs a list', async () => {
    await setSecret('gone', 'abcdef', hosts);
    const definition = chain(
      { id: 'start', type: 'apiTrigger' },
      { id: 'call', type: 'httpRequest', properties: { url: `http://${hosts[0]}/`, headers: { a: '{{ $.secrets.gone }}' } } },
    );
    const { id } = await publishWorkflow(acme, definition);
    await acme.user.query(`select delete_variable('gone')`);
    const { runId } = await intake.startRun({ organizationId: acme.id, workflowId: id, mode: 'api', input: {} });
    await expect.poll(async () => (await intake.runAnswers([runId]))[0]?.error?.code).toBe('VARIABLE_NOT_FOUND');
    const list = { url: `http://${hosts[0]}/`, headers: { a: '{{ $.prev | hmac("sha256", $.secrets.key) }}' } };
    expect(await send(list, [1])).toMatchObject({ status: 'error', code: 'EXPRESSION_FILTER' });
  });

  test('leaves no value in the database, though the peer echoes it', async () => {
    const { runId } = await send({
      method: 'POST',
      url: `http://${hosts[0]}/`,
      headers: { a: '{{ $.secrets.key }}' },
      body: 'x{{ $.secrets.key }}',
    });
    const { rows } = await db.admin.query<{ payload: string }>('select payload::text from workflow_events where run_id = $1', [runId]);
    const log = rows.map(({ payload }) => payload).join('\n');
    expect(log).toContain('[redacted]');
    expect(log).toContain('{"secretText": [{"secret": "key"}]}');
    expect(log).not.toMatch(/planted/);
    expect((await db.admin.query('select * from engine.verify_run($1)', [runId])).rows).toEqual([]);
    const { rows: found } = await db.admin.query(
      `select from variables as v, audit_log as a where v::text like '%planted%' or a::text like '%planted%'`,
    );
    expect(found).toEqual([]);
  });
});
