import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../../helpers/factory.ts';
import { createCredential, createTestVault } from '../../../helpers/vault.ts';

const db = await createTestDatabase();
const keys = await createTestVault();

/** An organization with an endpoint that is told of failed runs. */
async function withEndpoint() {
  const organization = await createOrganization(db);
  const data = { secrets: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'] };
  const credential = await createCredential(db, keys, organization, { name: 'signing', type: 'hmac', data });
  const { rows } = await organization.user.query<{ id: string }>(
    `select id from create_webhook_endpoint('https://example.com/told', '{run.failed}', $1)`,
    [credential],
  );
  return { organization, endpoint: rows[0]!.id };
}

describe('endpoints', () => {
  test('are of admins, at most 20, with a credential of their organization that signs', async () => {
    const { organization, endpoint } = await withEndpoint();
    const stranger = await createOrganization(db, 'Globex');
    const { rows } = await organization.user.query<{ credential_id: string }>('select credential_id from webhook_endpoints');
    const credential = rows[0]!.credential_id;
    const create = (of: TestOrganization, url = 'https://example.com', events = ['run.failed']) =>
      of.user.query('select create_webhook_endpoint($1, $2, $3)', [url, events, credential]);
    await expect(create(stranger)).rejects.toThrow('no such credential');
    await expect(create(organization, 'ftp://example.com')).rejects.toThrow('https://');
    await expect(create(organization, 'https://example.com', ['run.started'])).rejects.toThrow('events has');
    for (let more = 1; more < 20; more += 1) await create(organization);
    await expect(create(organization)).rejects.toThrow('at most 20');
    await expect(stranger.user.query('select delete_webhook_endpoint($1)', [endpoint])).rejects.toThrow('no such webhook endpoint');
    expect((await stranger.user.query('select from webhook_endpoints')).rows).toEqual([]);
    await expect(organization.user.query('select delete_credential($1)', [credential])).rejects.toThrow('sign their messages');
    await organization.user.query('select delete_webhook_endpoint($1)', [endpoint]);
  });

  test('send by a workflow that nobody changes, and that is no workflow of the plan', async () => {
    const { organization } = await withEndpoint();
    const { rows } = await organization.user.query<{ id: string }>(`select id from workflows where name = 'Outgoing webhooks'`);
    await expect(organization.user.query('select archive_workflow($1)', [rows[0]!.id])).rejects.toThrow('cannot be changed');
    const used = await organization.user.query<{ used: string }>(`select used from usage() where metric = 'workflows'`);
    expect(Number(used.rows[0]!.used)).toBe(0);
  });
});
