/** Templates: who sees them, and what a copy holds. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
});

const definition = chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp', pin: { secret: 1 }, credentials: {} });

async function create(name: string): Promise<string> {
  const { rows } = await acme.user.query<{ id: string }>(`select id from create_workflow($1, $2, 'Why', '{x}')`, [
    name,
    JSON.stringify(definition),
  ]);
  return rows[0]!.id;
}
const offer = (id: string, template: string | null) => acme.user.query('select set_template($1, $2)', [id, template]);
const names = async (organization: TestOrganization) => (await organization.user.query('select name, own from workflow_templates()')).rows;

describe('a template', () => {
  test('of the organization is seen and copied by its members only', async () => {
    const id = await create('Inside');
    await offer(id, 'organization');
    expect(await names(acme)).toContainEqual({ name: 'Inside', own: true });
    expect(await names(globex)).toEqual([]);
    await expect(globex.user.query('select copy_template($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
    const { rows } = await acme.user.query('select organization_id, name, revision, template from copy_template($1, $2)', [id, 'Copy']);
    expect(rows).toEqual([{ organization_id: acme.id, name: 'Copy', revision: 1, template: null }]);
    await offer(id, null);
    await expect(acme.user.query('select copy_template($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
  });

  test('that is public becomes a new row of whoever copies it, without credentials and pins', async () => {
    const id = await create('For all');
    await expect(offer(id, 'public')).rejects.toMatchObject({ code: 'WF005' });
    await db.admin.query(`select set_template($1, 'public')`, [id]);
    expect(await names(globex)).toEqual([{ name: 'For all', own: false }]);
    const { rows } = await globex.user.query('select * from copy_template($1)', [id]);
    expect(rows[0]).toMatchObject({
      organization_id: globex.id,
      name: 'For all',
      description: 'Why',
      tags: ['x'],
      created_by: globex.userId,
      published_version: null,
      definition: {
        nodes: [
          { id: 'start', type: 'apiTrigger' },
          { id: 'end', type: 'noOp' },
        ],
      },
    });
    expect(rows[0]!['id']).not.toBe(id);
    // Still only a row of its own organization.
    expect((await globex.user.query('select from workflows where id = $1', [id])).rowCount).toBe(0);
  });

  test('is copied as it was published, not as it is being edited', async () => {
    const id = await create('Published');
    await acme.user.query('select publish_workflow($1)', [id]);
    await acme.user.query(`select save_workflow($1, '{"nodes": []}', 1)`, [id]);
    await offer(id, 'organization');
    const { rows } = await acme.user.query('select definition from copy_template($1)', [id]);
    expect(rows[0]).toMatchObject({ definition: { nodes: [{ id: 'start' }, { id: 'end' }] } });
  });

  test('is refused for anything else, and of a workflow of others', async () => {
    const id = await create('Refused');
    await expect(offer(id, 'friends')).rejects.toMatchObject({ code: 'WF001' });
    await expect(globex.user.query(`select set_template($1, 'organization')`, [id])).rejects.toMatchObject({ code: 'WF002' });
  });
});

test('an exported workflow has what create_workflow takes', async () => {
  const id = await create('Export');
  const { rows } = await acme.user.query<{ doc: Record<string, unknown> }>('select export_workflow($1) as doc', [id]);
  expect(rows[0]!.doc).toEqual({ name: 'Export', description: 'Why', tags: ['x'], definition });
  await expect(globex.user.query('select export_workflow($1)', [id])).rejects.toMatchObject({ code: 'WF002' });
});
