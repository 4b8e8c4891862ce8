/** Brings a database to the schema of this build: roles, database, queue, migrations, then code. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Logger as MigrateLogger, type Settings, migrate as applyCommitted } from 'graphile-migrate';
// Not exported by the package's index: see releaseConnections().
import { clearAllPools } from 'graphile-migrate/dist/pg.js';
import { Logger as WorkerLogger, runMigrations } from 'graphile-worker';
import pg from 'pg';
import { applyCode, installSources, isBusy } from './apply_sources.ts';
import { API_SCHEMA, DEFAULT_SCHEMA } from './api_schema.ts';
import { connect, requireSupportedServer, withDatabase } from './connections.ts';
import { FlowgresError } from '../errors.ts';
import { requireNoConflicts } from './preflight.ts';
import { scheduleMaintenance } from './schedule_maintenance.ts';
import { LOGIN_ROLES, type RolePasswords, createRoles, roleUrl } from './roles.ts';
import { dropInvalidIndexes, requireUpgradable } from './schema_state.ts';
import { SESSION_SETTINGS } from './session_settings.ts';
import { type Sources, ownSources } from './sources.ts';

const QUEUE_FILE = new URL('../../sql/queue.sql', import.meta.url);
const silent = () => () => undefined;

/** Key of the advisory lock that runs the migrations of one database one after the other; an arbitrary constant. */
const LOCK = 4_608_275_002;
/**
 * How often a step of the upgrade is tried while other sessions hold its locks, and the pause between two
 * attempts.
 */
const ATTEMPTS = 20;
const PAUSE_MS = 500;
const BLANK_MIGRATION = '-- The migration in the making; README.md says how to write one.\n';

/** Options of {@link migrate}. */
export interface MigrateOptions {
  /** The sources to migrate to; those of this build when not given. */
  sources?: Sources;
  /** Replaces newer functions by those of this build, provided that no migration and no release lies between. */
  downgrade?: boolean;
}

/**
 * Migrates a database completely, as `flowgres migrate` does. Idempotent, and safe to run from several
 * processes at once.
 *
 * @throws FlowgresError SCHEMA_CONFLICT, SCHEMA_UNKNOWN or SCHEMA_NEWER for a database that this build cannot migrate
 */
export async function migrate(adminUrl: string, passwords: RolePasswords, options: MigrateOptions = {}): Promise<void> {
  const sources = options.sources ?? ownSources();
  await requireSupportedServer(adminUrl);
  await requireNoConflicts(adminUrl, sources);
  await createRoles(adminUrl, passwords);
  await createDatabase(adminUrl);
  const client = await connectOwner(adminUrl, passwords);
  try {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    const isEmpty = await requireUpgradable(client, sources, options.downgrade ?? false);
    await prepareDatabase(adminUrl, passwords);
    await (isEmpty ? installSources(client, sources) : upgrade(client, ownerUrl(adminUrl, passwords), sources));
    await scheduleMaintenance(adminUrl, passwords);
  } finally {
    releaseConnections();
    await client.end();
  }
}

/**
 * Opens a session with the owner's rights that cannot return to the administrator's: code in the owner's
 * schemas must not run as a superuser.
 */
export async function connectOwner(adminUrl: string, passwords: RolePasswords): Promise<pg.Client> {
  return await connect(ownerUrl(adminUrl, passwords));
}

function ownerUrl(adminUrl: string, passwords: RolePasswords): string {
  const url = new URL(roleUrl(adminUrl, passwords, 'flowgres_maintenance'));
  url.searchParams.set('options', '-c role=flowgres_owner');
  return url.href;
}

/** Applies the missing migrations, each in a transaction of its own, then all changed code in one transaction. */
export async function upgrade(client: pg.Client, ownerUrl: string, sources: Sources): Promise<void> {
  await whenNotBusy(async () => {
    await dropInvalidIndexes(client, sources);
    await applyCommitted(migrationSettings(ownerUrl, sources.folder));
  });
  await whenNotBusy(() => applyCode(client, sources));
}

/** Repeats work that was rolled back because other sessions held its locks. */
async function whenNotBusy(work: () => Promise<unknown>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (attempt === ATTEMPTS) {
        throw new FlowgresError('SCHEMA_BUSY', `Other transactions hold locks that the upgrade needs (attempts: ${ATTEMPTS}).`, {
          hint: 'Run it again when they have ended: select pid, xact_start, query from pg_stat_activity order by xact_start.',
          cause: error,
        });
      }
      await delay(PAUSE_MS);
    }
  }
}

/**
 * Closes the connections that graphile-migrate keeps for 200 ms after use. It ends the process when the server
 * closes one, so a server stopped right after a migration would look like a crash.
 */
export function releaseConnections(): void {
  clearAllPools();
}

/** Settings for calls of graphile-migrate; its own command line reads the same from `.gmrc`. */
export function migrationSettings(adminUrl: string, folder: string): Settings {
  return {
    connectionString: adminUrl,
    rootConnectionString: withDatabase(adminUrl, 'postgres'),
    migrationsFolder: `${folder}/migrations`,
    pgSettings: { ...SESSION_SETTINGS, lock_timeout: '2s', statement_timeout: '0' },
    blankMigrationContent: BLANK_MIGRATION,
    // Migrations name the schema of the API so, since their files must not change.
    placeholders: { ':API_SCHEMA': API_SCHEMA },
    logger: new MigrateLogger(silent),
  };
}

/** Creates a schema beside those of the application, which our roles find in this database without naming it. */
function otherSchema(database: string): string {
  const paths = LOGIN_ROLES.map((role) => `alter role ${role} in database ${database} set search_path = ${API_SCHEMA}`);
  return [`create schema if not exists ${API_SCHEMA}`, ...paths].join('; ');
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

/**
 * Does what needs an administrator once in each database: only the owner may create schemas. Migrates the queue
 * in a session of the queue's owner, so that code of schema graphile_worker never runs with an administrator's
 * rights.
 */
export async function prepareDatabase(adminUrl: string, passwords: RolePasswords): Promise<void> {
  const client = await connect(adminUrl);
  try {
    await client.query('set search_path = pg_catalog');
    const name = pg.escapeIdentifier(decodeURIComponent(new URL(adminUrl).pathname.slice(1)));
    await client.query(`grant create on database ${name} to flowgres_owner, flowgres_queue`);
    if (API_SCHEMA !== DEFAULT_SCHEMA) await client.query(otherSchema(name));
    await client.query(`
      revoke create on schema ${API_SCHEMA} from public;
      grant create, usage on schema ${API_SCHEMA} to flowgres_owner;
      grant usage on schema ${API_SCHEMA} to public;
      comment on schema ${API_SCHEMA} is 'The API: tables under row-level security and the functions that users call.'`);
  } finally {
    await client.end();
  }
  const queueUrl = roleUrl(adminUrl, passwords, 'flowgres_queue');
  await runMigrations({ connectionString: queueUrl, logger: new WorkerLogger(silent) });
  const queue = await connect(queueUrl);
  try {
    await queue.query(await readFile(QUEUE_FILE, 'utf8'));
  } finally {
    await queue.end();
  }
}
