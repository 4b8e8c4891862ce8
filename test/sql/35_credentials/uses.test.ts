import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';
import { createCredential, createTestVault } from '../../helpers/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let id: string;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  id = await createCredential(db, await createTestVault(), acme, { name: 'crm', type: 'bearer', data: { token: 'some token' } });
});

const record = (uses: unknown[]) =>
  db.pool('flowgres_worker').query('select engine.record_credential_uses($1) as count', [JSON.stringify(uses)]);

test('uses are added to the counter, and one row of the audit log says where', async () => {
  const use = { organizationId: acme.id, credentialId: id, workflowId: 'w' };
  await record([
    { ...use, node: 'a', count: 2 },
    { ...use, node: 'b', count: 3 },
  ]);
  expect((await db.admin.query('select usage_count, last_used_at is not null as used from credentials')).rows).toEqual([
    { usage_count: 5, used: true },
  ]);
  const { rows } = await db.admin.query(`select organization_id, row_key, after from audit_log where operation = 'use'`);
  expect(rows).toEqual([
    {
      organization_id: acme.id,
      row_key: { id },
      after: {
        uses: 5,
        by: [
          { workflowId: 'w', node: 'a', count: 2 },
          { workflowId: 'w', node: 'b', count: 3 },
        ],
      },
    },
  ]);
});

test('a credential that is gone, or of another organization, is left out', async () => {
  const { rows } = await record([{ organizationId: crypto.randomUUID(), credentialId: id, workflowId: 'w', node: 'a', count: 1 }]);
  expect(rows).toEqual([{ count: 0 }]);
});
