/** The log of runs is append-only, also for superusers, unless they disable its triggers. */
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { Driver } from '../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../helpers/factory.ts';
import { tamper } from '../../helpers/tamper.ts';

let db: TestDatabase;
let acme: TestOrganization;
let runId: string;
let partition: string;

beforeAll(async () => {
  db = await createTestDatabase({ unchecked: true });
  acme = await createOrganization(db);
  const workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
  runId = (await new Driver(db).start(acme, workflow, { a: 1 })).run_id!;
  partition = (await db.admin.query('select tableoid::regclass::text as name from workflow_events where run_id = $1', [runId])).rows[0]
    .name;
});

const broken = async () => (await db.admin.query('select invariant from monitor.invariants()')).rows.map(({ invariant }) => invariant);

describe('nobody changes the log of runs', () => {
  test.each([
    `update workflow_events set payload = '{}'`,
    'delete from workflow_events',
    'truncate workflow_events',
    'truncate workflow_runs cascade',
    'delete from workflow_runs', // its events would go with it
  ])('by %s', async (statement) => {
    for (const role of ['flowgres_api', 'flowgres_intake', 'flowgres_worker', 'flowgres_monitor', 'flowgres_maintenance'] as const) {
      await expect(db.pool(role).query(statement)).rejects.toMatchObject({ code: '42501' });
    }
    await expect(db.admin.query(statement)).rejects.toMatchObject({ code: 'WF005' });
    await expect(db.admin.query(`set role flowgres_owner; ${statement}`)).rejects.toMatchObject({ code: 'WF005' });
  });

  test('by naming a partition, one of those to come among them', async () => {
    await expect(db.admin.query(`update ${partition} set payload = '{}'`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(db.admin.query(`delete from ${partition}`)).rejects.toMatchObject({ code: 'WF005' });
    await expect(db.admin.query(`truncate ${partition}`)).rejects.toMatchObject({ code: 'WF005' });
    const { rows } = await db.admin.query(`select create_workflow_events_partition(now() + interval '3 years') as name`);
    await expect(db.admin.query(`truncate ${rows[0].name}`)).rejects.toMatchObject({ code: 'WF005' });
  });
});

test('events are inserted without a trigger', async () => {
  const { rows } = await db.admin.query(
    `select t.tgname from pg_trigger as t where t.tgrelid = $1::regclass and not t.tgisinternal and t.tgtype & 4 <> 0`,
    [partition],
  );
  expect(rows).toEqual([]);
});

test('what is purged, and what is retired, leaves as before', async () => {
  const gone = await createOrganization(db, 'Gone');
  const workflow = await publishWorkflow(gone, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
  const { run_id } = await new Driver(db).start(gone, workflow);
  await db.admin.query(`update organizations set deleted_at = now() - interval '31 days' where id = $1`, [gone.id]);
  await db.admin.query('call engine.purge_organizations()');
  expect((await db.admin.query('select from workflow_events where run_id = $1', [run_id])).rowCount).toBe(0);
  await expect(db.admin.query('delete from workflow_events')).rejects.toMatchObject({ code: 'WF005' });

  await db.admin.query(`select create_workflow_events_partition(now() - interval '3 years')`);
  const { rows } = await db.admin.query(
    `select count(*)::int as n from partitions.retire('public.workflow_events', interval '2 years') where done`,
  );
  expect(rows[0].n).toBeGreaterThan(0);
});

describe('the monitor sees who went round it', () => {
  test('that triggers were taken away, or switched off', async () => {
    expect(await broken()).toEqual([]);
    await db.admin.query(`alter table ${partition} disable trigger user`);
    expect(await broken()).toEqual(Array.from({ length: 2 }, () => 'I16 triggers refuse changes of the log'));
    await db.admin.query(`alter table ${partition} enable trigger user`);
    expect(await broken()).toEqual([]);
  });

  test('that an event was changed; replaying the run says which', async () => {
    await tamper(db, `update workflow_events set payload = jsonb_set(payload, '{input,a}', '2') where run_id = $1 and seq = 1`, [runId]);
    await vi.waitFor(async () => expect(await broken()).toEqual(['I16 no event was changed']), { timeout: 10_000 });
    const { rows } = await db.admin.query('select problem from engine.verify_run($1)', [runId]);
    expect(rows.length).toBeGreaterThan(0);
  });
});
