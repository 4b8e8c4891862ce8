import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';

const db = await createTestDatabase();
const intake = db.pool('flowgres_intake');

async function webhookOf(organization: TestOrganization) {
  const definition = chain({ id: 'hook', type: 'webhookTrigger', properties: { path: '/x' } }, { id: 'end', type: 'noOp' });
  return (await publishWorkflow(organization, definition)).id;
}
const log = (entries: Record<string, unknown>[]) => intake.query('select engine.log_webhook_deliveries($1)', [JSON.stringify(entries)]);
const entry = (organization: TestOrganization, workflowId: string, more: Record<string, unknown> = {}) => ({
  organizationId: organization.id,
  workflowId,
  node: 'hook',
  at: new Date().toISOString(),
  method: 'POST',
  path: '/x',
  clientAddress: '192.0.2.1',
  status: 202,
  runId: '01900000-0000-7000-8000-000000000000',
  isDuplicate: false,
  ms: 3,
  ...more,
});
const refused = { runId: null, status: 401, error: 'SIGNATURE_MISMATCH' };
const count = async (organization: TestOrganization) =>
  (
    await organization.user.query<{ accepted: number; refused: number }>(
      'select count(run_id)::int as accepted, (count(*) - count(run_id))::int as refused from webhook_deliveries',
    )
  ).rows[0]!;

describe('the list of deliveries', () => {
  test('holds 1,000 an hour of an organization, 200 of them refused, and others are not kept from it', async () => {
    const [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
    const [hook, other] = [await webhookOf(acme), await webhookOf(globex)];
    for (let batch = 0; batch < 3; batch += 1) {
      await log(Array.from({ length: 150 }, () => entry(acme, hook, refused)));
      await log([...Array.from({ length: 500 }, () => entry(acme, hook)), entry(globex, other)]);
    }
    expect(await count(acme)).toEqual({ accepted: 800, refused: 200 });
    expect(await count(globex)).toEqual({ accepted: 3, refused: 0 });
  });

  test('is for the organization alone, with the scope runs:read', async () => {
    const [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
    await log([entry(acme, await webhookOf(acme))]);
    expect([await count(acme), await count(globex)]).toEqual([
      { accepted: 1, refused: 0 },
      { accepted: 0, refused: 0 },
    ]);
    await expect(acme.user.query('delete from webhook_deliveries')).rejects.toThrow('permission denied');
  });

  test('leaves out what is of a workflow that is gone, and of another organization', async () => {
    const [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
    await log([entry(acme, await webhookOf(globex))]);
    expect([await count(acme), await count(globex)]).toEqual([
      { accepted: 0, refused: 0 },
      { accepted: 0, refused: 0 },
    ]);
  });

  test('keeps a request for 7 days', async () => {
    const acme = await createOrganization(db);
    const hook = await webhookOf(acme);
    const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();
    await log([entry(acme, hook, { at: daysAgo(6.9) }), entry(acme, hook, { at: daysAgo(7.1) })]);
    await db.admin.query(`select * from engine.delete_expired(1000, 'webhook deliveries')`);
    expect(await count(acme)).toEqual({ accepted: 1, refused: 0 });
  });
});

describe('a delivery that is made again', () => {
  test('is refused to other organizations, and when nothing was started', async () => {
    const [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
    const hook = await webhookOf(acme);
    await log([entry(acme, hook, refused), entry(acme, hook)]);
    const { rows } = await acme.user.query<{ id: string; run_id: string | null }>('select id, run_id from webhook_deliveries');
    for (const { id, run_id: runId } of rows) {
      await expect(globex.user.query('select redeliver_webhook($1)', [id])).rejects.toThrow('There is no such delivery');
      const why = runId === null ? 'The request was refused' : 'The log of the run has expired';
      await expect(acme.user.query('select redeliver_webhook($1)', [id])).rejects.toThrow(why);
    }
  });
});
