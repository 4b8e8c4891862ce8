/**
 * Measures the retirement of a month of events and their runs: in one statement, as the job does, and
 * concurrently, as `partitions.retire_concurrently()` does; compared with DELETE and VACUUM of as many events.
 */
import { retirePartitions } from '../../src/maintenance/partitions.ts';
import { type Outcome, written } from '../measure.ts';
import { type PartitionBench, fill, times } from './measure.ts';

const EVENTS = Number(process.env['FLOWGRES_BENCH_EVENTS'] ?? 1_000_000);
const EVENTS_PER_RUN = 20;

/** Measures the retirement. */
export async function measureRetirement(bench: PartitionBench): Promise<Outcome[]> {
  const { admin } = bench;
  const { rows } = await admin.query<{ month: string; name: string }>(
    `select to_char(at, 'YYYY-MM-DD') || ' 00:00+00' as month, 'workflow_events_' || to_char(at, '"y"YYYY"m"MM') as name
     from (values (date_trunc('month', now(), 'UTC') at time zone 'UTC' - interval '15 months')) as m (at)`,
  );
  const { month, name } = rows[0]!;
  const prepareMonth = async () => {
    for (const parent of ['workflow_runs', 'workflow_events']) await admin.query('select partitions.create($1, $2)', [parent, month]);
    const runs = EVENTS / EVENTS_PER_RUN;
    await fill(bench, { from: month, every: `${Math.floor((27 * 86_400_000) / runs)} ms`, runs, events: EVENTS_PER_RUN });
    // Checkpointed pages, as of an old month: the first change of each writes the whole page to the WAL.
    await admin.query('vacuum analyze workflow_events');
    await admin.query('checkpoint');
  };
  const timed = (work: () => Promise<unknown>) => written(admin, async () => (await times(1, work))[0]!);

  await prepareMonth();
  const deleted = await timed(() =>
    admin.query(
      `set flowgres.purge = 'on'; delete from workflow_events where ts >= '${month}' and ts < '${month}'::timestamptz + interval '1 month'`,
    ),
  );
  const vacuumed = await timed(() => admin.query(`vacuum ${name}`));
  await admin.query(`drop table ${name}`);
  await admin.query('set session_replication_role = replica; truncate workflow_runs cascade; reset session_replication_role');

  const leave = async (retire: () => Promise<{ partition: string | null; done: boolean; detail: string | null }[]>) => {
    await prepareMonth();
    const left = await timed(async () => {
      const failed = (await retire()).find(({ done }) => !done);
      if (failed) throw new Error(`${failed.partition} did not leave: ${failed.detail}`);
    });
    const { rowCount } = await admin.query('select where to_regclass($1) is null', [name]);
    if (rowCount !== 1) throw new Error(`${name} is still there`);
    return left;
  };
  const left = await leave(async () => (await admin.query('select * from partitions.retire()')).rows);
  const gently = await leave(() => retirePartitions(bench.maintenanceUrl));

  const count = EVENTS.toLocaleString('en-US');
  const faster = (ms: number) => (ms / left.value).toFixed(0);
  return [
    { name: `DELETE of ${count} events`, p50: deleted.value, wal: deleted.wal },
    { name: 'VACUUM of their partition', p50: vacuumed.value, wal: vacuumed.wal },
    { name: `retirement of ${count} events and their runs`, p50: left.value, wal: left.wal },
    { name: `retirement of ${count} events and their runs, concurrently`, p50: gently.value, wal: gently.wal },
    `retirement against DELETE: ${faster(deleted.value)} × faster, ${faster(deleted.value + vacuumed.value)} × with its VACUUM (target 20), ` +
      `${(deleted.wal / left.wal).toFixed(0)} × less WAL, ${((deleted.wal + vacuumed.wal) / left.wal).toFixed(0)} × with its VACUUM (target 1,000)`,
  ];
}
