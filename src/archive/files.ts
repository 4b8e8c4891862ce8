/**
 * Writes, reads and verifies the files of an archive. Files are streamed, so memory does not depend on the size
 * of a table.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import type { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import { FlowgresError } from '../errors.ts';
import type { ArchiveFile, ArchiveFormat } from './manifest.ts';
import { CsvReader, Facts, JsonReader, type RowCounter, inspect, watch } from './readers.ts';

/** The extension of the files of each format. */
export const EXTENSION: Record<ArchiveFormat, string> = { csv: 'csv', ndjson: 'ndjson.gz' };

/** Options of COPY. JSON lines pass through unchanged, with a quote and a delimiter that never occur in JSON. */
const COPY_OPTIONS: Record<ArchiveFormat, string> = {
  csv: `format csv, header, encoding 'UTF8'`,
  ndjson: String.raw`format csv, quote e'\x01', delimiter e'\x02', encoding 'UTF8'`,
};

/** Called repeatedly with the number of rows processed so far. */
export type OnRows = (rows: number) => void;

/**
 * Writes the rows of a query with these columns. The file gets its final name after it is complete and synced
 * to disk.
 */
export async function writeArchiveFile(
  client: Client,
  target: { path: string; format: ArchiveFormat; columns: string[]; onRows: OnRows },
  query: string,
): Promise<{ rows: number; sha256: string; bytes: number }> {
  const { path, format } = target;
  const partial = `${path}.partial`;
  const reader = createReader(format, target.columns);
  const facts = new Facts();
  try {
    await pipeline(
      client.query(copyTo(`copy (${query}) to stdout (${COPY_OPTIONS[format]})`)),
      watch(reporting(reader, target.onRows)),
      format === 'csv' ? new PassThrough() : createGzip(),
      watch(facts),
      createWriteStream(partial, { mode: 0o600 }),
    );
    const handle = await open(partial, 'r+');
    await handle.sync().finally(() => handle.close());
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  return { rows: reader.rows, sha256: facts.sha256, bytes: facts.bytes };
}

/** Reads a file back. Throws when its size, hash or number of rows differs from the manifest. */
export async function verifyArchiveFile(folder: string, expected: ArchiveFile, format: ArchiveFormat, onRows: OnRows): Promise<void> {
  const path = join(folder, expected.file);
  const columns = expected.columns.map(({ name }) => name);
  const reader = createReader(format, columns);
  const facts = new Facts();
  await pipeline(createReadStream(path), watch(facts), unpacked(format), inspect(reporting(reader, onRows))).catch(
    (error: NodeJS.ErrnoException) => {
      throw damaged(path, error.code === 'ENOENT' ? 'it is missing' : error.message, error);
    },
  );
  if (facts.bytes !== expected.bytes) throw damaged(path, `it has ${facts.bytes} bytes instead of ${expected.bytes}`);
  if (facts.sha256 !== expected.sha256) throw damaged(path, 'its SHA-256 is not that of the manifest');
  if (reader.rows !== expected.rows) throw damaged(path, `it has ${reader.rows} rows instead of ${expected.rows}`);
}

/** Loads a file into `target`, a table name with a column list as COPY takes it. */
export async function loadArchiveFile(client: Client, path: string, target: string, format: ArchiveFormat): Promise<void> {
  await pipeline(createReadStream(path), unpacked(format), client.query(copyFrom(`copy ${target} from stdin (${COPY_OPTIONS[format]})`)));
}

function unpacked(format: ArchiveFormat): Transform {
  return format === 'csv' ? new PassThrough() : createGunzip();
}

function createReader(format: ArchiveFormat, columns: string[]): RowCounter {
  return format === 'csv' ? new CsvReader() : new JsonReader(columns);
}

function reporting(reader: RowCounter, onRows: OnRows): RowCounter {
  return {
    rows: 0,
    see: (chunk) => {
      reader.see(chunk);
      onRows(reader.rows);
    },
    end: () => reader.end(),
  };
}

function damaged(path: string, reason: string, cause?: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_DAMAGED', `${path} is not what was archived: ${reason}.`, {
    hint: 'Take it from a backup. Nothing was changed in the database.',
    cause,
  });
}
