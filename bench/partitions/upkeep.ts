/**
 * Measures the maintenance of partitions: when there is nothing to do, when one is missing, and when all are
 * missing.
 */
import type pg from 'pg';
import { type Outcome, percentiles, written } from '../measure.ts';
import { type PartitionBench, times } from './measure.ts';

const SIZES = [12, 120, 1200];
/** Months created ahead; all others are in the past. */
const PREMAKE = 3;

/** How a tool creates and maintains a table with this many months. */
interface Manager {
  name: string;
  /** The statement that creates all partitions. */
  create(table: string, partitions: number): string;
  maintain(table: string): string;
  /** Number of measured calls with nothing to do. */
  calls: number;
}

const FLOWGRES: Manager = {
  name: 'Flowgres',
  create: (table, partitions) => `
    select partitions.manage('${table}', 'month', premake => ${PREMAKE}, behind => ${partitions - PREMAKE - 1});
    select * from partitions.maintain('${table}')`,
  maintain: (table) => `select * from partitions.maintain('${table}')`,
  calls: 300,
};

const PARTMAN: Manager = {
  name: 'pg_partman',
  create: (table, partitions) => `
    select partman.create_parent('${table}', 'ts', 'native', 'monthly', p_premake := ${PREMAKE}, p_jobmon := false,
      p_start_partition := (date_trunc('month', now()) - interval '${partitions - PREMAKE - 1} months')::text)`,
  maintain: (table) => `select partman.run_maintenance('${table}', p_analyze := false, p_jobmon := false)`,
  calls: 30,
};

/** Measures the maintenance by Flowgres and by pg_partman. */
export async function measureUpkeep({ admin, partman }: PartitionBench): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const size of SIZES) {
    const ours = await measureManager(admin, FLOWGRES, size);
    outcomes.push(...ours.outcomes);
    if (!partman) continue;
    const theirs = await measureManager(admin, PARTMAN, size);
    const ratio = (what: keyof typeof ours.medians) => (theirs.medians[what] / ours.medians[what]).toFixed(1);
    outcomes.push(
      ...theirs.outcomes,
      `${size} partitions, against pg_partman: nothing to do ${ratio('idle')} × cheaper (target 20), ` +
        `one missing ${ratio('one')} ×, all at once ${ratio('all')} ×`,
    );
  }
  return outcomes;
}

async function measureManager(admin: pg.Pool, manager: Manager, size: number) {
  const table = `public.bench_${manager.name.toLowerCase()}_${size}`;
  const client = await admin.connect();
  try {
    await client.query(tableOf(table));
    const all = await written(client, async () => (await times(1, () => client.query(manager.create(table, size))))[0]!);
    await expectPartitions(client, table, size);
    // pg_partman reads the newest row, so this is its fast case.
    await client.query(`insert into ${table} (run_id, type, payload) values (gen_random_uuid(), 'test', '{}')`);
    const maintain = () => client.query(manager.maintain(table));
    await times(5, maintain);
    const idle = percentiles(await times(manager.calls, maintain));
    const one = percentiles(await times(5, maintain, () => dropNewest(client, table)));
    await expectPartitions(client, table, size);
    await client.query(`drop table ${table}; delete from partitions.managed_tables where parent::text = '${table.slice(7)}'`);
    const label = `${manager.name}, ${size} partitions`;
    return {
      medians: { idle: idle.p50, one: one.p50, all: all.value },
      outcomes: [
        { name: `${label}: maintenance with nothing to do`, ...idle },
        { name: `${label}: maintenance that makes one`, ...one },
        { name: `${label}: all made at once, each`, p50: all.value / size, wal: all.wal / size },
      ] satisfies Outcome[],
    };
  } finally {
    client.release();
  }
}

/** The columns of the event log. */
function tableOf(table: string): string {
  return `
    create table ${table} (
      id bigserial, run_id uuid not null, ts timestamptz not null default now(), type text not null, payload jsonb not null,
      primary key (id, ts)
    ) partition by range (ts);
    create index on ${table} (run_id);
    create index on ${table} (run_id, ts);
    create index on ${table} (type);
    alter table ${table} owner to flowgres_owner`;
}

async function dropNewest(client: pg.ClientBase, table: string): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `select max(inhrelid::regclass::text) as name from pg_inherits where inhparent = $1::regclass and inhrelid::regclass::text !~ 'default'`,
    [table],
  );
  await client.query(`drop table ${rows[0]!.name}`);
}

/** Throws when the tool did not create the partitions. */
async function expectPartitions(client: pg.ClientBase, table: string, wanted: number): Promise<void> {
  const { rows } = await client.query<{ count: number }>(
    `select count(*)::int as count from pg_inherits where inhparent = $1::regclass and inhrelid::regclass::text !~ 'default'`,
    [table],
  );
  if (rows[0]!.count !== wanted) throw new Error(`${table} has ${rows[0]!.count} partitions, not ${wanted}`);
}
