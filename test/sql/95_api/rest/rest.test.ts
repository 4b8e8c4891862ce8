/** The functions behind REST, as psql calls them: a DBA may read runs of every organization, others only their own. */
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';
import { chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

test('a DBA reads a run of any organization, a token one of its own; lists need an organization', async () => {
  const db = await createTestDatabase();
  const [acme, other] = await Promise.all([createOrganization(db), createOrganization(db, 'Other')]);
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }), 'Orders');
  const { rows } = await acme.user.query<{ id: string }>('select id from start_workflow_run($1, $2)', [workflow.id, '{"n": 1}']);
  const id = rows[0]!.id;
  const show = 'select engine.show_run($1) as run';
  expect((await db.admin.query(show, [id])).rows[0].run).toMatchObject({ id, workflow: 'Orders', status: 'success', output: { n: 1 } });
  expect((await acme.user.query(show, [id])).rows[0]).toMatchObject({ run: { id } });
  await expect(other.user.query(show, [id])).rejects.toMatchObject({ code: 'WF002' });
  expect((await other.user.query('select engine.show_runs(null, null, null, 10) as page')).rows).toEqual([{ page: { runs: [] } }]);
  await expect(db.admin.query('select engine.show_workflows(null, null, 10)')).rejects.toMatchObject({ code: 'WF004' });
});
