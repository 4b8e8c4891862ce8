/**
 * Flowgres inside an application: migrate its database, serve the API and run steps in its process, start runs in its
 * transactions.
 *
 *     const flowgres = createFlowgres({ databaseUrl: 'postgres://postgres:secret@db/app', applicationUrl: 'postgres://shop@db/app' });
 *     await flowgres.migrate();
 *     const worker = await flowgres.work();
 *     const run = await flowgres.start('order-intake', { total: 120 }, { idempotencyKey: 'order-17' });
 */
import { type Config, readConfig, requireDatabaseUrl, rolePasswords } from './config.ts';
import { API_SCHEMA } from './database/api_schema.ts';
import { createPool } from './database/connections.ts';
import { migrate } from './database/migrate.ts';
import { FlowgresError } from './errors.ts';
import { startHttp } from './http/server.ts';

export { FlowgresError } from './errors.ts';

/** Options of {@link createFlowgres}. */
export interface FlowgresOptions {
  /** Connection string of the database. `migrate` needs the login of an administrator; the others replace it by their roles. */
  databaseUrl: string;
  /** Connection string of the role that a DBA has granted an organization, for `start` without a client. */
  applicationUrl?: string;
  /** Further settings by the names of docs/reference/configuration.md, such as `{ FLOWGRES_SECRET: '…' }`; they override the environment. */
  settings?: Readonly<Record<string, string>>;
}

/** What runs SQL: a client or a pool of `pg`, or anything of the same shape. */
export interface SqlClient {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
}

/** Options of {@link Flowgres.start}. */
export interface StartOptions {
  /** The same key with the same input gives the same run for 7 days; at most 256 characters. */
  idempotencyKey?: string;
  /** Facts by which the run can be found; at most 64 KiB. */
  metadata?: Readonly<Record<string, unknown>>;
  /** The client of a transaction: the run starts in it, and exists when it commits. */
  client?: SqlClient;
}

/** Where a process listens. */
export interface ListenOptions {
  /** 127.0.0.1 when not given. */
  host?: string;
  /** Any free port when not given. */
  port?: number;
}

/** Parts that run in this process. */
export interface RunningPart {
  /** The address of the API, of health and of metrics. */
  readonly url: string;
  /** Takes no further work, waits for what runs, and closes every connection. */
  stop(): Promise<void>;
}

/** An installation in the database of an application. */
export interface Flowgres {
  /**
   * Brings the database to the schema of this package.
   *
   * @throws FlowgresError SCHEMA_CONFLICT when objects of the application are in the way; nothing was changed
   */
  migrate(): Promise<void>;
  /** Serves GraphQL and webhooks. */
  serve(options?: ListenOptions): Promise<RunningPart>;
  /** Runs steps, schedules and maintenance; the address has health and metrics. */
  work(options?: ListenOptions): Promise<RunningPart>;
  /**
   * Starts a run of a published workflow, given by its name or id. Resolves to the id of the run.
   *
   * @throws FlowgresError INVALID_SETTING without a client and without `applicationUrl`; a DatabaseError of class WF otherwise
   */
  start(workflow: string, input?: unknown, options?: StartOptions): Promise<string>;
  /** Closes the connections of `start`; parts are stopped one by one. */
  close(): Promise<void>;
}

/**
 * Describes an installation; connects to nothing yet. The schema of the API is that of FLOWGRES_SCHEMA in the environment.
 *
 * @throws FlowgresError for settings that are missing or malformed
 */
export function createFlowgres(options: FlowgresOptions): Flowgres {
  const config = readConfig({ ...process.env, ...options.settings, DATABASE_URL: options.databaseUrl });
  const databaseUrl = requireDatabaseUrl(config);
  const pool = options.applicationUrl === undefined ? undefined : createPool(options.applicationUrl, { name: 'flowgres application' });
  return {
    migrate: () => migrate(databaseUrl, rolePasswords(config, databaseUrl)),
    serve: (listen) => run(config, databaseUrl, listen, { serve: true }),
    work: (listen) => run(config, databaseUrl, listen, { serve: false, work: config, maintain: config }),
    start: (workflow, input = {}, more = {}) => start(more.client ?? pool, workflow, input, more),
    close: async () => pool?.end(),
  };
}

async function run(
  config: Config,
  databaseUrl: string,
  { host = '127.0.0.1', port = 0 }: ListenOptions = {},
  parts: { serve: boolean; work?: Config; maintain?: Config },
): Promise<RunningPart> {
  const passwords = rolePasswords(config, databaseUrl);
  const http = await startHttp({ host, port, metrics: config.metrics });
  const { poolerUrl, accessLog, api, vaultKeys } = config;
  // Loaded late: who only migrates or starts runs does not load the server.
  const { startServices } = await import('./cli/services.ts');
  try {
    const options = { http, databaseUrl, poolerUrl, passwords, trust: config, accessLog, api, vaultKeys, intake: config };
    const services = await startServices({ ...options, ...parts });
    return { url: http.url, stop: () => services.stop() };
  } catch (error) {
    await http.close(0);
    throw error;
  }
}

async function start(client: SqlClient | undefined, workflow: string, input: unknown, options: StartOptions): Promise<string> {
  if (!client) {
    throw new FlowgresError('INVALID_SETTING', 'There is no connection to start the run on.', {
      hint: 'Give createFlowgres an applicationUrl, or start the client of your transaction.',
    });
  }
  const { rows } = await client.query(`select ${API_SCHEMA}.flowgres_start($1, $2::jsonb, $3, $4::jsonb) as id`, [
    workflow,
    JSON.stringify(input),
    options.idempotencyKey ?? null,
    options.metadata === undefined ? null : JSON.stringify(options.metadata),
  ]);
  return String(rows[0]!['id']);
}
