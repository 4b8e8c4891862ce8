/** Connections: one place that knows how we talk to PostgreSQL. */
import pg from 'pg';
import { FlowgresError } from '../errors.ts';
import { SESSION_SETTINGS, TIME_LIMITS, startupOptions } from './session_settings.ts';

// A bigint that fits a JavaScript number is one; ours are counters and sequences far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** A connection string with another database name. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.href;
}

/**
 * One connection, for work that needs its own session. Connection failures come with a hint.
 *
 * @param settings of the server, in the place of ours and of those in the connection string
 */
export async function connect(connectionString: string, settings: Record<string, string> = {}): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: withOptions(connectionString, { ...SESSION_SETTINGS, ...TIME_LIMITS }, settings),
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  // Without a listener a lost idle connection would end the process; the next query reports it anyway.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw connectionFailure(connectionString, error);
  }
}

/** A connection string whose own options stand between `defaults` and `settings`: later ones win. */
function withOptions(connectionString: string, defaults: Record<string, string>, settings: Record<string, string>): string {
  const url = new URL(connectionString);
  const given = url.searchParams.get('options');
  url.searchParams.set('options', [startupOptions(defaults), given, startupOptions(settings)].filter(Boolean).join(' '));
  return url.href;
}

export interface PoolOptions {
  /** Most connections at a time; 10 when not given. */
  max?: number;
  /**
   * Server settings of every connection beside our own, e.g. `{ statement_timeout: '5s' }`. Without them nothing is set
   * when it connects, which a transaction pooler might refuse: the role has our settings.
   */
  settings?: Record<string, string>;
  /** Shown in pg_stat_activity. */
  name: string;
}

/** A pool whose lost connections are replaced, not fatal. */
export function createPool(connectionString: string, options: PoolOptions): pg.Pool {
  const { settings } = options;
  const pool = new pg.Pool({
    connectionString: settings ? withOptions(connectionString, { ...SESSION_SETTINGS, ...TIME_LIMITS }, settings) : connectionString,
    max: options.max ?? 10,
    application_name: options.name,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

function connectionFailure(url: string, error: unknown): FlowgresError {
  const { host, pathname, username } = new URL(url);
  return new FlowgresError(
    'DATABASE_UNREACHABLE',
    `Cannot connect to database ${pathname.slice(1)} on ${host} as ${username}: ${reasonOf(error)}.`,
    {
      hint: 'Check DATABASE_URL (postgres://user:password@host:port/database) and that the server accepts connections.',
      cause: error,
    },
  );
}

const LOST_SOCKET = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ERR_STREAM_PREMATURE_CLOSE']);

/** Whether a statement failed because its connection ended: the server was stopped or crashed, the backend or the network went away. */
export function isLostConnection(error: unknown): boolean {
  // admin_shutdown, crash_shutdown, cannot_connect_now; the server says so before it closes the connection.
  if (error instanceof pg.DatabaseError) return /^57P0[123]$/.test(error.code ?? '');
  if (!(error instanceof Error)) return false;
  const { code = '', message } = error as NodeJS.ErrnoException;
  return LOST_SOCKET.has(code) || /^Connection terminated|^Client has encountered a connection error/.test(message);
}

/** The same failure for a person to read. `next` says what to do about what was under way. */
export function lostConnection(error: unknown, next = 'Check that the server is up, and try again.'): FlowgresError {
  return new FlowgresError('CONNECTION_LOST', `The connection to the database was lost: ${reasonOf(error).replace(/[.]$/, '')}.`, {
    hint: next,
    cause: error,
  });
}

function reasonOf(error: unknown): string {
  // One failure per address of the host; they say the same.
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}

/** Refuses a server that the schema cannot live on. */
export async function requireSupportedServer(adminUrl: string): Promise<void> {
  const client = await connect(withDatabase(adminUrl, 'postgres'));
  try {
    const { rows } = await client.query<{ number: number; version: string }>(
      `select current_setting('server_version_num')::int as number, current_setting('server_version') as version`,
    );
    if (rows[0]!.number >= 150_000) return;
    throw new FlowgresError('SERVER_VERSION', `The server is PostgreSQL ${rows[0]!.version}, Flowgres needs 15 or newer.`, {
      hint: 'Set DATABASE_URL to a newer server, or unset it: `flowgres start` brings its own.',
    });
  } finally {
    await client.end();
  }
}
