/** What an archive is asked for, and what it is of. */
import type { OnRows } from './files.ts';
import type { ArchiveFormat } from './manifest.ts';

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
export interface Period {
  parent: string;
  name: string;
  lower: string;
  upper: string;
}
