/** Sends statements to the engine's database: the time limits, failures, and repetition once a missing partition is created. */
import pg from 'pg';
import { createPool } from '../database/connections.ts';
import { type Failure, NotSent, classifyFailure, isLasting, refused, unavailable } from './errors.ts';
import { JsonText } from '../json/json.ts';

/** Longest time for one batch, in the server. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** Shorter than the statement timeout, so that waiting for a lock fails with an error of its own. */
const LOCK_TIMEOUT_MS = 5_000;
/** The server answers within its own timeout; after this time the connection is considered lost. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
/** Connecting fails early, so that callers learn of an unreachable database at once. */
const CONNECT_TIMEOUT_MS = 2_000;

/** Creates a pool whose statements have the time limits of a batch. */
export function createEnginePool(connectionString: string, name: string, max = 10): pg.Pool {
  const pool = createPool(connectionString, {
    name,
    max,
    settings: {
      statement_timeout: String(STATEMENT_TIMEOUT_MS),
      lock_timeout: String(LOCK_TIMEOUT_MS),
      idle_in_transaction_session_timeout: String(STATEMENT_TIMEOUT_MS),
    },
  });
  pool.options.connectionTimeoutMillis = CONNECT_TIMEOUT_MS;
  return pool;
}

/** Keeps `jsonb` as text until its row is parsed, so that invalid JSON fails its own row only. */
export const JSON_AS_TEXT: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.JSONB
      ? (text: string) => new JsonText(text)
      : (pg.types.getTypeParser(oid, format as 'text') as (text: string) => unknown),
};

/** The statements of one process. */
export class Statements {
  readonly #pool: pg.Pool;
  #mending: Promise<void> | undefined;

  /** @param pool made by {@link createEnginePool} */
  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  /** Runs a statement that is not part of a batch. */
  async ask(name: string, text: string, values: unknown[], timeoutMs?: number): Promise<pg.QueryResult<Record<string, unknown>>> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.query(name, text, values, timeoutMs);
      } catch (error) {
        const failure = classifyFailure(error);
        if (attempt === 1 && (await this.isMended(failure))) continue;
        throw isLasting(failure) ? refused(failure) : unavailable(failure);
      }
    }
  }

  /**
   * Creates missing partitions after a failure for lack of one. Resolves to whether the statement may be
   * repeated.
   */
  async isMended(failure: Failure): Promise<boolean> {
    if (failure.kind !== 'no_partition') return false;
    this.#mending ??= this.ensurePartitions().finally(() => (this.#mending = undefined));
    return this.#mending.then(
      () => true,
      () => false,
    );
  }

  /** Runs a statement once. Rejects with NotSent when there is no connection, else as pg does. */
  async query(
    name: string,
    text: string,
    values: unknown[],
    timeoutMs = ANSWER_TIMEOUT_MS,
  ): Promise<pg.QueryResult<Record<string, unknown>>> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw new NotSent(error);
    });
    let failure: Error | undefined;
    try {
      return await client.query({ name, text, values, types: JSON_AS_TEXT, query_timeout: timeoutMs } as pg.QueryConfig);
    } catch (error) {
      // A server error leaves the connection usable; after any other error it is closed.
      if (!(error instanceof pg.DatabaseError)) failure = error as Error;
      throw error;
    } finally {
      client.release(failure);
    }
  }

  /** Creates partitions that maintenance should have created; usually there are none to create. */
  async ensurePartitions(): Promise<void> {
    await this.query('ensure_partitions', 'select engine.ensure_partitions()', []);
  }
}
