/** Organizations are told what happens, by signed messages that the official package verifies. */
import { type IncomingHttpHeaders, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningWorker, startWorker } from '../../src/worker/start.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../helpers/factory.ts';
import { createCredential, createTestVault } from '../helpers/vault.ts';

const db = await createTestDatabase();
const keys = await createTestVault();
const SECRETS = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw'];

interface Message {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}
const messages: Message[] = [];
/** The status of the answers by path; 200 when not given. */
const answers = new Map<string, number>();
const receiver = createServer(async (request, response) => {
  const path = request.url ?? '';
  messages.push({ path, headers: request.headers, body: await text(request) });
  response.statusCode = answers.get(path) ?? 200;
  response.end();
});
let worker: RunningWorker;
let host = '';

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  const nodes = { httpAllow: [host] };
  worker = await startWorker({ connectionString: db.url('flowgres_worker'), concurrency: 5, vault: keys.vault, nodes });
});
afterAll(async () => {
  await worker.stop();
  receiver.close();
});

let count = 0;
/** An organization with an endpoint that is told of these events; returns both, and the path of the endpoint. */
async function listener(...events: string[]) {
  count += 1;
  const organization = await createOrganization(db);
  const data = { secrets: SECRETS };
  const credential = await createCredential(db, keys, organization, { name: 'signing', type: 'hmac', data });
  const path = `/told${count}`;
  const { rows } = await organization.user.query<{ id: string }>('select id from create_webhook_endpoint($1, $2, $3)', [
    `http://${host}${path}`,
    events,
    credential,
  ]);
  return { organization, endpoint: rows[0]!.id, path };
}
const sendEvents = () => db.admin.query('select engine.send_webhook_events()');
const at = (path: string) => messages.filter((message) => message.path === path);
const bodies = (path: string) => at(path).map(({ body }) => JSON.parse(body) as { type: string; data: Record<string, unknown> });

async function start(organization: TestOrganization, ...nodes: Parameters<typeof chain>) {
  const { id } = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, ...nodes), 'Told of');
  const { rows } = await organization.user.query<{ id: string }>(
    `select id from start_workflow_run($1, '{}', metadata => '{"order": 7}')`,
    [id],
  );
  return rows[0]!.id;
}
const end = { id: 'end', type: 'noOp' };
const fail = { id: 'end', type: 'stopAndError', properties: { message: 'not today' } };

async function endpointState(id: string) {
  const columns = 'is_enabled, disabled_reason, failing_since is not null as is_failing, last_delivered_at is not null as is_delivered';
  return (await db.admin.query(`select ${columns} from webhook_endpoints where id = $1`, [id])).rows[0];
}
const deliveries = async (endpoint: string) =>
  (
    await db.admin.query<{ id: string; status: string }>(
      `select id, status from workflow_runs where metadata @> jsonb_build_object('endpoint', $1::text) order by id`,
      [endpoint],
    )
  ).rows;

describe('an endpoint', () => {
  test('is told that a run has ended, signed by every active secret', async () => {
    const { organization, path, endpoint } = await listener('run.succeeded', 'run.failed');
    const runs = [await start(organization, end), await start(organization, fail)];
    await sendEvents();
    await expect
      .poll(() =>
        bodies(path)
          .map(({ type }) => type)
          .sort(),
      )
      .toEqual(['run.failed', 'run.succeeded']);
    for (const { headers, body } of at(path)) {
      for (const secret of SECRETS) expect(() => new Webhook(secret).verify(body, headers as Record<string, string>)).not.toThrow();
      expect(headers['content-type']).toBe('application/json');
    }
    const failed = bodies(path).find(({ type }) => type === 'run.failed')!.data;
    expect(failed).toMatchObject({ run: runs[1], workflowName: 'Told of', metadata: { order: 7 }, error: { message: 'not today' } });
    await expect.poll(() => endpointState(endpoint)).toMatchObject({ is_enabled: true, is_delivered: true, is_failing: false });
  });

  test('is told once, of what it asked for, and not of what tells it', async () => {
    const { organization, path, endpoint } = await listener('run.succeeded');
    await start(organization, fail);
    await start(organization, end);
    await Promise.all([sendEvents(), sendEvents(), sendEvents()]);
    await expect.poll(async () => (await deliveries(endpoint)).map(({ status }) => status)).toEqual(['success']);
    await sendEvents();
    expect(bodies(path).map(({ type }) => type)).toEqual(['run.succeeded']);
    expect(await deliveries(endpoint)).toHaveLength(1);
  });

  test('is told that an approval is asked for', async () => {
    const { organization, path } = await listener('approval.requested');
    const run = await start(organization, { id: 'boss', type: 'wait', properties: { approval: { role: 'admin' } } });
    await sendEvents();
    await expect.poll(() => bodies(path)).toEqual([expect.objectContaining({ data: expect.objectContaining({ run, node: 'boss' }) })]);
  });

  test('is told once that the executions of the month are used up, although they are', async () => {
    const { organization, path } = await listener('limit.reached');
    const { id } = await publishWorkflow(organization, chain({ id: 'start', type: 'apiTrigger' }, end));
    await organization.user.query(`select set_organization_limit('executions_per_month', 0)`);
    for (const _attempt of [1, 2]) {
      const request = JSON.stringify([{ organizationId: organization.id, workflowId: id }]);
      const { rows } = await db.pool('flowgres_worker').query('select error from engine.start_runs($1)', [request]);
      expect(rows[0].error).toMatchObject({ code: 'LIMIT_REACHED' });
      await sendEvents();
    }
    await expect
      .poll(() => bodies(path))
      .toEqual([
        expect.objectContaining({ type: 'limit.reached', data: expect.objectContaining({ metric: 'executions_per_month', limit: 0 }) }),
      ]);
  });

  test('is told that a credential expires', async () => {
    const { organization, path } = await listener('credential.expiring');
    const expiresAt = new Date(Date.now() + 3 * 86_400_000).toISOString();
    await createCredential(db, keys, organization, { name: 'crm', type: 'bearer', data: { token: 'abcdef' }, expiresAt });
    for (const _day of [1, 2]) {
      await db.admin.query('select engine.queue_expiring_credentials()');
      await sendEvents();
    }
    await expect.poll(() => bodies(path)).toEqual([expect.objectContaining({ data: expect.objectContaining({ name: 'crm' }) })]);
  });
});

describe('an endpoint that does not accept', () => {
  test('is tried again, with the same id, and its run waits', async () => {
    const { organization, path, endpoint } = await listener('run.succeeded');
    answers.set(path, 500);
    await start(organization, end);
    await sendEvents();
    await expect.poll(() => endpointState(endpoint)).toMatchObject({ is_failing: true, is_enabled: true });
    const [delivery] = await deliveries(endpoint);
    expect(delivery!.status).toBe('running');
    answers.delete(path);
    await expect.poll(async () => (await deliveries(endpoint))[0]!.status).toBe('success');
    expect(new Set(at(path).map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(await endpointState(endpoint)).toMatchObject({ is_failing: false });
  });

  test('is disabled when it is gone, and told nothing more until it is enabled', async () => {
    const { organization, path, endpoint } = await listener('run.succeeded');
    answers.set(path, 410);
    await start(organization, end);
    await sendEvents();
    await expect.poll(() => endpointState(endpoint)).toMatchObject({ is_enabled: false, disabled_reason: 'gone' });
    await expect.poll(async () => (await deliveries(endpoint)).map(({ status }) => status)).toEqual(['error']);
    await start(organization, end);
    await sendEvents();
    expect(await deliveries(endpoint)).toHaveLength(1);
    answers.delete(path);
    await organization.user.query('select update_webhook_endpoint($1, is_enabled => true)', [endpoint]);
    expect(await endpointState(endpoint)).toMatchObject({ is_enabled: true, disabled_reason: null, is_failing: false });
    const [failed] = await deliveries(endpoint);
    await organization.user.query('select retry_run($1)', [failed!.id]);
    await expect.poll(async () => (await deliveries(endpoint)).at(-1)!.status).toBe('success');
  });

  test('is disabled after 5 days, and not before', async () => {
    const { endpoint, organization } = await listener('run.succeeded');
    const fails = async (days: number) => {
      await db.admin.query(`update webhook_endpoints set failing_since = now() - $2::double precision * interval '1 hour' where id = $1`, [
        endpoint,
        days * 24,
      ]);
      await db.pool('flowgres_worker').query('select engine.record_webhook_attempt($1, $2, false, false)', [organization.id, endpoint]);
      return endpointState(endpoint);
    };
    expect(await fails(4)).toMatchObject({ is_enabled: true });
    expect(await fails(5.1)).toMatchObject({ is_enabled: false, disabled_reason: 'failing' });
  });
});
