/** Twenty planted secrets, each of a credential and a secret variable, echoed by a peer in every way that it can, are found nowhere afterwards. */
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, expect, test, vi } from 'vitest';
import { Engine } from '../../src/engine/engine.ts';
import { startWorker } from '../../src/worker/start.ts';
import { exposition } from '../../src/metrics.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { serveGraphql } from '../helpers/graphql.ts';
import { createTestVault } from '../helpers/vault.ts';

const planted = Array.from({ length: 20 }, (_, index) => `planted ${index} "+&/${crypto.randomUUID().slice(0, 13)}`);
const output: string[] = [];
let db: TestDatabase;
let acme: TestOrganization;

/** The ways in which a peer echoes what it was sent. */
const ECHOES: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
  json: (request, response) =>
    response
      .setHeader('content-type', 'application/json')
      .end(JSON.stringify({ url: request.url, headers: request.headers, ...decoded(request) })),
  text: (request, response) =>
    response.setHeader('content-type', 'text/plain').end(JSON.stringify([request.url, request.rawHeaders, decoded(request)])),
  bytes: (request, response) =>
    response.setHeader('content-type', 'application/octet-stream').end(Buffer.from(`x${JSON.stringify(decoded(request))}`)),
  header: (request, response) =>
    response
      .writeHead(200, {
        'x-echo': encodeURIComponent(JSON.stringify(decoded(request))),
        'set-cookie': Buffer.from(JSON.stringify(decoded(request))).toString('base64'),
      })
      .end(),
  error: (request, response) => response.writeHead(422, { 'content-type': 'application/json' }).end(JSON.stringify(decoded(request))),
  redirect: (request, response) =>
    response.writeHead(302, { location: `/json?next=${encodeURIComponent(JSON.stringify(decoded(request)))}` }).end(),
  broken: (request, response) =>
    void response.writeHead(200, { 'content-length': '1000' }).write(JSON.stringify(decoded(request)), () => response.destroy()),
};

/** What a peer makes of a request: it also opens Basic and the query. */
function decoded({ headers, url }: IncomingMessage): Record<string, unknown> {
  const basic = /^Basic (.+)$/.exec(headers.authorization ?? '')?.[1];
  return { ...headers, basic: basic && Buffer.from(basic, 'base64').toString(), query: [...new URL(url!, 'http://x').searchParams] };
}

beforeAll(async () => {
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream);
    stream.write = ((chunk: string | Uint8Array, ...rest: never[]) => {
      output.push(String(chunk));
      return write(chunk, ...rest);
    }) as typeof stream.write;
  }
  db = await createTestDatabase();
  acme = await createOrganization(db);
  const peer = createServer((request, response) => (ECHOES[request.url!.split(/[/?]/)[1]!] ?? ECHOES['json']!)(request, response));
  await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(peer.address() as AddressInfo).port}`;
  const { vault } = await createTestVault();
  const server = await serveGraphql(db, { vault });
  const worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 50,
    nodes: { httpAllow: [host] },
    vault,
    onProblem: (message, error) => output.push(message, String(error), JSON.stringify(error ?? null)),
  });
  try {
    await useAll(server, host);
  } finally {
    await worker.stop();
    peer.close();
    peer.closeAllConnections();
  }
}, 60_000);

/** Creates a credential for each secret, and runs a workflow that sends it to every echo. */
async function useAll(server: Awaited<ReturnType<typeof serveGraphql>>, host: string): Promise<void> {
  const create = `mutation ($input: CreateCredentialInput!) { createCredential(input: $input) { credential { id name } } }`;
  const set = `mutation ($input: SetVariableInput!) { setVariable(input: $input) { variable { name value isSecret } } }`;
  const kinds = [
    (secret: string) => ({ type: 'bearer', data: { token: secret } }),
    (secret: string) => ({ type: 'basic', data: { username: 'ada', password: secret } }),
    (secret: string) => ({ type: 'apiKey', data: { in: 'query', name: 'key', value: secret } }),
    (secret: string) => ({ type: 'custom', data: { fields: { 'X-Key': secret } } }),
  ];
  const intake = new Engine(db.pool('flowgres_intake'));
  for (const [index, secret] of planted.entries()) {
    const input = { name: `c${index}`, ...kinds[index % kinds.length]!(secret), allowedHosts: [host] };
    output.push(JSON.stringify(await server.query(acme.token, create, { input })));
    const variable = { name: `v${index}`, value: secret, isSecret: true, allowedHosts: [host] };
    output.push(JSON.stringify(await server.query(acme.token, set, { input: variable })));
  }
  const runs = await Promise.all(
    planted.map(async (_, index) => {
      const { id } = await publishWorkflow(acme, workflow(host, index), `W${index}`);
      return (await intake.startRun({ organizationId: acme.id, workflowId: id, mode: 'api', input: {} })).runId;
    }),
  );
  await vi.waitFor(
    async () => {
      const ended = (await intake.runAnswers(runs)).filter(({ status }) => ['success', 'error'].includes(status));
      expect(ended).toHaveLength(runs.length);
    },
    { timeout: 40_000, interval: 50 },
  );
  const query =
    '{ variables { nodes { name value } } credentials { nodes { id name type usageCount } } workflowRuns { nodes { id status error output events { nodes { payload } } logs { nodes { message context } } } } }';
  output.push(JSON.stringify(await server.query(acme.token, query)), JSON.stringify(server.logged), await exposition());
}

function workflow(host: string, index: number): Definition {
  const echoes = Object.keys(ECHOES).map((echo) => ({
    id: echo,
    type: 'httpRequest',
    credentials: { auth: `c${index}` },
    properties: { url: `http://${host}/${echo}`, headers: { 'X-Variable': `is {{ $.secrets.v${index} }}` } },
    retry: { maxAttempts: 1 },
    onError: 'continue',
  }));
  const logs = echoes.map(({ id }) => ({
    id: `${id}Log`,
    type: 'log',
    properties: { message: '{{ $.prev }}', context: { it: '{{ $.prev }}' } },
  }));
  return {
    nodes: [{ id: 'start', type: 'apiTrigger' }, ...echoes, ...logs],
    connections: echoes.flatMap(({ id }) => [
      { source: 'start', target: id },
      { source: id, target: `${id}Log` },
    ]),
  };
}

/** The forms of a secret that are looked for, written down here once more, apart from the code that redacts. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const cores = [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .slice(4, -6),
  );
  return [secret, secret.slice(-13), encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1), bytes.toString('hex'), ...cores];
}

const found = (text: string) => planted.filter((secret) => formsOf(secret).some((form) => text.includes(form)));

test('the peer was sent every secret, and every step was recorded', async () => {
  const { rows } = await db.admin.query<{ type: string; count: number }>(
    `select type, count(*)::int as count from workflow_events where type in ('step.succeeded', 'run.succeeded') and organization_id = $1
       and (type = 'run.succeeded' or payload ->> 'node' = any ($2)) group by type order by type`,
    [acme.id, Object.keys(ECHOES)],
  );
  expect(rows).toEqual([
    { type: 'run.succeeded', count: 20 },
    { type: 'step.succeeded', count: 20 * (Object.keys(ECHOES).length - 2) },
  ]);
  const { rows: redacted } = await db.admin.query(
    `select from workflow_events where payload ->> 'node' = 'json' and payload::text like '%[redacted]%' and type = 'step.succeeded'`,
  );
  expect(redacted).toHaveLength(20);
});

test('no table of the database has one of them', async () => {
  const { rows: tables } = await db.admin.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')`,
  );
  expect(tables.length).toBeGreaterThan(50);
  const leaks: string[] = [];
  for (const { name } of tables) {
    const { rows } = await db.admin.query<{ text: string }>(`select t::text as text from ${name} as t`);
    if (found(rows.map(({ text }) => text).join('\n')).length > 0) leaks.push(name);
  }
  expect(leaks).toEqual([]);
});

test('no answer, no log of a process and no metric has one of them', () => {
  expect(output.join('\n').length).toBeGreaterThan(10_000);
  expect(found(output.join('\n'))).toEqual([]);
});

test('the uses are counted and audited', async () => {
  const echoes = Object.keys(ECHOES).length;
  const { rows } = await db.admin.query('select usage_count, last_used_at is not null as used from credentials');
  expect(rows).toEqual(Array.from({ length: 20 }, () => ({ usage_count: echoes, used: true })));
  const { rows: audited } = await db.admin.query<{ after: { uses: number; by: unknown[] } }>(
    `select after from audit_log where operation = 'use'`,
  );
  expect(audited.reduce((sum, { after }) => sum + after.uses, 0)).toBe(20 * echoes);
});
