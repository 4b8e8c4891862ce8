/** Connections to PostgreSQL: the settings, errors and pools that all parts share. */
import pg from 'pg';
import { FlowgresError, reasonOf } from '../errors.ts';
import { SESSION_SETTINGS, TIME_LIMITS, startupOptions } from './session_settings.ts';

// Parse bigint as a JavaScript number: the schema uses it for counters and sequences far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** Returns the connection string with another database name. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${encodeURIComponent(database)}`;
  return changed.href;
}

/**
 * Opens one connection, for work that needs its own session.
 *
 * @param settings server settings that override the defaults and those in the connection string
 * @throws FlowgresError with a hint when the server cannot be reached
 */
export async function connect(connectionString: string, settings: Record<string, string> = {}): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: withOptions(connectionString, { ...SESSION_SETTINGS, ...TIME_LIMITS }, settings),
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  // Without a listener a lost idle connection would end the process. The next query reports the loss.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw connectionFailure(connectionString, error);
  }
}

/**
 * Returns a connection string whose own options stand between `defaults` and `settings`: later ones override
 * earlier ones.
 */
function withOptions(connectionString: string, defaults: Record<string, string>, settings: Record<string, string>): string {
  const url = new URL(connectionString);
  const given = url.searchParams.get('options');
  url.searchParams.set('options', [startupOptions(defaults), given, startupOptions(settings)].filter(Boolean).join(' '));
  return url.href;
}

/** Options of {@link createPool}. */
export interface PoolOptions {
  /** Most connections at a time; 10 when not given. */
  max?: number;
  /**
   * Server settings of every connection beside the defaults, e.g. `{ statement_timeout: '5s' }`. Without them
   * the connection sends no settings, since a transaction pooler might refuse them: the role has the defaults.
   */
  settings?: Record<string, string>;
  /** application_name of its connections in pg_stat_activity. */
  name: string;
}

/** Creates a pool that replaces lost connections without an error event that would end the process. */
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

/**
 * Whether a statement failed because its connection ended: the server was stopped or crashed, or the backend or
 * network was lost.
 */
export function isLostConnection(error: unknown): boolean {
  // admin_shutdown, crash_shutdown, cannot_connect_now: sent by the server before it closes the connection.
  if (error instanceof pg.DatabaseError) return /^57P0[123]$/.test(error.code ?? '');
  if (!(error instanceof Error)) return false;
  const { code = '', message } = error as NodeJS.ErrnoException;
  return LOST_SOCKET.has(code) || /^Connection terminated|^Client has encountered a connection error/.test(message);
}

/** Describes a lost connection for users. `next` is the hint: what to do about the interrupted work. */
export function lostConnection(error: unknown, next = 'Check that the server is up, and try again.'): FlowgresError {
  return new FlowgresError('CONNECTION_LOST', `The connection to the database was lost: ${reasonOf(error).replace(/[.]$/, '')}.`, {
    hint: next,
    cause: error,
  });
}

/** Throws for a server version or setting that the schema does not support. */
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
