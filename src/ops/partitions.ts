/**
 * Maintenance of partitions by flowgres_maintenance: the statements that must run alone, outside of any function.
 * What goes wrong is in the answer, not thrown: it is tried again next time.
 */
import type { Client } from 'pg';
import { z } from 'zod';
import { connect } from '../database.ts';

const action = z.object({
  parent: z.string().nullable(),
  partition: z.string().nullable(),
  /** For example `create`, `drop`, `detach`, `keep`. */
  action: z.string(),
  done: z.boolean(),
  /** Why it was not done. */
  detail: z.string().nullable(),
});

/** One thing that maintenance did or could not do. */
export type PartitionAction = z.infer<typeof action>;

const COLUMNS = 'parent::regclass::text as parent, partition, action, done, detail';

export interface RetirementOptions {
  /** How long a concurrent detach waits for readers before it leaves the rest to the next time; a minute when not given. */
  lockTimeoutMs?: number;
}

/** Makes the partitions that are needed soon, each table in a transaction of its own, so that locks are short. */
export async function maintainPartitions(maintenanceUrl: string): Promise<PartitionAction[]> {
  return asOwner(maintenanceUrl, async (client) => {
    const { rows } = await client.query<{ parent: number }>(
      'select parent::oid::bigint as parent from partitions.policies order by parent',
    );
    const actions: PartitionAction[] = [];
    for (const { parent } of rows) {
      actions.push(...(await perform(client, `select ${COLUMNS} from partitions.maintain(${parent}::oid::regclass)`)));
    }
    return actions;
  });
}

/** Lets the partitions leave that are older than their retention, while others read and write. */
export async function retirePartitions(maintenanceUrl: string, options: RetirementOptions = {}): Promise<PartitionAction[]> {
  return asOwner(maintenanceUrl, async (client) => {
    await client.query(`select set_config('lock_timeout', $1, false)`, [`${options.lockTimeoutMs ?? 60_000}ms`]);
    const { rows } = await client.query<{ statement: string }>('select statement from partitions.retire_concurrently() as statement');
    const actions: PartitionAction[] = [];
    for (const { statement } of rows) actions.push(...(await perform(client, statement)));
    return actions;
  });
}

async function asOwner<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(url);
  try {
    await client.query('set role flowgres_owner');
    return await work(client);
  } finally {
    await client.end();
  }
}

async function perform(client: Client, statement: string): Promise<PartitionAction[]> {
  try {
    const { rows } = await client.query(statement);
    return z.array(action).parse(rows);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    return [{ parent: null, partition: null, action: statement, done: false, detail }];
  }
}
