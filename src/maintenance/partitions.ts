/**
 * Maintains partitions as flowgres_maintenance: runs the statements that no function can run. Failures are part
 * of the result and not thrown: the next run tries again.
 */
import type { Client } from 'pg';
import { z } from 'zod';
import { runStatements } from './statements.ts';
import { connect, isLostConnection, lostConnection } from '../database/connections.ts';
import { reasonOf } from '../errors.ts';

/** The shape of one action on a partition. */
export const action = z.object({
  parent: z.string().nullable(),
  partition: z.string().nullable(),
  /** For example `create`, `drop`, `detach`, `keep`. */
  action: z.string(),
  done: z.boolean(),
  /** Why the action was not done. */
  detail: z.string().nullable(),
});

/** An action of maintenance on one partition, done or not. */
export type PartitionAction = z.infer<typeof action>;

/** Options of {@link retirePartitions}. */
export interface RetirementOptions {
  /**
   * How long a concurrent detach waits for readers before it is left to the next run, in milliseconds; a minute
   * when not given.
   */
  lockTimeoutMs?: number;
}

/**
 * Creates the partitions that are needed soon, those of each table in a transaction of their own, so that locks
 * are held briefly.
 */
export async function maintainPartitions(maintenanceUrl: string): Promise<PartitionAction[]> {
  return asOwner(maintenanceUrl, async (client) => {
    const { rows } = await client.query<Statement>(
      `select format('select * from partitions.maintain(%L)', parent) as statement from partitions.managed_tables order by parent`,
    );
    return performAll(client, rows);
  });
}

/** Retires partitions older than their retention while other sessions read and write. */
export async function retirePartitions(maintenanceUrl: string, options: RetirementOptions = {}): Promise<PartitionAction[]> {
  return asOwner(maintenanceUrl, async (client) => {
    await client.query(`select set_config('lock_timeout', $1, false)`, [`${options.lockTimeoutMs ?? 60_000}ms`]);
    try {
      const { rows } = await client.query<Statement>('select statement from partitions.retire_concurrently() as statement');
      return await performAll(client, rows);
    } catch (error) {
      return [failure('retire', error)];
    }
  });
}

interface Statement {
  statement: string;
}

/** Calls `work` with a connection of flowgres_maintenance that has the owner's rights. */
export async function asOwner<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(url);
  try {
    await client.query('set role flowgres_owner');
    return await work(client);
  } catch (error) {
    if (!isLostConnection(error)) throw error;
    throw lostConnection(error, 'Run the same command again when the server is up: it goes on where it was.');
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Runs the statements one after the other, each in a transaction of its own; a failure does not stop the rest. */
async function performAll(client: Client, statements: Statement[]): Promise<PartitionAction[]> {
  const actions: PartitionAction[] = [];
  const texts = statements.map(({ statement }) => statement);
  for await (const { statement, rows, error } of runStatements(client, texts)) {
    if (error === undefined) actions.push(...actionsOf(rows));
    else actions.push(failure(statement, error));
  }
  return actions;
}

/** The actions among the rows of a statement. */
export function actionsOf(rows: Record<string, unknown>[]): PartitionAction[] {
  return rows.filter((row) => 'action' in row).map((row) => action.parse(row));
}

function failure(what: string, error: unknown): PartitionAction {
  return { parent: null, partition: null, action: what, done: false, detail: reasonOf(error) };
}
