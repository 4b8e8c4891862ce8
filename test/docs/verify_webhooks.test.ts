/** docs/how-to/verify-webhooks.md and examples/webhooks from end to end: real credentials, signatures of the official packages. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { sign as signGithub } from '@octokit/webhooks-methods';
import { parse } from 'pgsql-parser';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPool } from '../../src/database/connections.ts';
import { connect } from '../../src/database/connections.ts';
import { createEnginePool } from '../../src/engine/engine.ts';
import { Credentials } from '../../src/vault/credentials.ts';
import { startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type Definition, type TestOrganization, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type TestIntake, serveIntake } from '../helpers/intake.ts';
import { createTestVault } from '../helpers/vault.ts';

const page = await readFile(new URL('../../docs/how-to/verify-webhooks.md', import.meta.url), 'utf8');
const blocks = (info: string) => [...page.matchAll(new RegExp(`^ *\`\`\`${info}\\n(.*?)^ *\`\`\`$`, 'gms'))].map((block) => block[1]!);
const example = async (name: string) =>
  JSON.parse(await readFile(new URL(`../../examples/webhooks/${name}.json`, import.meta.url), 'utf8')) as Definition;

const SECRET = 'whsec_c2VjcmV0IG9mIHRoZSBwYWdl';
const stripe = new Stripe('sk_test_0');
const db = await createTestDatabase();
const keys = await createTestVault();
let demo: TestOrganization;
let server: TestServer;
let intake: TestIntake;
const pool = createEnginePool(db.url('flowgres_intake'), 'test intake');

beforeAll(async () => {
  demo = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [demo.id]);
  server = await serveGraphql(db, { vault: keys.vault });
  intake = await serveIntake(db.url('flowgres_intake'), { credentials: new Credentials(pool, keys.vault) });
});
afterAll(async () => {
  await intake.close();
  await pool.end();
});

async function post(path: string, body: string, headers: Record<string, string>) {
  const response = await fetch(`${intake.origin}/hooks/${demo.webhookKey}${path}`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
const sendGithub = async (path: string, event: unknown, secret = SECRET, headers: Record<string, string> = {}) => {
  const body = JSON.stringify(event);
  return post(path, body, { 'x-hub-signature-256': await signGithub(secret, body), 'x-github-event': 'issues', ...headers });
};
const sendStripe = (path: string, event: unknown, secret = SECRET) => {
  const payload = JSON.stringify(event);
  return post(path, payload, { 'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret }) });
};
const create = blocks('graphql').find((document) => document.includes('createCredential'))!;

test('the page, from end to end', async () => {
  const client = await connect(db.adminUrl);
  const run = async (part: string) => {
    const script = Buffer.from(blocks('sql').find((block) => block.includes(part))!);
    const { stmts = [] } = (await parse(script.toString())) as { stmts?: { stmt_location?: number; stmt_len?: number }[] };
    const rows: Record<string, unknown>[] = [];
    for (const { stmt_location: from = 0, stmt_len: length } of stmts) {
      const statement = script.subarray(from, length ? from + length : undefined).toString();
      const result = await client
        .query<Record<string, unknown>>(statement)
        .catch((error: Error) => expect.fail(`${error.message} in: ${statement}`));
      rows.push(...result.rows);
    }
    return rows;
  };
  try {
    await server.data(demo.token, create, { data: { secrets: [SECRET] } });
    await server.data(demo.token, create.replace('"github"', '"stripe"'), { data: { secrets: [SECRET] } });
    await run("create_workflow('Triage'");
    expect((await run('as address'))[0]!['address']).toBe(`https://flowgres.example/hooks/${demo.webhookKey}/github`);
    const issue = { action: 'opened', issue: { number: 7, title: 'It crashes' } };
    expect(await sendGithub('/github', issue)).toEqual({ status: 200, body: { issue: 7, label: 'triage' } });
    expect((await sendGithub('/github', issue, 'another secret')).status).toBe(401);
    const deliveries = async () => (await run('limit 20')).map(({ status, error }) => [status, error]);
    await expect.poll(deliveries).toEqual([
      [401, 'SIGNATURE_MISMATCH'],
      [200, null],
    ]);
    const list = blocks('graphql').find((document) => document.includes('webhookDeliveries'))!;
    expect(await server.data(demo.token, list)).toMatchObject({
      webhookDeliveries: { nodes: [{ status: 401 }, { status: 200, path: '/github' }] },
    });

    await run("create_workflow('Ledger'");
    const event = { id: 'evt_1', data: { object: { amount: 4200 } } };
    const first = await sendStripe('/stripe', event);
    expect([first.status, (await sendStripe('/stripe', { ...event, pending_webhooks: 1 })).body]).toEqual([202, first.body]);
    await expect
      .poll(() => run('d.is_duplicate'))
      .toEqual([
        { status: 202, run_id: first.body['runId'], is_duplicate: false },
        { status: 202, run_id: first.body['runId'], is_duplicate: true },
      ]);
    expect(await run('redeliver_webhook')).toEqual([{ status: 'success', metadata: { redeliveryOf: first.body['runId'] } }]);

    const { rows } = await client.query<{ id: string }>(`select id from credentials where name = 'github'`);
    const update = blocks('graphql').find((document) => document.includes('updateCredential'))!;
    await server.data(demo.token, update, { credential: rows[0]!.id, data: { secrets: ['another secret', SECRET] } });
    await expect.poll(async () => (await sendGithub('/github', issue, 'another secret')).status).toBe(200);
    expect((await sendGithub('/github', issue)).status).toBe(200);
  } finally {
    await client.end();
  }
});

test('the example for GitHub sorts new issues, and nothing else', async () => {
  const acme = { ...(await example('github-triage')) };
  acme.nodes[0]!.properties!['path'] = '/triage';
  await publishWorkflow(demo, acme, 'Triage of issues');
  const opened = (title: string) => sendGithub('/triage', { action: 'opened', issue: { number: 1, title } });
  expect((await opened('It crashes when I look')).body).toMatchObject({ labels: ['bug', 'urgent'] });
  expect((await opened('How do I begin')).body).toMatchObject({ team: 'support' });
  expect((await opened('A thought')).body).toMatchObject({ team: 'maintainers' });
  expect((await sendGithub('/triage', { zen: 'x' }, SECRET, { 'x-github-event': 'ping' })).body).toEqual({ ignored: 'ping' });
});

test('the example for Stripe enters an event once', async () => {
  const entries: unknown[] = [];
  const ledger = createServer(async (request, response) => {
    entries.push(JSON.parse(await text(request)));
    response.end('{}');
  });
  await new Promise<void>((resolve) => ledger.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(ledger.address() as AddressInfo).port}`;
  const worker = await startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 2, nodes: { httpAllow: [host] } });
  const admin = createPool(db.adminUrl, { name: 'test', max: 1 });
  try {
    const definition = JSON.parse(
      JSON.stringify(await example('stripe-ledger')).replace('https://ledger.example', `http://${host}`),
    ) as Definition;
    definition.nodes[0]!.properties!['path'] = '/entries';
    await publishWorkflow(demo, definition, 'Entries');
    const event = { id: 'evt_9', data: { object: { customer: 'cus_1', amount: 4200, currency: 'eur' } } };
    const answers = await Promise.all([1, 2, 3].map(() => sendStripe('/entries', event)));
    expect(new Set(answers.map(({ body }) => body['runId'])).size).toBe(1);
    const status = async () =>
      (await admin.query<{ status: string }>('select status from workflow_runs where id = $1', [answers[0]!.body['runId']])).rows[0]!
        .status;
    await expect.poll(status).toBe('success');
    expect(entries).toEqual([{ event: 'evt_9', account: 'cus_1', amount: 4200, currency: 'EUR' }]);
  } finally {
    await worker.stop();
    await admin.end();
    ledger.close();
  }
});

test('the example of a relay passes a verified webhook on, signed anew as Standard Webhooks', async () => {
  const key = `whsec_${Buffer.from('key of the partner').toString('base64')}`;
  const received: unknown[] = [];
  const partner = createServer(async (request, response) => {
    const headers = request.headers as Record<string, string>;
    received.push(new Webhook(key).verify(await text(request), headers));
    response.end();
  });
  await new Promise<void>((resolve) => partner.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(partner.address() as AddressInfo).port}`;
  const worker = await startWorker({
    connectionString: db.url('flowgres_worker'),
    concurrency: 2,
    nodes: { httpAllow: [host] },
    vault: keys.vault,
  });
  try {
    const set = 'mutation ($input: SetVariableInput!) { setVariable(input: $input) { variable { value } } }';
    await server.data(demo.token, set, { input: { name: 'partner_key', value: key, isSecret: true, allowedHosts: [host] } });
    const definition = JSON.stringify(await example('relay-resigned')).replace('https://partner.example', `http://${host}`);
    await publishWorkflow(demo, JSON.parse(definition) as Definition, 'Relay');
    const event = { action: 'opened', issue: { title: 'Straße “x”' } };
    expect((await sendGithub('/relay', event, 'another secret key')).status).toBe(401);
    expect((await sendGithub('/relay', event)).status).toBe(202);
    await expect.poll(() => received).toEqual([event]);
  } finally {
    await worker.stop();
    partner.close();
  }
});
