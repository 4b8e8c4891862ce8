/** Brings a database to the newest schema: roles, database, queue, then the committed migrations. */
import { fileURLToPath } from 'node:url';
import { Logger as MigrateLogger, type Settings, compile, migrate as applyCommitted } from 'graphile-migrate';
// Not part of its index: see releaseConnections().
import { clearAllPools } from 'graphile-migrate/dist/pg.js';
import { Logger as WorkerLogger, runMigrations } from 'graphile-worker';
import pg from 'pg';
import { connect, requireSupportedServer, withDatabase } from './database.ts';
import { scheduleMaintenance } from './ops/maintenance.ts';
import { createRoles } from './roles.ts';

const MIGRATIONS = fileURLToPath(new URL('../migrations', import.meta.url));
const silent = () => () => undefined;

/** Any constant will do: migrations of one database run one after the other. */
const LOCK = 4_608_275_002;

/** Everything `flowgres migrate` does. Idempotent, and safe to run from several processes at once. */
export async function migrate(adminUrl: string, secret: string): Promise<void> {
  await requireSupportedServer(adminUrl);
  await createRoles(adminUrl, secret);
  await createDatabase(adminUrl);
  const client = await connect(adminUrl);
  try {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    await prepareDatabase(adminUrl);
    await applyCommitted(migrationSettings(adminUrl));
    await scheduleMaintenance(adminUrl, secret);
    // /readyz compares the schema's version with its own.
    await client.query(`
      grant usage on schema graphile_migrate to flowgres_monitor;
      grant select on graphile_migrate.migrations to flowgres_monitor`);
  } finally {
    releaseConnections();
    await client.end();
  }
}

/**
 * graphile-migrate keeps its connections for 200 ms after use, and ends the process when the server closes one:
 * a server stopped right after a migration would look like a crash.
 */
export function releaseConnections(): void {
  clearAllPools();
}

/** The settings that graphile-migrate's own command line reads from `.gmrc`. */
export function migrationSettings(adminUrl: string): Settings {
  return {
    connectionString: adminUrl,
    rootConnectionString: withDatabase(adminUrl, 'postgres'),
    migrationsFolder: MIGRATIONS,
    pgSettings: { search_path: 'public' },
    afterReset: [{ _: 'command', command: 'node scripts/prepare-database.ts' }],
    blankMigrationContent: '-- The migration in the making; README.md says how to write one.\n',
    logger: new MigrateLogger(silent),
  };
}

/** A script of `sql/` with every include in place, for example `--!include index.sql`: the whole schema. */
export function compileSources(adminUrl: string, script: string): Promise<string> {
  return compile(migrationSettings(adminUrl), script);
}

async function createDatabase(adminUrl: string): Promise<void> {
  const name = decodeURIComponent(new URL(adminUrl).pathname.slice(1));
  const client = await connect(withDatabase(adminUrl, 'postgres'));
  try {
    const { rowCount } = await client.query('select from pg_database where datname = $1', [name]);
    if (!rowCount) await client.query(`create database ${pg.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

/** What the administrator must do once in each database: the owner may create schemas, nobody else may. */
export async function prepareDatabase(adminUrl: string): Promise<void> {
  const client = await connect(adminUrl);
  try {
    const name = pg.escapeIdentifier(decodeURIComponent(new URL(adminUrl).pathname.slice(1)));
    await client.query(`
      grant create on database ${name} to flowgres_owner, flowgres_queue;
      revoke create on schema public from public;
      grant create, usage on schema public to flowgres_owner;
      grant usage on schema public to public;
      comment on schema public is 'The API: tables under row-level security and the functions that users call.'`);
  } finally {
    await client.end();
  }
  const queueUrl = new URL(adminUrl);
  queueUrl.searchParams.set('options', '-c role=flowgres_queue');
  await runMigrations({ connectionString: queueUrl.href, logger: new WorkerLogger(silent) });
}
