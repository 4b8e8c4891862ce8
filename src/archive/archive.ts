/**
 * Archives retention groups: the database moves the tables of a period to schema partitions and seals them;
 * this file writes them to files and verifies the files before the tables are dropped. Every step can be
 * repeated: a new call finds and finishes what an interrupted one has left.
 */
import { join, resolve } from 'node:path';
import pg, { type Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import { findTables, findWritten, writePeriod } from './export.ts';
import { verifyArchiveFile } from './files.ts';
import type { ArchiveFile, Manifest } from './manifest.ts';
import { asArchivist, performAll, performPlan, requireTable } from './session.ts';
import type { ArchiveOptions, ArchiveReporter, Period } from './options.ts';
import type { PartitionAction } from '../maintenance/partitions.ts';
import { API_SCHEMA } from '../database/api_schema.ts';

/** The table that is archived when none is named. */
export const DEFAULT_TABLE = `${API_SCHEMA}.workflow_runs`;

/**
 * Archives the periods that `options` select. Returns the periods that were kept, with the reasons.
 *
 * @throws pg.DatabaseError COPIED_DATABASE in a restored copy that nobody has adopted: no period is detached or
 *   written there
 */
export async function archive(maintenanceUrl: string, options: ArchiveOptions): Promise<PartitionAction[]> {
  return asArchivist(maintenanceUrl, async (client) => {
    await client.query('select engine.require_original()');
    const left = await archivePeriods(client, options);
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

/** Detaches the periods to archive: the one that was named, or all that a retention rule archives by their age. */
async function archivePeriods(client: Client, { table = DEFAULT_TABLE, period }: ArchiveOptions): Promise<PartitionAction[]> {
  if (period !== undefined) {
    const named = 'select statement from partitions.archive_concurrently($1, $2) as statement';
    return performPlan(client, named, [await requireTable(client, table), period]);
  }
  const { rows: rules } = await client.query<{ parent: string }>(
    `select parent::text as parent from partitions.managed_tables
     where on_retire = 'archive' and retention is not null and retire_with is null order by 1`,
  );
  const actions: PartitionAction[] = [];
  for (const { parent } of rules) {
    actions.push(...(await performPlan(client, 'select statement from partitions.retire_concurrently($1) as statement', [parent])));
  }
  return actions;
}

async function explainNothing(client: Client, { period, report }: ArchiveOptions): Promise<void> {
  const { rowCount } = await client.query(`select from partitions.managed_tables where on_retire = 'archive'`);
  if (period === undefined && rowCount === 0) {
    throw new FlowgresError('RETENTION_MISSING', 'No retention rule archives what is retired, and no period was named.', {
      hint: `Name one: --period 2025-01-01. Or decide it for all: update partitions.managed_tables set on_retire = 'archive'.`,
    });
  }
  report.done(period === undefined ? 'Nothing is old enough to be retired.' : 'It is archived already: select * from partitions.archives.');
}

/** Returns the periods whose tables are to be written: one, or all that are in schema partitions. */
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

/** Reads every file of an archive back and compares it with the manifest. Throws when one differs. */
export async function verifyArchive(folder: string, manifest: Manifest, report: ArchiveReporter): Promise<void> {
  for (const file of manifest.files) {
    await verifyArchiveFile(folder, file, manifest.format, report.step(`${file.name}: verifying`, file.rows));
  }
}

/** Records in the database that a file holds these rows. */
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
