/** Webhooks: addresses that publishing takes, and how a request finds its trigger. */
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

const db = await createTestDatabase();

type Properties = { path: string; method?: string | string[]; respond?: string };

/** A published workflow with these webhook triggers, named hook1, hook2, … */
const publish = (organization: TestOrganization, ...triggers: Properties[]) =>
  publishWorkflow(organization, {
    nodes: [
      ...triggers.map((properties, index) => ({ id: `hook${index + 1}`, type: 'webhookTrigger', properties })),
      { id: 'end', type: 'noOp' },
    ],
    connections: triggers.map((_, index) => ({ source: `hook${index + 1}`, target: 'end' })),
  });

async function find(organization: TestOrganization, method: string, path: string): Promise<Record<string, unknown> | null> {
  const { rows } = await db
    .pool('flowgres_intake')
    .query<{ route: Record<string, unknown> | null }>('select engine.find_webhook($1, $2, $3) as route', [
      organization.webhookKey,
      method,
      path,
    ]);
  return rows[0]?.route ?? null;
}

describe('publishing', () => {
  test('takes the addresses of all webhook triggers and gives them up with the next version', async () => {
    const organization = await createOrganization(db);
    const { id } = await publish(organization, { path: '/a' }, { path: '/b', method: ['PUT', 'PATCH'] });
    expect(await find(organization, 'POST', '/a')).toMatchObject({
      organizationId: organization.id,
      workflowId: id,
      version: 1,
      node: 'hook1',
    });
    expect(await find(organization, 'PATCH', '/b')).toMatchObject({ workflowId: id, node: 'hook2', methods: ['PATCH', 'PUT'] });
    await organization.user.query(`select save_workflow(id => $1, definition => $2, expected_revision => 1)`, [
      id,
      { nodes: [{ id: 'hook', type: 'webhookTrigger', properties: { path: '/c' } }], connections: [] },
    ]);
    await organization.user.query('select publish_workflow(id => $1)', [id]);
    expect(await find(organization, 'POST', '/a')).toBeNull();
    expect(await find(organization, 'POST', '/c')).toMatchObject({ workflowId: id, version: 2, node: 'hook' });
    await organization.user.query('select unpublish_workflow(id => $1)', [id]);
    expect(await find(organization, 'POST', '/c')).toBeNull();
  });

  test('refuses an address that another workflow or trigger has, whatever its parameters are called', async () => {
    const organization = await createOrganization(db);
    await publish(organization, { path: '/orders/:id', method: ['GET', 'POST'] });
    for (const path of ['/orders/:id', '/orders/:number', '/orders/:x/', '//orders/:x']) {
      await expect(publish(organization, { path })).rejects.toMatchObject({ code: 'WF003', message: expect.stringContaining('Test') });
    }
    await expect(publish(organization, { path: '/twice' }, { path: '/twice' })).rejects.toMatchObject({
      code: expect.stringMatching(/WF00[13]/),
    });
    await publish(organization, { path: '/orders/:id', method: 'PUT' });
    await publish(organization, { path: '/orders/new' });
  });

  test('refuses it to one of two that publish at once', async () => {
    const organization = await createOrganization(db);
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map(() => publish(organization, { path: '/race' })));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  test('lets two organizations have the same address', async () => {
    const [one, two] = [await createOrganization(db), await createOrganization(db)];
    const [first, second] = [await publish(one, { path: '/same' }), await publish(two, { path: '/same' })];
    expect(await find(one, 'POST', '/same')).toMatchObject({ workflowId: first.id });
    expect(await find(two, 'POST', '/same')).toMatchObject({ workflowId: second.id });
  });

  test.each([
    '',
    '/',
    '/a b',
    '/a?b',
    '/%41',
    '/a/../b',
    '/./a',
    '/:',
    '/:1',
    '/:a/:a',
    '/ä',
    `/${'a/'.repeat(17)}`,
    `/${'a'.repeat(600)}`,
  ])('refuses the path %j', async (path) => {
    const organization = await createOrganization(db);
    await expect(publish(organization, { path })).rejects.toMatchObject({ code: 'WF001' });
  });
});

describe('a request', () => {
  test('finds the most specific path: a fixed segment comes before a parameter, from the left', async () => {
    const organization = await createOrganization(db);
    await publish(
      organization,
      { path: '/orders/:id' },
      { path: '/orders/new' },
      { path: '/:any/new' },
      { path: '/:any/:other/x' },
      { path: '/orders/:id/:part' },
    );
    const nodeAt = async (path: string) => (await find(organization, 'POST', path))?.['node'];
    expect(await nodeAt('/orders/new')).toBe('hook2');
    expect(await nodeAt('/orders/7')).toBe('hook1');
    expect(await nodeAt('/users/new')).toBe('hook3');
    expect(await nodeAt('/orders/7/x')).toBe('hook5');
    expect(await nodeAt('/users/7/x')).toBe('hook4');
    for (const path of ['/orders', '/users/7', '/users/7/y', '/orders/7/x/y', '/', '', '/orders//x', '/:any/:other/x/']) {
      expect([path, await nodeAt(path)]).toEqual([path, path === '/:any/:other/x/' ? 'hook4' : undefined]);
    }
  });

  test('gets the values of the parameters', async () => {
    const organization = await createOrganization(db);
    await publish(organization, { path: '/orders/:id/items/:item' });
    expect(await find(organization, 'POST', '/orders/a%20b/items/{x}')).toMatchObject({
      path: '/orders/:id/items/:item',
      params: { id: 'a%20b', item: '{x}' },
    });
  });

  test('of another method learns which ones there are', async () => {
    const organization = await createOrganization(db);
    await publish(organization, { path: '/orders', method: 'POST' }, { path: '/:any', method: ['GET', 'PUT'] });
    expect(await find(organization, 'DELETE', '/orders')).toEqual({ methods: ['GET', 'POST', 'PUT'] });
    expect(await find(organization, 'GET', '/orders')).toMatchObject({ node: 'hook2' });
  });

  test('of an unknown organization finds nothing', async () => {
    expect(await find({ webhookKey: 'A'.repeat(22) } as TestOrganization, 'POST', '/orders')).toBeNull();
  });
});

test('members see the webhooks of their own organization only', async () => {
  const [one, two] = [await createOrganization(db), await createOrganization(db)];
  await publish(one, { path: '/mine' });
  expect((await one.user.query('select path from webhooks')).rows).toEqual([{ path: '/mine' }]);
  expect((await two.user.query('select path from webhooks')).rows).toEqual([]);
});

describe('a new webhook key', () => {
  const rotate = async (organization: TestOrganization, graceHours?: number) => {
    const { rows } = await organization.user.query<{ webhook_key: string }>(
      `select webhook_key from rotate_webhook_key(${graceHours === undefined ? '' : graceHours})`,
    );
    return { ...organization, webhookKey: rows[0]!.webhook_key };
  };
  const after = async (hours: number) => {
    await db.admin.query(`update private.retired_webhook_keys set expires_at = expires_at - make_interval(hours => $1)`, [hours]);
  };

  test('opens new addresses at once, and closes the old ones after the grace period', async () => {
    const old = await createOrganization(db);
    const { id } = await publish(old, { path: '/orders' });
    const renewed = await rotate(old, 48);
    expect(renewed.webhookKey).not.toBe(old.webhookKey);
    for (const each of [old, renewed]) expect(await find(each, 'POST', '/orders')).toMatchObject({ workflowId: id });
    await after(48);
    expect(await find(old, 'POST', '/orders')).toBeNull();
    expect(await find(renewed, 'POST', '/orders')).toMatchObject({ workflowId: id });
    const { rows } = await db.admin.query(`select deleted from engine.delete_expired() where thing = 'webhook keys'`);
    expect(rows).toEqual([{ deleted: 1 }]);
  });

  test('without a grace period the old addresses end at once, and a second rotation ends what the first one left open', async () => {
    const first = await createOrganization(db);
    await publish(first, { path: '/orders' });
    const second = await rotate(first);
    const third = await rotate(second, 0);
    expect(await Promise.all([first, second, third].map(async (each) => (await find(each, 'POST', '/orders')) !== null))).toEqual([
      false,
      false,
      true,
    ]);
  });

  test('is for owners, and for a sensible time', async () => {
    const organization = await createOrganization(db);
    await expect(rotate(organization, 721)).rejects.toMatchObject({ code: 'WF009', hint: expect.any(String) });
    await expect(rotate(organization, -1)).rejects.toMatchObject({ code: 'WF009' });
    await db.admin.query(`update organization_users set role = 'admin' where organization_id = $1`, [organization.id]);
    await expect(rotate(organization)).rejects.toMatchObject({ code: 'WF005' });
  });
});
