/** Runs long statements on partitions as flowgres_maintenance, one after the other: VACUUM, ANALYZE, index builds. */
import type { Client } from 'pg';
import { FlowgresError, reasonOf } from '../errors.ts';
import { asOwner } from './partitions.ts';
import { runStatements } from './statements.ts';

/** Options of upkeep. */
export interface UpkeepOptions {
  /** Called before each statement with its number and the count of all. */
  onStatement?: (statement: string, number: number, count: number) => void;
  /** Ends the work, also within a statement. */
  signal?: AbortSignal;
}

/** The result of one statement. */
export interface UpkeepResult {
  statement: string;
  /** Why the statement failed. */
  error?: string;
}

/** Key of the advisory lock that only one freezing session holds; an arbitrary constant. */
const FREEZE_LOCK = 4_608_275_071;
/** How long a VACUUM waits for a table before it is left to the next run. */
const FREEZE_LOCK_TIMEOUT = '60s';

/** Freezes the closed partitions that were not frozen yet. Returns [] when another session does. */
export async function freezePartitions(maintenanceUrl: string, options: UpkeepOptions = {}): Promise<UpkeepResult[]> {
  return asOwner(maintenanceUrl, async (client) => {
    options.signal?.addEventListener('abort', () => void client.end());
    const { rows } = await client.query<{ is_free: boolean }>('select pg_try_advisory_lock($1) as is_free', [FREEZE_LOCK]);
    if (!rows[0]!.is_free) return [];
    await client.query(`select set_config('lock_timeout', $1, false)`, [FREEZE_LOCK_TIMEOUT]);
    const results = await runAll(client, await ask(client, 'partitions.freeze_statements()', []), options);
    // Asking again records the results.
    if (results.length > 0) await ask(client, 'partitions.freeze_statements()', []);
    return results;
  });
}

/** An index on a partitioned table. */
export interface NewIndex {
  /** Name of the partitioned table as SQL writes it. */
  table: string;
  name: string;
  /** The part of CREATE INDEX after the table's name, such as `(run_id, seq)`. */
  definition: string;
  unique?: boolean;
}

/** Builds an index on a partitioned table without blocking writes. Continues a build that was interrupted. */
export async function buildIndex(maintenanceUrl: string, index: NewIndex, options: UpkeepOptions = {}): Promise<UpkeepResult[]> {
  const values = [index.table, index.name, index.definition, index.unique ?? false];
  const missing = (client: Client) => ask(client, 'partitions.build_index($1, $2, $3, $4)', values);
  return asOwner(maintenanceUrl, async (client) => {
    const results: UpkeepResult[] = [];
    // Repeat: a partition created before the table's own index exists lacks the index.
    for (let statements = await missing(client); statements.length > 0; statements = await missing(client)) {
      results.push(...(await runAll(client, statements, options)));
      const failed = results.find(({ error }) => error !== undefined);
      if (!failed) continue;
      throw new FlowgresError('INDEX_INCOMPLETE', `The index is not complete. ${failed.statement}: ${failed.error}.`, {
        hint: 'Run the same command again: it goes on with what is missing.',
      });
    }
    return results;
  });
}

async function ask(client: Client, call: string, values: unknown[]): Promise<string[]> {
  const { rows } = await client.query<{ statement: string }>(`select statement from ${call} as statement`, values);
  return rows.map(({ statement }) => statement);
}

/** Runs the statements, each in a transaction of its own; a failure does not stop the rest. */
async function runAll(client: Client, statements: string[], options: UpkeepOptions): Promise<UpkeepResult[]> {
  const results: UpkeepResult[] = [];
  for await (const { statement, error } of runStatements(client, statements, options)) {
    if (error === undefined) results.push({ statement });
    else results.push({ statement, error: reasonOf(error) });
  }
  return results;
}
