/** Writes the tables of an archived period to files in a folder. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import pg, { type Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import type { ArchiveOptions, Period } from './options.ts';
import { EXTENSION, writeArchiveFile } from './files.ts';
import { type ArchiveFile, type ArchiveFormat, type Manifest, createManifest, findManifest, writeManifest } from './manifest.ts';

/** A table in schema partitions. */
export interface ArchivedTable {
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

/** Returns the tables of a period in the order in which a restore loads them. */
export async function findTables(client: Client, { parent, lower }: Period): Promise<ArchivedTable[]> {
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

/** Returns the manifest of an earlier run if its files hold what the tables hold; else undefined. */
export async function findWritten(folder: string, tables: ArchivedTable[]): Promise<Manifest | undefined> {
  const manifest = await findManifest(folder);
  if (!manifest) return undefined;
  const isSame = (table: ArchivedTable) =>
    manifest.files.some((file) => file.name === table.name && file.content === table.content && file.rowsSha256 === table.rowsSha256);
  if (manifest.files.length === tables.length && tables.every(isSame)) return manifest;
  throw new FlowgresError('ARCHIVE_EXISTS', `${folder} has an archive with other rows.`, {
    hint: 'Move it away, or give another folder. If it is an older state of the same period, keep it until you are sure.',
  });
}

/** Writes each table to a file, then the manifest. Returns the manifest. */
export async function writePeriod(
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

/**
 * The query for the rows, as COPY writes them. In JSON a missing key stands for SQL's null, since null is also
 * a value of jsonb.
 */
function rowsOf({ location, columns, order }: ArchivedTable, format: ArchiveFormat): string {
  if (format === 'csv')
    return `select ${columns.map(({ name }) => pg.escapeIdentifier(name)).join(', ')} from ${location} order by ${order}`;
  return `select ${documentOf(columns)} from ${location} as t order by ${order}`;
}

function documentOf(columns: { name: string }[]): string {
  const missing = columns.map(({ name }) => `case when t.${pg.escapeIdentifier(name)} is null then ${pg.escapeLiteral(name)} end`);
  return `to_jsonb(t) - array[${missing.join(', ')}]::text[]`;
}

/** Expressions that read the columns from a row that was written as JSON. */
export function fieldsOf(columns: { name: string; type: string }[], document: string, record: string): string[] {
  return columns.map(({ name, type }) =>
    type === 'jsonb' ? `${document} -> ${pg.escapeLiteral(name)}` : `${record}.${pg.escapeIdentifier(name)}`,
  );
}

/**
 * Throws when the rows would not survive the format: some types lose information in JSON. Compares the hash of
 * the rows after a round trip.
 */
async function requireLossless(client: Client, { location, columns, order, rowsSha256 }: ArchivedTable): Promise<void> {
  const byName = columns.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const query = `select row(${fieldsOf(byName, 'd.doc', 'r').join(', ')})::text
    from (select ${documentOf(columns)} as doc, t.* from ${location} as t order by ${order}) as d
    cross join lateral jsonb_populate_record(null::${location}, d.doc) as r`;
  const { rows } = await client.query<{ sha256: string }>('select sha256 from partitions.contents_of($1)', [query]);
  if (rows[0]?.sha256 === rowsSha256) return;
  throw new FlowgresError('ARCHIVE_FORMAT', `JSON cannot hold all that the rows of ${location} are.`, { hint: 'Use --format csv.' });
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
