/**
 * Archives of retention groups. The database moves the tables of a period to schema partitions and seals them; here
 * they are written to files, which are read back before the tables are dropped. Every step can be done again: what an
 * interrupted run has left is found, and finished.
 */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import pg, { type Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import { EXTENSION, type OnRows, verifyArchiveFile, writeArchiveFile } from './archive_files.ts';
import { type ArchiveFile, type ArchiveFormat, type Manifest, createManifest, findManifest, writeManifest } from './archive_manifest.ts';
import { type PartitionAction, action, asOwner } from './partitions.ts';

/** What a caller may show while it takes its time. `total` is undefined where it is not known. */
export interface ArchiveReporter {
  /** A table of the archive is being sealed, written, verified, loaded … */
  step(what: string, total?: number): OnRows;
  /** A table has left, come back, or must stay; a file was written. */
  done(line: string): void;
}

export interface ArchiveOptions {
  /** The table whose period is archived, with those that leave with it; `public.workflow_runs` when not given. */
  table?: string;
  /** A moment of the one period to archive; without it, all that the policies let go. */
  period?: string;
  /** Where files are written; without it the archive stays in tables. */
  to?: string;
  format?: ArchiveFormat;
  /** Leaves the tables where they are when the files are written. */
  keepTables?: boolean;
  report: ArchiveReporter;
}

/** A period that stands in schema partitions. */
interface Period {
  parent: string;
  name: string;
  lower: string;
  upper: string;
}

/** A table in schema partitions. */
interface ArchivedTable {
  parent: string;
  name: string;
  content: 'partition' | 'late';
  location: string;
  lower: string;
  upper: string;
  rows: number;
  rowsSha256: string;
  columns: { name: string; type: string }[];
  order: string;
}

export const DEFAULT_TABLE = 'public.workflow_runs';
const LOCK_TIMEOUT_MS = 60_000;
/** A killed run's connection takes a moment to be noticed by the server. */
const TURN_TIMEOUT_MS = 5_000;

/** Returns what must stay, with the reasons. */
export async function archive(maintenanceUrl: string, options: ArchiveOptions): Promise<PartitionAction[]> {
  return asArchivist(maintenanceUrl, async (client) => {
    const left = await letLeave(client, options);
    for (const { partition, action: what } of left.filter(({ done }) => done)) options.report.done(`${partition}: ${what}`);
    const sealing = options.report.step('sealing');
    const sealed = await performAll(client, ['select * from partitions.seal_archives()']);
    sealing(sealed.length);
    const periods = await findPeriods(client, options);
    if (left.length + periods.length === 0) await explainNothing(client, options);
    if (options.to !== undefined) {
      for (const period of periods) await exportPeriod(client, period, options.to, options);
    }
    return left.filter(({ done }) => !done);
  });
}

/** One connection at a time, as the owner, whose texts do not depend on anybody's settings. */
export async function asArchivist<T>(maintenanceUrl: string, work: (client: Client) => Promise<T>): Promise<T> {
  return asOwner(maintenanceUrl, async (client) => {
    for (const [name, value] of Object.entries({
      search_path: 'pg_catalog, pg_temp',
      timezone: 'UTC',
      datestyle: 'ISO, YMD',
      intervalstyle: 'postgres',
      extra_float_digits: '1',
      bytea_output: 'hex',
      lock_timeout: `${TURN_TIMEOUT_MS}ms`,
    })) {
      await client.query('select set_config($1, $2, false)', [name, value]);
    }
    // A long COPY ends soon after its client was killed; not every system can tell.
    await client.query(`set client_connection_check_interval = '1s'`).catch(() => undefined);
    await client.query(`select pg_advisory_lock(hashtextextended('flowgres archive', 0))`).catch((error: unknown) => {
      if (isLockTimeout(error)) throw busy(error);
      throw error;
    });
    await client.query('select set_config($1, $2, false)', ['lock_timeout', `${LOCK_TIMEOUT_MS}ms`]);
    return work(client);
  });
}

/** What is to leave: the period that was named, or what the policies that say so archive by its age. */
async function letLeave(client: Client, { table = DEFAULT_TABLE, period }: ArchiveOptions): Promise<PartitionAction[]> {
  if (period !== undefined) {
    const named = 'select statement from partitions.archive_concurrently($1, $2) as statement';
    return performPlan(client, named, [await requireTable(client, table), period]);
  }
  const { rows: policies } = await client.query<{ parent: string }>(
    `select parent::text as parent from partitions.policies
     where on_retire = 'archive' and retention is not null and retire_with is null order by 1`,
  );
  const actions: PartitionAction[] = [];
  for (const { parent } of policies) {
    actions.push(...(await performPlan(client, 'select statement from partitions.retire_concurrently($1) as statement', [parent])));
  }
  return actions;
}

async function explainNothing(client: Client, { period, report }: ArchiveOptions): Promise<void> {
  const { rowCount } = await client.query(`select from partitions.policies where on_retire = 'archive'`);
  if (period === undefined && rowCount === 0) {
    throw new FlowgresError('ARCHIVE_POLICY', 'No policy archives what leaves, and no period was named.', {
      hint: `Name one: --period 2025-01-01. Or decide it for all: update partitions.policies set on_retire = 'archive'.`,
    });
  }
  report.done(period === undefined ? 'Nothing is old enough to leave.' : 'It is archived already: select * from partitions.archives.');
}

/** Runs the statements that a function gives, each in a transaction of its own, until one fails. */
export async function performPlan(client: Client, plan: string, values: unknown[]): Promise<PartitionAction[]> {
  const { rows } = await client.query<{ statement: string }>(plan, values);
  return performAll(
    client,
    rows.map(({ statement }) => statement),
  );
}

async function performAll(client: Client, statements: string[]): Promise<PartitionAction[]> {
  const actions: PartitionAction[] = [];
  for (const statement of statements) {
    const { rows } = await client.query(statement).catch((error: unknown) => {
      if (isLockTimeout(error)) throw waiting(error);
      throw error;
    });
    actions.push(...rows.filter((row) => 'action' in row).map((row) => action.parse(row)));
  }
  return actions;
}

/** The name with its schema, which is public when none is given. */
export async function requireTable(client: Client, name: string): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    'select parent::text as name from partitions.policies where parent::text in ($1, $2)',
    [name, `public.${name}`],
  );
  if (rows[0]) return rows[0].name;
  throw new FlowgresError('TABLE_NOT_MANAGED', `${name} is not a managed table.`, {
    hint: 'partitions.policies lists the managed tables; partitions.manage() adds one.',
  });
}

/** The periods whose tables are to be written: one, or all that stand in schema partitions. */
async function findPeriods(client: Client, { table = DEFAULT_TABLE, period }: ArchiveOptions): Promise<Period[]> {
  const { rows } = await client.query<Period>(
    `select a.parent::text as parent, a.name, a.lower::text as lower, a.upper::text as upper
     from partitions.archived_periods() as a
     where $2::timestamptz is null or a.parent = $1::regclass and a.lower <= $2 and a.upper > $2`,
    [await requireTable(client, table), period ?? null],
  );
  return rows;
}

async function exportPeriod(client: Client, period: Period, to: string, options: ArchiveOptions): Promise<void> {
  const folder = resolve(to, period.name);
  const tables = await findTables(client, period);
  const manifest = (await findWritten(folder, tables)) ?? (await writePeriod(client, folder, period, tables, options));
  await verifyArchive(folder, manifest, options.report);
  for (const file of manifest.files) await enterFile(client, folder, file, manifest);
  options.report.done(`${folder}: ${manifest.files.reduce((sum, { rows }) => sum + rows, 0)} rows, verified`);
  if (!options.keepTables) await performAll(client, [dropStatement(period)]);
}

function dropStatement({ parent, lower }: Period): string {
  return `select * from partitions.drop_archive(${pg.escapeLiteral(parent)}, ${pg.escapeLiteral(lower)})`;
}

/** Reads every file of an archive back. */
export async function verifyArchive(folder: string, manifest: Manifest, report: ArchiveReporter): Promise<void> {
  for (const file of manifest.files) {
    await verifyArchiveFile(folder, file, manifest.format, report.step(`${file.name}: verifying`, file.rows));
  }
}

/** Notes in the database that a file holds these rows. */
export async function enterFile(client: Client, folder: string, file: ArchiveFile, manifest: Manifest): Promise<void> {
  await client.query('select partitions.enter_file($1)', [
    JSON.stringify({
      parent: file.parent,
      lower: file.lower,
      upper: file.upper,
      content: file.content,
      kind: manifest.format,
      name: file.name,
      location: join(folder, file.file),
      row_count: file.rows,
      sha256: file.rowsSha256,
      bytes: file.bytes,
      archived_at: manifest.createdAt,
    }),
  ]);
}

async function findTables(client: Client, { parent, lower }: Period): Promise<ArchivedTable[]> {
  const { rows } = await client.query<ArchivedTable>(
    `select a.parent::text as parent, a.name, a.content, a.location, a.lower::text as lower, a.upper::text as upper,
       a.row_count as rows, a.sha256 as "rowsSha256", partitions.row_order(a.location::regclass) as order,
       (
         select jsonb_agg(jsonb_build_object('name', c.attname, 'type', format_type(c.atttypid, c.atttypmod)) order by c.attnum)
         from pg_attribute as c
         where c.attrelid = a.location::regclass and c.attnum > 0 and not c.attisdropped and c.attgenerated = ''
       ) as columns
     from partitions.archived_tables($1, $2) as a`,
    [parent, lower],
  );
  return rows;
}

/** The manifest of an earlier run, if its files hold what the tables hold. */
async function findWritten(folder: string, tables: ArchivedTable[]): Promise<Manifest | undefined> {
  const manifest = await findManifest(folder);
  if (!manifest) return undefined;
  const isSame = (table: ArchivedTable) =>
    manifest.files.some((file) => file.name === table.name && file.content === table.content && file.rowsSha256 === table.rowsSha256);
  if (manifest.files.length === tables.length && tables.every(isSame)) return manifest;
  throw new FlowgresError('ARCHIVE_EXISTS', `${folder} has an archive with other rows.`, {
    hint: 'Move it away, or give another folder. If it is an older state of the same period, keep it until you are sure.',
  });
}

async function writePeriod(
  client: Client,
  folder: string,
  period: Period,
  tables: ArchivedTable[],
  { format = 'csv', report }: ArchiveOptions,
): Promise<Manifest> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => fail(folder, error));
  const files: ArchiveFile[] = [];
  for (const table of tables) {
    const file = `${table.name}.${EXTENSION[format]}`;
    const columns = table.columns.map(({ name }) => name);
    const target = { path: join(folder, file), format, columns, onRows: report.step(`${table.name}: writing`, table.rows) };
    const { location: _, order: __, ...facts } = table;
    if (format === 'ndjson') await requireLossless(client, table);
    const written = await writeArchiveFile(client, target, rowsOf(table, format)).catch((error: unknown) => fail(folder, error));
    if (written.rows !== table.rows) {
      throw new FlowgresError('ARCHIVE_CHANGED', `${table.location} has ${written.rows} rows; when it was sealed it had ${table.rows}.`, {
        hint: 'Somebody has changed the archived table. Restore it, or set its row_count and sha256 in partitions.archives to null.',
      });
    }
    files.push({ file, ...facts, ...written });
  }
  const { parent: group, lower, upper } = period;
  const manifest = createManifest({ group, lower, upper, format, createdAt: new Date().toISOString(), files });
  await writeManifest(folder, manifest).catch((error: unknown) => fail(folder, error));
  return manifest;
}

/** The rows as COPY writes them. In JSON a missing key is SQL's null, since null is a value of jsonb, too. */
function rowsOf({ location, columns, order }: ArchivedTable, format: ArchiveFormat): string {
  if (format === 'csv')
    return `select ${columns.map(({ name }) => pg.escapeIdentifier(name)).join(', ')} from ${location} order by ${order}`;
  return `select ${documentOf(columns)} from ${location} as t order by ${order}`;
}

function documentOf(columns: { name: string }[]): string {
  const missing = columns.map(({ name }) => `case when t.${pg.escapeIdentifier(name)} is null then ${pg.escapeLiteral(name)} end`);
  return `to_jsonb(t) - array[${missing.join(', ')}]::text[]`;
}

/** The columns of a row that was written as JSON. */
export function fieldsOf(columns: { name: string; type: string }[], document: string, record: string): string[] {
  return columns.map(({ name, type }) =>
    type === 'jsonb' ? `${document} -> ${pg.escapeLiteral(name)}` : `${record}.${pg.escapeIdentifier(name)}`,
  );
}

/** Some types say less in JSON than they hold: the rows must have the same hash when they have been there and back. */
async function requireLossless(client: Client, { location, columns, order, rowsSha256 }: ArchivedTable): Promise<void> {
  const byName = columns.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const query = `select row(${fieldsOf(byName, 'd.doc', 'r').join(', ')})::text
    from (select ${documentOf(columns)} as doc, t.* from ${location} as t order by ${order}) as d
    cross join lateral jsonb_populate_record(null::${location}, d.doc) as r`;
  const { rows } = await client.query<{ sha256: string }>('select sha256 from partitions.contents_of($1)', [query]);
  if (rows[0]?.sha256 === rowsSha256) return;
  throw new FlowgresError('ARCHIVE_FORMAT', `JSON cannot hold all that the rows of ${location} are.`, { hint: 'Use --format csv.' });
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '55P03';
}

function waiting(cause: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_BUSY', `Another transaction held a lock for more than ${LOCK_TIMEOUT_MS / 1_000} s.`, {
    hint: 'Run it again: it goes on where it was. pg_stat_activity shows what has been running for long.',
    cause,
  });
}

function busy(cause: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_BUSY', 'Another flowgres archive or restore works on this database.', {
    hint: 'Wait until it has ended; pg_stat_activity shows it as flowgres_maintenance.',
    cause,
  });
}

function fail(folder: string, error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    throw new FlowgresError('DISK_FULL', `The disk of ${folder} is full.`, {
      hint: 'Free some space, or give a folder on another disk; then run it again. The rows are safe in the database.',
      cause: error,
    });
  }
  if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST', 'ENOENT', 'EISDIR'].includes(code ?? '')) {
    throw new FlowgresError('ARCHIVE_FOLDER', `${folder} cannot be written: ${message}.`, {
      hint: 'Give a folder that this user may write to. The rows are safe in the database.',
      cause: error,
    });
  }
  throw error;
}
