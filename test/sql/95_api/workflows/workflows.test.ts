/** Drafts: create, save with a revision, publish, archive. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, asUser, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

interface Workflow {
  id: string;
  name: string;
  description: string | null;
  revision: number;
  published_version: number | null;
  archived_at: Date | null;
  created_by: string | null;
}

const draft = JSON.stringify(chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));

async function create(name = 'Orders'): Promise<Workflow> {
  const { rows } = await acme.user.query<Workflow & Record<string, unknown>>('select * from create_workflow($1, $2)', [name, draft]);
  return rows[0]!;
}

const save = async (...values: unknown[]): Promise<Workflow> => {
  const places = values.map((_, index) => `$${index + 1}`).join(', ');
  return (await acme.user.query<Workflow & Record<string, unknown>>(`select * from save_workflow(${places})`, values)).rows[0]!;
};

describe('create_workflow', () => {
  test('makes a draft at revision 1, not published', async () => {
    expect(await create()).toMatchObject({
      name: 'Orders',
      revision: 1,
      published_version: null,
      archived_at: null,
      created_by: acme.userId,
    });
  });

  test.each([
    ['an empty name', [' ', '{}'], 'WF001'],
    ['no name', [null, '{}'], 'WF001'],
    ['no definition', ['W', null], 'WF001'],
    ['a definition that is no object', ['W', '[]'], 'WF001'],
    ['more than 1 MiB', ['W', JSON.stringify({ x: 'x'.repeat(1024 * 1024) })], 'WF010'],
  ])('refuses %s', async (_case, values, code) => {
    await expect(acme.user.query('select create_workflow($1, $2)', values)).rejects.toMatchObject({ code });
  });
});

describe('save_workflow', () => {
  test('replaces the draft; name and description stay when not given', async () => {
    const { id } = await create('Before');
    expect(await save(id, '{"nodes": []}', 1, 'After', 'Why')).toMatchObject({ name: 'After', description: 'Why', revision: 2 });
    expect(await save(id, '{}', 2)).toMatchObject({ name: 'After', description: 'Why', revision: 3 });
  });

  test('refuses a change that is based on an older revision, or on none', async () => {
    const { id } = await create();
    await save(id, '{}', 1);
    await expect(save(id, '{}', 1)).rejects.toMatchObject({ code: 'WF003', detail: expect.stringContaining('"revision": 2') });
    await expect(save(id, '{}', null)).rejects.toMatchObject({ code: 'WF003' });
  });

  test('of two at the same time keeps one', async () => {
    const { id } = await create();
    const answers = await Promise.allSettled([save(id, '{"a": 1}', 1), save(id, '{"a": 2}', 1), save(id, '{"a": 3}', 1)]);
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('publish_workflow', () => {
  const publish = (id: string | null, message: string | null = null) =>
    acme.user.query<{ version: number; message: string }>('select * from publish_workflow($1, $2)', [id, message]);

  test('counts versions, keeps each as it was, and compiles it', async () => {
    const { id } = await create();
    expect((await publish(id, 'first')).rows[0]).toMatchObject({ version: 1, message: 'first' });
    await save(id, JSON.stringify(chain({ id: 'begin', type: 'apiTrigger' })), 1);
    expect((await publish(id)).rows[0]).toMatchObject({ version: 2, message: null });
    const { rows } = await db.admin.query(
      `select v.version, v.definition -> 'nodes' -> 0 ->> 'id' as first_node, p.ids
       from workflow_versions as v join engine.compiled_versions as p using (organization_id, workflow_id, version)
       where workflow_id = $1 order by version`,
      [id],
    );
    expect(rows).toEqual([
      { version: 1, first_node: 'start', ids: ['start', 'end'] },
      { version: 2, first_node: 'begin', ids: ['begin'] },
    ]);
    const workflow = await acme.user.query('select published_version from workflows where id = $1', [id]);
    expect(workflow.rows).toEqual([{ published_version: 2 }]);
  });

  test('tells all problems of an invalid draft and changes nothing', async () => {
    const { id } = await create();
    await save(id, '{"nodes": [{"id": "1x", "type": "nonsense"}], "connections": []}', 1);
    const error = await publish(id).catch((raised) => raised);
    expect(error).toMatchObject({ code: 'WF001' });
    const { problems } = JSON.parse(error.detail);
    expect(problems.length).toBeGreaterThan(1);
    expect(problems[0]).toEqual({ severity: 'error', pointer: expect.any(String), code: expect.any(String), message: expect.any(String) });
    expect((await db.admin.query('select from workflow_versions where workflow_id = $1', [id])).rowCount).toBe(0);
  });

  test('registers the webhooks of the version, and unpublishing takes them away', async () => {
    const { id } = await create();
    await save(id, JSON.stringify(chain({ id: 'hook', type: 'webhookTrigger', properties: { path: '/orders', method: 'POST' } })), 1);
    await publish(id);
    const webhooks = async () => (await acme.user.query('select node, version, path from webhooks where workflow_id = $1', [id])).rows;
    expect(await webhooks()).toEqual([{ node: 'hook', version: 1, path: '/orders' }]);
    await publish(id);
    expect(await webhooks()).toEqual([{ node: 'hook', version: 2, path: '/orders' }]);
    await acme.user.query('select unpublish_workflow($1)', [id]);
    expect(await webhooks()).toEqual([]);
  });

  test('does not know a workflow that is not there', async () => {
    await expect(publish('01900000-0000-7000-8000-000000000000')).rejects.toMatchObject({ code: 'WF002' });
    await expect(publish(null)).rejects.toMatchObject({ code: 'WF002' });
  });
});

describe('unpublish_workflow and archive_workflow', () => {
  test('repeated change nothing more', async () => {
    const { id } = await create();
    await acme.user.query('select publish_workflow($1)', [id]);
    const call = async (name: string) =>
      (await acme.user.query<Workflow & Record<string, unknown>>(`select * from ${name}($1)`, [id])).rows[0]!;
    expect(await call('unpublish_workflow')).toMatchObject({ published_version: null, archived_at: null });
    expect(await call('unpublish_workflow')).toMatchObject({ published_version: null });
    const archived = await call('archive_workflow');
    expect(archived.archived_at).toBeInstanceOf(Date);
    expect(await call('archive_workflow')).toEqual(archived);
  });

  test('an archived workflow is neither saved nor published', async () => {
    const { id } = await create();
    await acme.user.query('select archive_workflow($1)', [id]);
    await expect(save(id, '{}', 1)).rejects.toMatchObject({ code: 'WF003' });
    await expect(acme.user.query('select publish_workflow($1)', [id])).rejects.toMatchObject({ code: 'WF003' });
  });
});

test('commands need the scope workflows:write', async () => {
  const { id } = await create();
  const { rows } = await acme.user.query<{ secret: string }>(
    `select secret from create_api_token('reader', '{workflows:read, runs:write}')`,
  );
  const reader = asUser(db, rows[0]!.secret);
  for (const call of [
    `create_workflow('W', '{}')`,
    `save_workflow('${id}', '{}', 1)`,
    `publish_workflow('${id}')`,
    `unpublish_workflow('${id}')`,
    `archive_workflow('${id}')`,
  ]) {
    await expect(reader.query(`select ${call}`), call).rejects.toMatchObject({
      code: 'WF005',
      detail: expect.stringContaining('workflows:write'),
    });
  }
});

test('a DBA without a context acts for the organization that owns the workflow', async () => {
  const { id } = await create();
  const { rows } = await db.admin.query('select version from publish_workflow($1)', [id]);
  expect(rows).toEqual([{ version: 1 }]);
  await expect(db.admin.query(`select create_workflow('W', '{}')`)).rejects.toMatchObject({ code: 'WF004' });
  await expect(db.admin.query(`select publish_workflow('01900000-0000-7000-8000-000000000000')`)).rejects.toMatchObject({ code: 'WF002' });
});

describe('assign_workflow', () => {
  test('gives a workflow to a team of the organization, and to no other', async () => {
    const globex = await createOrganization(db, 'Globex');
    const team = async (organization: TestOrganization) =>
      (
        await db.admin.query<{ id: string }>(
          `insert into teams (organization_id, name, slug) values ($1, 'Team', 'team-one') returning id`,
          [organization.id],
        )
      ).rows[0]!.id;
    const { id } = await create();
    const assign = (to: string | null) => acme.user.query('select team_id from assign_workflow($1, $2)', [id, to]);
    const own = await team(acme);
    expect((await assign(own)).rows).toEqual([{ team_id: own }]);
    await expect(assign(await team(globex))).rejects.toMatchObject({ code: 'WF002' });
    await db.admin.query('delete from teams where id = $1', [own]);
    expect((await acme.user.query('select team_id, organization_id from workflows where id = $1', [id])).rows).toEqual([
      { team_id: null, organization_id: acme.id },
    ]);
    expect((await assign(null)).rows).toEqual([{ team_id: null }]);
  });
});
