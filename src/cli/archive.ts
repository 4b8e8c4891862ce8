/** `flowgres archive` and `flowgres restore`. */
import { type Config, requireRoleUrl } from '../config.ts';
import { FlowgresError } from '../errors.ts';
import { archive } from '../archive/archive.ts';
import type { ArchiveFormat } from '../archive/manifest.ts';
import { restore } from '../archive/restore.ts';
import { ProgressBars } from './progress_bar.ts';
import { table } from './terminal.ts';

/** Options of `flowgres archive`, as commander parses them. */
export interface ArchiveFlags {
  period?: string;
  table?: string;
  to?: string;
  format?: ArchiveFormat;
  keepTables?: boolean;
}

/** Options of `flowgres restore`, as commander parses them. */
export interface RestoreFlags {
  period?: string;
  table?: string;
  keep?: string;
}

/** `flowgres archive`. Sets exit code 1 when a period could not be archived. */
export async function archiveCommand(config: Config, { period, ...flags }: ArchiveFlags): Promise<void> {
  const url = requireRoleUrl(config, 'flowgres_maintenance');
  const stayed = await withBars((report) =>
    archive(url, { ...flags, ...(period === undefined ? {} : { period: parsePeriod(period) }), report }),
  );
  if (stayed.length === 0) return;
  console.log('\nWhat stays:');
  console.log(
    table(
      ['partition', 'why'],
      stayed.map(({ partition, parent, detail }) => [partition ?? parent ?? '', detail ?? '']),
    ),
  );
  // A period that a retention rule or a hold keeps is no failure; any other outcome is.
  if (stayed.some(({ action }) => action !== 'keep')) process.exitCode = 1;
}

/** `flowgres restore [folder]`. */
export async function restoreCommand(config: Config, folder: string | undefined, { period, ...flags }: RestoreFlags): Promise<void> {
  const url = requireRoleUrl(config, 'flowgres_maintenance');
  const options = {
    ...flags,
    ...(folder === undefined ? {} : { folder }),
    ...(period === undefined ? {} : { period: parsePeriod(period) }),
  };
  await withBars((report) => restore(url, { ...options, report }));
}

async function withBars<T>(work: (bars: ProgressBars) => Promise<T>): Promise<T> {
  const bars = new ProgressBars();
  try {
    return await work(bars);
  } finally {
    bars.end();
  }
}

/** Parses a month, a day or a time; UTC when the text names no zone. */
function parsePeriod(text: string): string {
  const day = /^\d{4}-\d{2}$/.test(text) ? `${text}-01` : text;
  if (/^\d{4}-\d{2}-\d{2}/.test(day) && !Number.isNaN(Date.parse(day))) return day;
  throw new FlowgresError(
    'INVALID_SETTING',
    `--period must be a month or a day, such as 2025-01 or 2025-01-31, it is ${JSON.stringify(text)}.`,
  );
}
