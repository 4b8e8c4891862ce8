/**
 * Restores archived periods. Files are verified first, then each is loaded in one transaction into a table of
 * schema partitions, which the database attaches. A repeated call finds what an interrupted one has loaded by
 * its hash.
 */
import { join, resolve } from 'node:path';
import pg, { type Client } from 'pg';
import { FlowgresError } from '../errors.ts';
import type { ArchiveReporter } from './options.ts';
import { DEFAULT_TABLE, enterFile, verifyArchive } from './archive.ts';
import { fieldsOf } from './export.ts';
import { loadArchiveFile } from './files.ts';
import { type ArchiveFile, type Manifest, readManifest } from './manifest.ts';
import { asArchivist, performPlan, requireTable } from './session.ts';

/** Options of {@link restore}. */
export interface RestoreOptions {
  /** The folder of one period with its manifest; tables of schema partitions are attached when not given. */
  folder?: string;
  /** The table whose period is restored together with its retention group; `public.workflow_runs` when not given. */
  table?: string;
  /** A time within the period; not needed with a folder, whose manifest names it. */
  period?: string;
  /** How long retention keeps the restored period, as a PostgreSQL interval; 30 days when not given. */
  keep?: string;
  report: ArchiveReporter;
}

/**
 * Restores one period and attaches its tables.
 *
 * @throws FlowgresError PERIOD_MISSING without folder and period; another code when files and manifest differ
 */
export async function restore(maintenanceUrl: string, options: RestoreOptions): Promise<void> {
  const { folder, keep = '30 days', report } = options;
  const manifest = folder === undefined ? undefined : await readManifest(folder);
  if (folder !== undefined && manifest) await verifyArchive(folder, manifest, report);
  const table = manifest?.group ?? options.table ?? DEFAULT_TABLE;
  const period = manifest?.lower ?? options.period;
  if (period === undefined) {
    throw new FlowgresError('PERIOD_MISSING', 'Which period is to come back?', {
      hint: 'Name the folder of its files, or a time: --period 2025-01-01.',
    });
  }
  await asArchivist(maintenanceUrl, async (client) => {
    const parent = await requireTable(client, table);
    if (folder !== undefined && manifest) await load(client, resolve(folder), manifest, report);
    const plan = 'select statement from partitions.restore_concurrently($1, $2, $3) as statement';
    const actions = await performPlan(client, plan, [parent, period, keep]);
    for (const { partition, action } of actions) report.done(`${partition}: ${action}`);
    if (actions.length === 0) report.done('It is back already.');
  });
}

async function load(client: Client, folder: string, manifest: Manifest, report: ArchiveReporter): Promise<void> {
  for (const file of manifest.files) await requireTable(client, file.parent);
  for (const file of manifest.files) {
    const onRows = report.step(`${file.name}: loading`, file.rows);
    await client.query('begin');
    try {
      await loadTable(client, folder, file, manifest);
      await client.query('commit');
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      throw error;
    }
    onRows(file.rows);
  }
  for (const file of manifest.files) await enterFile(client, folder, file, manifest);
}

/** Loads one file unless its rows are there already. In one transaction: a table that exists is complete. */
async function loadTable(client: Client, folder: string, file: ArchiveFile, { format }: Manifest): Promise<void> {
  const columns = file.columns.map(({ name }) => name);
  const { rows } = await client.query<{ target: string | null }>('select partitions.open_archive($1, $2, $3, $4, $5, $6) as target', [
    file.parent,
    file.lower,
    file.content,
    file.name,
    columns,
    file.rowsSha256,
  ]);
  const target = rows[0]?.target;
  if (!target) return;
  const path = join(folder, file.file);
  const list = columns.map((name) => pg.escapeIdentifier(name)).join(', ');
  if (format === 'csv') await loadArchiveFile(client, path, `${target} (${list})`, format);
  else {
    await client.query('create temporary table incoming (doc jsonb) on commit drop');
    await loadArchiveFile(client, path, 'incoming (doc)', format);
    await client.query(
      `insert into ${target} (${list}) select ${fieldsOf(file.columns, 'i.doc', 'r').join(', ')}
       from incoming as i cross join lateral jsonb_populate_record(null::${target}, i.doc) as r`,
    );
  }
  await client.query('select partitions.close_archive($1, $2, $3, $4, $5, $6)', [
    file.parent,
    file.lower,
    file.upper,
    file.content,
    file.name,
    file.rowsSha256,
  ]);
}
