/** The options of an archive, and how its progress is reported. */
import type { OnRows } from './files.ts';
import type { ArchiveFormat } from './manifest.ts';

/** Shows the progress of an archive or restore. `total` is undefined where it is not known. */
export interface ArchiveReporter {
  /** Begins a step: sealing, writing, verifying or loading one table. */
  step(what: string, total?: number): OnRows;
  /** Reports that a table was archived, restored or kept, or that a file was written. */
  done(line: string): void;
}

/** Options of {@link archive}. */
export interface ArchiveOptions {
  /** The table whose period is archived together with its retention group; `public.workflow_runs` when not given. */
  table?: string;
  /** A time within the one period to archive; all periods that the retention rules select when not given. */
  period?: string;
  /** The folder that files are written to; the archive remains in tables when not given. */
  to?: string;
  format?: ArchiveFormat;
  /** Keeps the tables after the files are written. */
  keepTables?: boolean;
  report: ArchiveReporter;
}

/** A period that is in schema partitions. */
export interface Period {
  parent: string;
  name: string;
  lower: string;
  upper: string;
}
