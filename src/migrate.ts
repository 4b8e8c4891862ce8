/** Brings a database to the newest schema: roles, database, queue, then the committed migrations. */
import { fileURLToPath } from 'node:url';
import { type Logger, type Settings, compile, migrate as applyCommitted } from 'graphile-migrate';
import { Logger as GraphileLogger } from '@graphile/logger';
import { runMigrations } from 'graphile-worker';
import pg from 'pg';
import { connect, withDatabase } from './database.ts';
import { createRoles } from './roles.ts';

const MIGRATIONS = fileURLToPath(new URL('../migrations', import.meta.url));
const silent: Logger = new GraphileLogger(() => () => undefined);

/** Everything `flowgres migrate` does. Idempotent. */
export async function migrate(adminUrl: string, secret: string): Promise<void> {
  await createRoles(adminUrl, secret);
  await createDatabase(adminUrl);
  await prepareDatabase(adminUrl);
  await applyCommitted(migrationSettings(adminUrl));
}

/** The settings that graphile-migrate's own commands read from `.gmrc`. */
export function migrationSettings(adminUrl: string): Settings {
  return {
    connectionString: adminUrl,
    rootConnectionString: withDatabase(adminUrl, 'postgres'),
    migrationsFolder: MIGRATIONS,
    pgSettings: { search_path: 'public' },
    logger: silent,
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
  await runMigrations({ connectionString: queueUrl.href, logger: silent });
}
