/**
 * Applies the files of `sql/`: all of them to a new database, those of kind code that have changed to an existing one.
 * Writes private.code_files and private.builds in the same transaction.
 */
// Not exported by the package's index: creates the tables in which graphile-migrate records migrations.
import { _migrateMigrationSchema } from 'graphile-migrate/dist/migration.js';
import type { ParsedSettings } from 'graphile-migrate/dist/settings.js';
import pg from 'pg';
import { FlowgresError } from '../errors.ts';
import { SESSION_SETTINGS } from './session_settings.ts';
import type { SourceFile, Sources } from './sources.ts';

/** Settings that the meaning of SQL text depends on, fixed independently of database and user. */
const PINNED = {
  ...SESSION_SETTINGS,
  // An upgrade gives up after this time and tries again, so that it does not block those that wait behind it:
  // see whenNotBusy().
  lock_timeout: '2s',
  statement_timeout: '0',
  check_function_bodies: 'on',
};

/** A file, or its statements from a line on. */
type Piece = Pick<SourceFile, 'path' | 'sql'> & { firstLine?: number };

/** PostgreSQL's notice for a `drop … if exists` that found nothing. */
const SKIPPED = /does not exist, skipping$/;

/**
 * Builds the schema in an empty database, and records the committed migrations as applied, since the files of
 * `sql/` contain their results.
 *
 * @param lastLayer builds the layers up to this one only, for tests, and records nothing
 */
export async function installSources(client: pg.Client, sources: Sources, lastLayer?: string): Promise<void> {
  await inTransaction(client, async () => {
    if (!lastLayer) await _migrateMigrationSchema(client as never, { manageGraphileMigrateSchema: true } as ParsedSettings);
    await client.query('set local role flowgres_owner');
    const files = await filesFor(client, sources);
    for (const file of files.filter(({ path }) => !lastLayer || path.split('/', 1)[0]! <= lastLayer)) await applyFile(client, file);
    if (lastLayer) return;
    await recordBuild(client, sources, [...files, sources.dropped]);
    await client.query('reset role');
    for (const { hash, previousHash, filename } of sources.migrations) {
      await client.query('insert into graphile_migrate.migrations (hash, previous_hash, filename) values ($1, $2, $3)', [
        hash,
        previousHash,
        filename,
      ]);
    }
  });
}

/**
 * Applies the files of kind code whose checksum differs from the one applied last, in one transaction. Returns
 * their paths, `dropped.sql` first.
 */
export async function applyCode(client: pg.Client, sources: Sources): Promise<string[]> {
  return await inTransaction(client, async () => {
    await client.query('set local role flowgres_owner');
    const { rows } = await client.query<{ path: string; checksum: string }>('select path, checksum from private.code_files');
    const recorded = new Map(rows.map(({ path, checksum }) => [path, checksum]));
    const isChanged = (file: SourceFile) => recorded.get(file.path) !== file.checksum;
    const drops = isChanged(sources.dropped) ? [sources.dropped] : [];
    const removed = drops.length ? await dropObjects(client, sources.dropped) : [];
    const code = (await filesFor(client, sources)).filter(({ kind }) => kind === 'code');
    const changed = code.filter((file) => isChanged(file) || removed.some((name) => new RegExp(`\\b${name}\\b`).test(file.sql)));
    for (const file of changed) await applyFile(client, file);
    const applied = [...drops, ...changed];
    const paths = sources.files.map(({ path }) => path);
    await client.query('delete from private.code_files where path <> all ($1)', [[...paths, sources.dropped.path]]);
    if (applied.length || (await currentDigest(client)) !== sources.digest) await recordBuild(client, sources, applied);
    return applied.map(({ path }) => path);
  });
}

/** Executes a file. An error names the file and, where PostgreSQL reports a position, the line. */
export async function applyFile(client: pg.Client, file: Piece): Promise<void> {
  try {
    await client.query(file.sql);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || isBusy(error)) throw error;
    // The position counts characters; a JavaScript string counts UTF-16 units.
    const before = error.position && [...file.sql].slice(0, Number(error.position) - 1).join('');
    const line = before ? (file.firstLine ?? 1) + before.split('\n').length - 1 : file.firstLine;
    throw new FlowgresError('SOURCE_FAILED', `sql/${file.path}${line ? `:${line}` : ''} ${error.message}`, {
      hint: error.hint ?? error.detail ?? 'Nothing of this step was kept.',
      cause: error,
    });
  }
}

/** Whether a statement failed because another session held a lock for too long. */
export function isBusy(error: unknown): boolean {
  return error instanceof pg.DatabaseError && (error.code === '55P03' || error.code === '40P01');
}

/** The files for this database: those of schema cron are left out where the extension pg_cron provides it. */
async function filesFor(client: pg.Client, { files }: Sources): Promise<SourceFile[]> {
  const { rows } = await client.query<{ extname: string }>('select extname from pg_extension');
  const extensions = new Set(rows.map(({ extname }) => extname));
  return files.filter(({ unlessExtension }) => !unlessExtension || !extensions.has(unlessExtension));
}

/** Drops what the list names. Returns the names, without schema, of what existed. */
async function dropObjects(client: pg.Client, dropped: SourceFile): Promise<string[]> {
  const removed: string[] = [];
  for (const { 0: sql, 1: name, index } of dropped.sql.matchAll(/^drop [a-z ]+ if exists (?:\w+\.)?(\w+)[^;]*;/gm)) {
    let isSkipped = false;
    const listen = ({ message = '' }) => (isSkipped ||= SKIPPED.test(message));
    client.on('notice', listen);
    const firstLine = dropped.sql.slice(0, index).split('\n').length;
    await applyFile(client, { path: dropped.path, sql, firstLine }).finally(() => client.off('notice', listen));
    if (!isSkipped) removed.push(name!);
  }
  return removed;
}

async function currentDigest(client: pg.Client): Promise<string | undefined> {
  const { rows } = await client.query<{ digest: string }>('select digest from private.builds order by number desc limit 1');
  return rows[0]?.digest;
}

async function recordBuild(client: pg.Client, sources: Sources, applied: SourceFile[]): Promise<void> {
  const code = applied.filter(({ kind }) => kind !== 'state');
  await client.query(
    `insert into private.code_files (path, checksum)
     select * from unnest($1::text[], $2::text[])
     on conflict (path) do update set checksum = excluded.checksum, applied_at = default`,
    [code.map(({ path }) => path), code.map(({ checksum }) => checksum)],
  );
  await client.query(
    `insert into private.builds (number, digest, version, protocol, committed_at)
     select coalesce(max(number), 0) + 1, $1, $2, $3, $4 from private.builds`,
    [sources.digest, sources.version, sources.protocol, sources.committedAt],
  );
}

async function inTransaction<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query('begin isolation level read committed read write');
  try {
    await client.query(
      Object.entries(PINNED)
        .map(([name, value]) => `set local ${name} = ${pg.escapeLiteral(value)}`)
        .join('; '),
    );
    const result = await work();
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}
