/**
 * Runs PostGraphile's statements: sends the settings of the request and the statement in one message, which is
 * one transaction. PostGraphile's own adaptor waits for begin, settings, statement and commit one after the
 * other.
 */
import './environment.ts';
import pg from 'pg';
import type { PgClient, PgClientQuery, WithPgClient } from 'postgraphile/@dataplan/pg';
import { SafeError } from 'postgraphile/grafast';
import type { ConnectionShare } from '../limits/connection_share.ts';
import { LIMITS } from './limits.ts';
import { FILTERED } from './run_filter.ts';
import type { SharedReads } from './shared_reads.ts';
import { type NodePostgresPgClient, makePgAdaptorWithPgClient, makePgService } from 'postgraphile/adaptors/pg';
import { API_SCHEMA } from '../database/api_schema.ts';

/** Prepared statements per connection; 0 behind a pooler that does not support them. */
const PREPARED = Number(process.env['DATAPLAN_PG_PREPARED_STATEMENT_CACHE_SIZE'] || 100);

/** Sets the settings of a request for the transaction. */
const SETTINGS = {
  name: PREPARED > 0 ? 'settings' : '',
  text: 'select count(set_config(setting->>0, setting->>1, true)) from json_array_elements($1::json) as setting',
};

/** Matches the statement of the field testWorkflow. */
const TEST = new RegExp(String.raw`"${API_SCHEMA}"\."test_workflow"\s*\(`);

/** Resources that statements of several callers share. */
export interface Sharing {
  /** Shares the connections of the pool among callers. */
  connections?: ConnectionShare;
  /** Shares the reads of subscriptions. */
  reads?: SharedReads;
}

/** Returns the PostGraphile service for `schemas` that uses the connections of `pool`. */
export function pipelinedService(pool: pg.Pool, schemas: string[], sharing: Sharing = {}): GraphileConfig.PgServiceConfiguration {
  // The type requires the raw client, which no plugin uses.
  const createWithPgClient = () => pipelined(pool, sharing) as WithPgClient<NodePostgresPgClient>;
  return { ...makePgService({ pool, schemas, pubsub: false }), adaptor: { createWithPgClient, makePgService } };
}

function pipelined(pool: pg.Pool, { connections, reads }: Sharing): WithPgClient {
  const plain = makePgAdaptorWithPgClient(pool);
  return async (settings, callback) => {
    const inShare = <T>(work: () => Promise<T>) => (connections && settings ? connections.use(settings, work) : work());
    const encode = (each: Record<string, unknown>) => JSON.stringify(Object.entries(each).filter(([, value]) => value !== undefined));
    const set = settings && encode(settings);
    const client: PgClient = {
      query: (query) => {
        if (settings === null || set === null) return plain(null, (connection) => connection.query(query));
        // A function cannot set its own statement_timeout: it has to be set before the statement begins.
        if (TEST.test(query.text)) {
          const limited = encode({ ...settings, statement_timeout: LIMITS.testTimeout });
          return inShare(() => send<never>(pool, limited, query)).catch(refuseSlowTest);
        }
        // The filter of runs is fast only when the planner knows its value.
        const its = query.text.includes(FILTERED) ? encode({ ...settings, plan_cache_mode: 'force_custom_plan' }) : set;
        const sent = () => inShare(() => send<never>(pool, its, query));
        const reading = reads?.readingOf(settings);
        return reading ? copied(reading.once(JSON.stringify([query.text, query.values, query.arrayMode]), sent)) : sent();
      },
      // Several statements in one transaction, which do not fit into one message.
      withTransaction: (work) => inShare(() => plain(settings, (connection) => connection.withTransaction(work))),
    };
    return callback(client);
  };
}

/** Copies the rows for each caller, since Grafast may reorder them. */
async function copied<R extends { rows: readonly unknown[] }>(result: Promise<R>): Promise<R> {
  const shared = await result;
  return { ...shared, rows: [...shared.rows] };
}

/** Throws a timeout of testWorkflow as the caller's error, which is not logged. */
function refuseSlowTest(error: unknown): never {
  if (!(error instanceof pg.DatabaseError) || error.code !== '57014') throw error;
  throw new SafeError('The test took too long and was stopped.', {
    code: 'TIMEOUT',
    hint: `A test has ${LIMITS.testTimeout}: give it less to do, or publish the workflow and start a run.`,
  });
}

async function send<Row>(pool: pg.Pool, settings: string, { text, values = [], name, arrayMode }: PgClientQuery) {
  const client = await pool.connect();
  try {
    const prepared = preparedOn.get(client) ?? (await prepare(client));
    const config = { text, values, queryMode: 'extended', ...(arrayMode && { rowMode: 'array' }), ...(PREPARED > 0 && name && { name }) };
    const { rows, rowCount } = await new Promise<pg.QueryResult>((resolve, reject) => {
      const answer: Answer = (error, result) => (error ? reject(error) : resolve(result));
      client.query(new Statement(config, settings, prepared, answer));
    });
    return { rows: rows as Row[], rowCount };
  } catch (error) {
    // The server reports why it ends a connection; this query waits for that, so that the pool discards a
    // broken connection.
    await client.query('').catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}

/** Names of the statements prepared on a connection, least recently used first. */
const preparedOn = new WeakMap<pg.PoolClient, Set<string>>();

async function prepare(client: pg.PoolClient): Promise<Set<string>> {
  // JIT optimisation takes longer than these statements run.
  await client.query('set jit_optimize_above_cost = -1');
  if (PREPARED > 0) await client.query({ ...SETTINGS, values: ['[]'] });
  const names = new Set<string>();
  preparedOn.set(client, names);
  return names;
}

/** Members of pg that its types omit; pg documents its queries as extensible, and pg-cursor extends them likewise. */
interface Wire extends Pick<pg.Connection, 'stream'> {
  readonly parsedStatements: Record<string, string>;
  bind(message: { statement: string; values: string[] }): void;
  parse(message: { name: string; text: string }): void;
  execute(message: Record<string, never>): void;
  close(message: { type: 'S'; name: string }): void;
}
interface WireQuery {
  readonly name: string | undefined;
  readonly text: string;
  submit(connection: Wire): Error | null;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, connection: Wire): void;
}
type Answer = (error: Error | null, result: pg.QueryResult) => void;
const WireQuery = pg.Query as unknown as new (config: object, values: undefined, callback: Answer) => WireQuery;

/** A statement together with the settings before it: everything up to the Sync message is one transaction. */
class Statement extends WireQuery {
  readonly #settings: string;
  readonly #prepared: Set<string>;
  #isSet = false;

  constructor(config: object, settings: string, prepared: Set<string>, answer: Answer) {
    super(config, undefined, answer);
    this.#settings = settings;
    this.#prepared = prepared;
  }

  override submit(connection: Wire): Error | null {
    connection.stream.cork();
    try {
      // Before anything else: after an error the server skips the following messages.
      if (this.name) this.#keep(this.name, connection);
      if (PREPARED === 0) connection.parse(SETTINGS);
      connection.bind({ statement: SETTINGS.name, values: [this.#settings] });
      connection.execute({});
      return super.submit(connection);
    } finally {
      connection.stream.uncork();
    }
  }

  #keep(name: string, connection: Wire): void {
    this.#prepared.delete(name);
    this.#prepared.add(name);
    const [oldest] = this.#prepared;
    if (this.#prepared.size <= PREPARED || oldest === undefined) return;
    this.#prepared.delete(oldest);
    delete connection.parsedStatements[oldest];
    connection.close({ type: 'S', name: oldest });
  }

  override handleDataRow(message: unknown): void {
    if (this.#isSet) super.handleDataRow(message);
  }

  override handleCommandComplete(message: unknown, connection: Wire): void {
    if (this.#isSet) super.handleCommandComplete(message, connection);
    this.#isSet = true;
  }
}
