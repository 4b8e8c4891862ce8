/** Care of partitions by flowgres_maintenance: statements that run for long and in no function, one after the other. */
import type { Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import { asOwner } from './partitions.ts';

export interface UpkeepOptions {
  /** Told before each statement: which one of how many it is. */
  onStatement?: (statement: string, number: number, count: number) => void;
  /** Ends the work, also within a statement. */
  signal?: AbortSignal;
}

/** What came of one statement. */
export interface UpkeepResult {
  statement: string;
  /** Why it failed. */
  error?: string;
}

/** Whoever holds it freezes; any constant will do. */
const FREEZE_LOCK = 4_608_275_071;
/** How long a VACUUM waits for a table before it is left to the next time. */
const FREEZE_LOCK_TIMEOUT = '60s';

/** Freezes the closed partitions that were not frozen yet; nothing when another session is at it. */
export async function freezePartitions(maintenanceUrl: string, options: UpkeepOptions = {}): Promise<UpkeepResult[]> {
  return asOwner(maintenanceUrl, async (client) => {
    options.signal?.addEventListener('abort', () => void client.end());
    const { rows } = await client.query<{ is_free: boolean }>('select pg_try_advisory_lock($1) as is_free', [FREEZE_LOCK]);
    if (!rows[0]!.is_free) return [];
    await client.query(`select set_config('lock_timeout', $1, false)`, [FREEZE_LOCK_TIMEOUT]);
    const results = await runAll(client, await ask(client, 'partitions.freeze_statements()', []), options);
    // Asking again records what was done.
    if (results.length > 0) await ask(client, 'partitions.freeze_statements()', []);
    return results;
  });
}

export interface NewIndex {
  /** The partitioned table, as it is written in SQL. */
  table: string;
  name: string;
  /** What follows the table's name in CREATE INDEX, such as `(run_id, seq)`. */
  definition: string;
  unique?: boolean;
}

/** Builds an index on a partitioned table that is being written. Goes on with a build that was interrupted. */
export async function buildIndex(maintenanceUrl: string, index: NewIndex, options: UpkeepOptions = {}): Promise<UpkeepResult[]> {
  const values = [index.table, index.name, index.definition, index.unique ?? false];
  const missing = (client: Client) => ask(client, 'partitions.build_index($1, $2, $3, $4)', values);
  return asOwner(maintenanceUrl, async (client) => {
    const results: UpkeepResult[] = [];
    // A partition that is made before the table's own index is there comes without one.
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

/** Each in a transaction of its own; the failure of one does not stop the rest. */
async function runAll(client: Client, statements: string[], options: UpkeepOptions): Promise<UpkeepResult[]> {
  const results: UpkeepResult[] = [];
  for (const [index, statement] of statements.entries()) {
    options.signal?.throwIfAborted();
    options.onStatement?.(statement, index + 1, statements.length);
    try {
      await client.query(statement);
      results.push({ statement });
    } catch (error) {
      results.push({ statement, error: error instanceof Error ? error.message : String(error) });
    }
  }
  return results;
}
