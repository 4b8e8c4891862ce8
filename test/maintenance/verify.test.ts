import { expect, test } from 'vitest';
import { verifyPartitions } from '../../src/maintenance/verify.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { createLog } from '../helpers/partitions.ts';

test('a sound log of ten thousand events passes, whatever indexes its plans use', async () => {
  const db = await createTestDatabase({ unchecked: true });
  const run = await (await createLog(db)).addRun(new Date().toISOString());
  await db.admin.query(
    `insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
     select organization_id, id, 1 + i, started_at + i * interval '1 microsecond', 'test', '{}'
     from workflow_runs, generate_series(1, 10000) as i where id = $1`,
    [run],
  );
  await db.admin.query('analyze workflow_events');
  expect((await verifyPartitions(db.adminUrl)).filter(({ problem }) => problem)).toEqual([]);
});
