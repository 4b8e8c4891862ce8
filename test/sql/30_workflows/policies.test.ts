/** Row-level security of workflows and versions. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let other: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db, 'Acme');
  other = await createOrganization(db, 'Other');
  await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }));
});

test('an organization sees its workflows and versions, another one nothing', async () => {
  for (const table of ['workflows', 'workflow_versions']) {
    expect((await acme.user.query(`select from ${table}`)).rowCount).toBe(1);
    expect((await other.user.query(`select from ${table}`)).rowCount).toBe(0);
  }
});

test('plans and node types are seen by nobody, and nothing is written past the functions', async () => {
  for (const statement of [
    'select from engine.compiled_versions',
    'select from engine.node_types',
    'delete from workflows',
    `update workflow_versions set message = ''`,
  ]) {
    await expect(acme.user.query(statement)).rejects.toMatchObject({ code: '42501' });
  }
});
