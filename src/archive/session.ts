/** The database session of archive and restore. An advisory lock allows one at a time in each database. */
import pg, { type Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import { type PartitionAction, actionsOf, asOwner } from '../maintenance/partitions.ts';
import { runStatements } from '../maintenance/statements.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

const LOCK_TIMEOUT_MS = 60_000;
/**
 * How long to wait for the lock: the server takes a moment to notice that the client of an earlier run was
 * killed.
 */
const LOCK_WAIT_MS = 5_000;

/** Calls `work` with a connection as the owner, under the lock. Sets what the text form of values depends on. */
export async function asArchivist<T>(maintenanceUrl: string, work: (client: Client) => Promise<T>): Promise<T> {
  return asOwner(maintenanceUrl, async (client) => {
    for (const [name, value] of Object.entries({
      search_path: 'pg_catalog, pg_temp',
      timezone: 'UTC',
      datestyle: 'ISO, YMD',
      intervalstyle: 'postgres',
      extra_float_digits: '1',
      bytea_output: 'hex',
      lock_timeout: `${LOCK_WAIT_MS}ms`,
    })) {
      await client.query('select set_config($1, $2, false)', [name, value]);
    }
    // The server ends a long COPY soon after its client was killed. Not every operating system supports this.
    await client.query(`set client_connection_check_interval = '1s'`).catch(() => undefined);
    await client.query(`select pg_advisory_lock(hashtextextended('flowgres archive', 0))`).catch((error: unknown) => {
      if (isLockTimeout(error)) throw busy(error);
      throw error;
    });
    await client.query('select set_config($1, $2, false)', ['lock_timeout', `${LOCK_TIMEOUT_MS}ms`]);
    return work(client);
  });
}

/** Runs the statements that a SQL function returns, each in a transaction of its own, until one fails. */
export async function performPlan(client: Client, plan: string, values: unknown[]): Promise<PartitionAction[]> {
  const { rows } = await client.query<{ statement: string }>(plan, values);
  return performAll(
    client,
    rows.map(({ statement }) => statement),
  );
}

/**
 * Runs the statements in their order, each in a transaction of its own, until one fails. Returns what each has
 * done.
 */
export async function performAll(client: Client, statements: string[]): Promise<PartitionAction[]> {
  const actions: PartitionAction[] = [];
  for await (const { rows, error } of runStatements(client, statements)) {
    if (error !== undefined) throw isLockTimeout(error) ? waiting(error) : error;
    actions.push(...actionsOf(rows));
  }
  return actions;
}

/** Returns the name with its schema, which is public when none is given. Throws when the table does not exist. */
export async function requireTable(client: Client, name: string): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    'select parent::text as name from partitions.managed_tables where parent::text in ($1, $2)',
    [name, `${API_SCHEMA}.${name}`],
  );
  if (rows[0]) return rows[0].name;
  throw new FlowgresError('TABLE_NOT_MANAGED', `${name} is not a managed table.`, {
    hint: 'partitions.managed_tables lists the managed tables; partitions.manage() adds one.',
  });
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03';
}

function waiting(cause: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_BUSY', `Another transaction held a lock for more than ${LOCK_TIMEOUT_MS / 1_000} s.`, {
    hint: 'Run it again: it goes on where it was. pg_stat_activity shows what has been running for long.',
    cause,
  });
}

function busy(cause: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_BUSY', 'Another flowgres archive or restore works on this database.', {
    hint: 'Wait until it has ended; pg_stat_activity shows it as flowgres_maintenance.',
    cause,
  });
}
