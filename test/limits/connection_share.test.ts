import { expect, test } from 'vitest';
import { LOOKUPS, WebhookRoutes } from '../../src/webhooks/routes.ts';
import { FairQueue } from '../../src/limits/fair_queue.ts';
import { ConnectionShare } from '../../src/limits/connection_share.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { type GraphqlAnswer, serveGraphql } from '../helpers/graphql.ts';

/** Work that ends when the test says so. */
function work() {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const begin = (name: string) => () => {
    started.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  return { started, begin, end: (name: string) => ends.get(name)!() };
}

test('one key has half of a queue, in the order of its calls, and another one finds a place at once', async () => {
  const queue = new FairQueue({ total: 4, maxWaiting: 10, maxWaitMs: 60_000 });
  const { started, begin, end } = work();
  const calls = ['a1', 'a2', 'a3', 'a4'].map((name) => queue.use('a', begin(name)));
  calls.push(queue.use('b', begin('b1')));
  await expect.poll(() => started).toEqual(['a1', 'a2', 'b1']);
  end('b1');
  end('a1');
  await expect.poll(() => started).toEqual(['a1', 'a2', 'b1', 'a3']);
  end('a2');
  await expect.poll(() => started).toEqual(['a1', 'a2', 'b1', 'a3', 'a4']);
  for (const name of ['a3', 'a4']) end(name);
  expect(await Promise.all(calls)).toEqual(['a1', 'a2', 'a3', 'a4', 'b1']);
});

test('more than may wait is refused before it begins, as is what waits too long; a failure gives its place back', async () => {
  const queue = new FairQueue({ total: 1, maxWaiting: 1, maxWaitMs: 20 });
  const { started, begin, end } = work();
  const first = queue.use('a', begin('a1'));
  const second = queue.use('a', begin('a2'));
  const refused = { code: 'RATE_LIMITED', details: { retryAfterMs: expect.any(Number) } };
  await expect(queue.use('a', begin('a3'))).rejects.toMatchObject(refused);
  await expect(second).rejects.toMatchObject(refused);
  end('a1');
  await first;
  expect(started).toEqual(['a1']);
  await expect(queue.use('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await expect(queue.use('a', () => Promise.resolve('yes'))).resolves.toBe('yes');
});

test('tokens of an organization share its part; a network without a token has its own', async () => {
  const share = new ConnectionShare(1, (session) => (session.startsWith('acme') ? 'acme' : null), { waiting: 1 });
  const { begin, end } = work();
  const calls = [
    share.use({ 'flowgres.session': 'acme 1' }, begin('first')),
    share.use({ 'flowgres.session': 'acme 2' }, () => Promise.resolve('second')),
  ];
  const extensions = { code: 'RATE_LIMITED', statusCode: 429, details: { retryAfterMs: 1_000 } };
  const refused = expect.objectContaining({ extensions: expect.objectContaining(extensions) });
  expect(() => share.admit('acme 3', '')).toThrow(refused);
  await expect(share.use({ 'flowgres.session': 'acme 3' }, begin('third'))).rejects.toEqual(refused);
  share.admit('other', '');
  const anonymous = (ip: string) => share.use({ 'flowgres.session': '', 'flowgres.client_ip': ip }, () => Promise.resolve(ip));
  calls.push(anonymous('192.0.2.1'));
  expect(() => share.admit(null, '192.0.2.9')).toThrow(refused);
  share.admit(null, '192.0.3.1');
  end('first');
  expect(await Promise.all(calls)).toEqual(['first', 'second', '192.0.2.1']);
});

test('lookups of webhooks of one organization key leave connections for others', async () => {
  const { started, begin, end } = work();
  const routes = new WebhookRoutes({ findWebhook: (key, _, path) => begin(`${key}${path}`)().then(() => null) });
  const calls = Array.from({ length: LOOKUPS.total }, (_, index) => routes.find('a', 'GET', `/${index}`));
  calls.push(routes.find('b', 'GET', '/'));
  await expect.poll(() => started).toEqual(['a/0', 'a/1', 'b/']);
  for (const name of ['a/0', 'a/1', 'b/']) end(name);
  await expect.poll(() => started).toHaveLength(5);
  for (const name of ['a/2', 'a/3']) end(name);
  expect(await Promise.all(calls)).toEqual([null, null, null, null, null]);
});

test('slow requests of one organization leave connections for those of another', async () => {
  const db = await createTestDatabase();
  const [slow, other] = [await createOrganization(db, 'Slow'), await createOrganization(db, 'Other')];
  const server = await serveGraphql(db, { maxConnections: 10 });
  const { rows } = await db.admin.query(`insert into workflows (organization_id, name, definition) values ($1, 'w', '{}') returning id`, [
    slow.id,
  ]);
  const archive = 'mutation ($id: UUID!) { archiveWorkflow(input: { workflowId: $id }) { workflow { id } } }';
  const holder = await db.admin.connect();
  const blocked = async () => {
    const text = `select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    return (await db.admin.query<{ n: number }>(text)).rows[0]!.n;
  };
  let calls: Promise<GraphqlAnswer>[] = [];
  try {
    await server.data(other.token, '{ workflows { nodes { id } } }');
    await holder.query('begin');
    await holder.query('select from workflows where id = $1 for update', [rows[0].id]);
    calls = Array.from({ length: 12 }, () => server.query(slow.token, archive, { id: rows[0].id }));
    await expect.poll(blocked, { timeout: 20_000 }).toBe(4);
    expect(await server.data(other.token, '{ workflows { nodes { id } } }')).toEqual({ workflows: { nodes: [] } });
    expect(await blocked()).toBeLessThanOrEqual(4);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
  const answers = await Promise.all(calls);
  expect(answers.some(({ data }) => data?.archiveWorkflow?.workflow.id === rows[0].id)).toBe(true);
  await server.close();
  await db.drop();
});
