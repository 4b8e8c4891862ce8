/** Compares the schema of a database with the sources of a build. */
import { readFileSync, readdirSync } from 'node:fs';
import type pg from 'pg';
import { FlowgresError } from '../errors.ts';
import { API_SCHEMA } from './api_schema.ts';
import type { Sources } from './sources.ts';

/** A row of monitor.builds(); the last one is installed. */
interface Build {
  digest: string;
  version: string;
  protocol: number;
}

/**
 * Throws for a database that this build cannot migrate. Returns whether the database is empty.
 *
 * @param downgrade allows functions of this build to replace newer ones
 * @throws FlowgresError SCHEMA_UNKNOWN: the database was not built from these sources
 * @throws FlowgresError SCHEMA_NEWER: the database belongs to a newer build
 */
export async function requireUpgradable(client: pg.Client, sources: Sources, downgrade: boolean): Promise<boolean> {
  const { rows } = await client.query<{ is_empty: boolean; has_builds: boolean; has_migrations: boolean }>(`
    select
      not exists (select from pg_namespace where nspname in ('engine', 'private', 'partitions', 'monitor')) as is_empty,
      to_regclass('private.builds') is not null as has_builds,
      to_regclass('graphile_migrate.migrations') is not null as has_migrations`);
  const { is_empty, has_builds, has_migrations } = rows[0]!;
  if (is_empty) return true;
  if (!has_builds || !has_migrations) throw unknownSchema('it has no record of what it was built from');
  await requireSameSchema(client);
  await requireKnownMigrations(client, sources);
  await requireOlderBuild(client, sources, downgrade);
  return false;
}

/** Throws for a database whose API is in another schema than FLOWGRES_SCHEMA says. */
async function requireSameSchema(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ schema: string }>(
    `select n.nspname as schema from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where c.relname = 'workflow_runs' and pg_get_userbyid(c.relowner) = 'flowgres_owner'`,
  );
  if (rows.length === 0 || rows.some(({ schema }) => schema === API_SCHEMA)) return;
  const { schema } = rows[0]!;
  throw new FlowgresError('SCHEMA_UNKNOWN', `The API of this database is in schema ${schema}, not in ${API_SCHEMA}. Nothing was changed.`, {
    hint: `Set FLOWGRES_SCHEMA=${schema}.`,
  });
}

async function requireKnownMigrations(client: pg.Client, { migrations }: Sources): Promise<void> {
  const { rows } = await client.query<{ filename: string; hash: string }>(
    'select filename, hash from graphile_migrate.migrations order by filename',
  );
  if (rows.length === 0) throw unknownSchema('no migration is recorded');
  const known = new Set(migrations.map(({ hash }) => hash));
  const stranger = rows.find(({ hash }) => !known.has(hash));
  if (!stranger) return;
  const newest = migrations.at(-1)?.filename ?? '';
  if (stranger.filename > newest) throw newerSchema(`it has migration ${stranger.filename}, this build ends with ${newest}`);
  throw unknownSchema(`its migration ${stranger.filename} is not that of this build`);
}

async function requireOlderBuild(client: pg.Client, sources: Sources, downgrade: boolean): Promise<void> {
  const builds = await readBuilds(client, 'private.builds');
  const current = builds.at(-1);
  if (!current || current.digest === sources.digest) return;
  if (compareVersions(current.version, sources.version) > 0) {
    throw newerSchema(`it is of release ${current.version}, this build is of ${sources.version}`);
  }
  if (downgrade) return;
  const hint = 'Use the newer build. To put this one in its place: flowgres migrate --downgrade.';
  if (current.protocol > sources.protocol) {
    throw newerSchema(`its processes speak protocol ${current.protocol}, those of this build ${sources.protocol}`, hint);
  }
  if (builds.some(({ digest }) => digest === sources.digest)) {
    throw newerSchema('a later build of the same release has replaced this one', hint);
  }
  const { rows } = await client.query<{ committed_at: Date }>(
    'select committed_at from private.builds where committed_at > $1::timestamptz order by number desc limit 1',
    [sources.committedAt],
  );
  if (rows[0]) {
    const there = rows[0].committed_at.toISOString();
    throw newerSchema(`it is of a build that was committed on ${there}, this one on ${sources.committedAt}`, hint);
  }
}

/**
 * Returns what is wrong with the schema for a process of this build; empty when nothing is. A process may run
 * on through upgrades that keep the protocol, since the functions that it calls do not change their signatures.
 *
 * @param database logs in as flowgres_monitor
 */
export async function schemaProblems(database: pg.Pool, sources: Sources): Promise<string[]> {
  const { rows } = await database.query<{ exists: boolean }>(`select to_regprocedure('monitor.builds()') is not null as exists`);
  const builds = rows[0]!.exists ? await readBuilds(database, 'monitor.builds()') : [];
  const current = builds.at(-1);
  const own = builds.findLast(({ digest }) => digest === sources.digest);
  const name = (version: string, digest: string) => `${version} (${digest.slice(0, 12)})`;
  const here = name(sources.version, sources.digest);
  if (!current) return [`the database has no schema of Flowgres, this process is of ${here}: run flowgres migrate`];
  const there = name(current.version, current.digest);
  if (!own)
    return [`the schema is of build ${there}, this process is of ${here}: run flowgres migrate, or start the process of that build`];
  if (current.protocol === sources.protocol) return [];
  return [`the schema was brought to build ${there}, which this process of ${here} cannot work with: start the process of that build`];
}

async function readBuilds(database: pg.Client | pg.Pool, source: 'private.builds' | 'monitor.builds()'): Promise<Build[]> {
  const { rows } = await database.query<Build>(`select digest, version, protocol from ${source} order by number`);
  return rows;
}

/**
 * Drops invalid indexes that migrations to come create: an interrupted `create index concurrently` leaves one
 * that is never used and would be taken for complete.
 */
export async function dropInvalidIndexes(client: pg.Client, { folder }: Sources): Promise<void> {
  const { rows } = await client.query<{ filename: string }>('select max(filename) as filename from graphile_migrate.migrations');
  const committed = `${folder}/migrations/committed`;
  const coming = readdirSync(committed).filter((file) => `${file.slice(0, 6)}.sql` > (rows[0]?.filename ?? ''));
  for (const file of coming) {
    const sql = readFileSync(`${committed}/${file}`, 'utf8');
    for (const [, name] of sql.matchAll(/^create (?:unique )?index concurrently if not exists (\w+)/gm)) {
      const { rows: invalid } = await client.query<{ index: string }>(
        `select format('%I.%I', n.nspname, c.relname) as index
         from pg_index as i join pg_class as c on c.oid = i.indexrelid join pg_namespace as n on n.oid = c.relnamespace
         where c.relname = $1 and not i.indisvalid and n.nspname in ('${API_SCHEMA}', 'private', 'partitions', 'engine', 'monitor', 'cron')`,
        [name],
      );
      for (const { index } of invalid) await client.query(`drop index concurrently ${index}`);
    }
  }
}

function compareVersions(left: string, right: string): number {
  return left.localeCompare(right, 'en', { numeric: true });
}

function unknownSchema(reason: string): FlowgresError {
  return new FlowgresError('SCHEMA_UNKNOWN', `The database is neither empty nor of a release of Flowgres: ${reason}.`, {
    hint: 'Name another database in DATABASE_URL; with a server of its own, another folder in FLOWGRES_DATA.',
  });
}

function newerSchema(reason: string, hint = 'Use the newer release of Flowgres, or restore a backup.'): FlowgresError {
  return new FlowgresError('SCHEMA_NEWER', `The schema of the database is newer than this build: ${reason}. Nothing was changed.`, {
    hint,
  });
}
