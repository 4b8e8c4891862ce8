/** Row-level security of runs, events and logs, through the parent and at partitions. */
import { expect, test } from 'vitest';
import { asAnonymous, createTestDatabase } from '../../helpers/database.ts';
import { createOrganization } from '../../helpers/factory.ts';
import { createLog, lines } from '../../helpers/partitions.ts';

const db = await createTestDatabase({ unchecked: true });
const log = await createLog(db);
const other = await createOrganization(db, 'Other');
const now = new Date().toISOString();
await log.addRun(now, [now]);
await db.admin.query(
  `insert into workflow_run_logs (organization_id, run_id, message) select organization_id, id, 'hello' from workflow_runs`,
);
const partitions = await lines(
  db,
  `select i.inhrelid::regclass from pg_inherits as i
   where i.inhparent in ('workflow_runs'::regclass, 'workflow_events'::regclass, 'workflow_run_logs'::regclass) order by 1`,
);

test.each(['workflow_runs', 'workflow_events', 'workflow_run_logs'])('%s shows each organization its own rows', async (table) => {
  const count = `select count(*)::int as count from ${table}`;
  expect((await log.organization.user.query(count)).rows).toEqual([{ count: 1 }]);
  expect((await other.user.query(count)).rows).toEqual([{ count: 0 }]);
  await expect(asAnonymous(db).query(count)).rejects.toMatchObject({ code: '42501' });
});

test.each(partitions)('%s is reached through its parent only', async (partition) => {
  await expect(log.organization.user.query(`select from ${partition}`)).rejects.toMatchObject({ code: '42501' });
});

test('a partition that maintenance makes is closed as well', async () => {
  await db.admin.query(`select create_workflow_events_partition('2025-06-01'::date)`);
  await expect(log.organization.user.query('select from workflow_events_y2025m06')).rejects.toMatchObject({ code: '42501' });
  expect(await lines(db, `select relrowsecurity from pg_class where relname = 'workflow_events_y2025m06'`)).toEqual(['true']);
});
