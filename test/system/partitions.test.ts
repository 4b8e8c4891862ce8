import { expect, test } from 'vitest';
import { connect, withDatabase } from '../../src/database/connections.ts';
import { buildIndex, freezePartitions } from '../../src/maintenance/upkeep.ts';
import { maintainPartitions, retirePartitions } from '../../src/maintenance/partitions.ts';
import { verifyPartitions } from '../../src/maintenance/verify.ts';
import { buildDatabase } from '../../tools/build-database.ts';
import { openDatabase } from '../helpers/database.ts';
import { lines } from '../helpers/partitions.ts';
import { readStatements } from '../helpers/page.ts';
import { startPostgres15, startStandby15, suite } from './packages.ts';

suite('Partitions on PostgreSQL 15', ['postgresql-15'], () => {
  test('tables are converted, indexed, frozen and verified', async () => {
    const server = await startPostgres15({ max_locks_per_transaction: '256' });
    await buildDatabase(server, 'flowgres');
    const db = openDatabase(server, 'flowgres', false);
    const client = await connect(db.adminUrl);
    for (const statement of await readStatements('how-to/partitions.md')) {
      await client.query(statement).catch((error: Error) => expect.fail(`${error.message} in: ${statement}`));
    }
    await client.end();
    const maintenance = db.url('flowgres_maintenance');
    await buildIndex(maintenance, { table: 'public.workflow_events', name: 'workflow_events_seq_idx', definition: '(run_id, seq)' });
    expect(await lines(db, `select indisvalid from pg_index where indexrelid = 'workflow_events_seq_idx'::regclass`)).toEqual(['true']);
    expect((await freezePartitions(maintenance)).length).toBeGreaterThan(0);
    expect(await freezePartitions(maintenance)).toEqual([]);
    expect((await verifyPartitions(db.adminUrl)).filter(({ problem }) => problem)).toEqual([]);
    await db.drop();
  });

  test('a standby leaves all of it to its primary', async () => {
    const server = await startPostgres15();
    await buildDatabase(server, 'flowgres');
    const url = withDatabase(await startStandby15(server), 'flowgres');
    const standby = await connect(url);
    const rows = async (from: string) => (await standby.query(`select * from partitions.${from}`)).rows;
    expect(await rows(`of('workflow_events')`)).toHaveLength(6);
    const calls = ['maintain()', 'retire()', 'retire_concurrently()', 'analyze()', 'freeze_statements()'];
    for (const call of [...calls, `maintain('workflow_events', dry_run => true)`, 'doctor()']) expect(await rows(call), call).toEqual([]);
    await standby.query('call partitions.split()');
    for (const work of [maintainPartitions, retirePartitions, freezePartitions]) expect(await work(url)).toEqual([]);
    await expect(standby.query(`select partitions.create('workflow_events', '2020-01-01')`)).rejects.toMatchObject({ code: '25006' });
    await standby.end();
  });
});
