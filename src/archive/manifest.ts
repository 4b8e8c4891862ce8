/** manifest.json describes the files of an archived period. It is written last: when it exists, all files exist. */
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

/** Incremented when older readers cannot read the new form. */
const VERSION = 1;
const MANIFEST = 'manifest.json';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
/** A plain file name: a manifest must not make a restore read outside of its folder. */
const fileName = z.string().regex(/^[^/\\]+$/);

const file = z.object({
  file: fileName,
  /** The table that the rows belong to, as schema.name. */
  parent: z.string(),
  /** The name of the former partition. */
  name: z.string(),
  /** `partition`, or `late`: rows with later times that belong to the period. */
  content: z.enum(['partition', 'late']),
  lower: z.string(),
  upper: z.string(),
  columns: z.array(z.object({ name: z.string(), type: z.string() })).min(1),
  rows: z.number().int().min(0),
  /** SHA-256 of the rows, as partitions.contents() computes it. */
  rowsSha256: hash,
  /** SHA-256 of the file. */
  sha256: hash,
  bytes: z.number().int().min(0),
});

const manifest = z.object({
  version: z.literal(VERSION),
  /** The table whose retention group was archived, as schema.name. */
  group: z.string(),
  lower: z.string(),
  upper: z.string(),
  format: z.enum(['csv', 'ndjson']),
  createdAt: z.iso.datetime(),
  /** The files in the order in which a restore loads them. */
  files: z.array(file).min(1),
});

/** One file of an archive. */
export type ArchiveFile = z.infer<typeof file>;
/** The content of manifest.json. */
export type Manifest = z.infer<typeof manifest>;
/** The format of the files. */
export type ArchiveFormat = Manifest['format'];

/** Returns a manifest of the current version. */
export function createManifest(content: Omit<Manifest, 'version'>): Manifest {
  return { version: VERSION, ...content };
}

/** Writes to a temporary file and renames it, so that a reader sees the complete manifest or none. */
export async function writeManifest(folder: string, content: Manifest): Promise<void> {
  const path = join(folder, MANIFEST);
  const handle = await open(`${path}.partial`, 'w', 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(content, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.partial`, path);
  await syncFolder(folder);
}

/** Syncs the folder, so that the names of its files survive a power failure. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Returns the manifest of a folder; undefined when it has none. Throws when it cannot be read. */
export async function findManifest(folder: string): Promise<Manifest | undefined> {
  const path = join(folder, MANIFEST);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw unreadable(path, error.message, error);
  });
  return text === undefined ? undefined : parse(path, text);
}

/** Returns the manifest of a folder. Throws when it has none. */
export async function readManifest(folder: string): Promise<Manifest> {
  const found = await findManifest(folder);
  if (found) return found;
  throw new FlowgresError('ARCHIVE_MISSING', `${join(folder, MANIFEST)} does not exist.`, {
    hint: 'Name the folder of one period, as `flowgres archive --to` has made it. Without a manifest it was interrupted: run it again.',
  });
}

function parse(path: string, text: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw unreadable(path, 'it is no JSON', error);
  }
  const version = z.object({ version: z.unknown() }).safeParse(json).data?.version;
  if (version !== undefined && version !== VERSION) {
    throw new FlowgresError('ARCHIVE_VERSION', `${path} has version ${JSON.stringify(version)}; this release reads version ${VERSION}.`, {
      hint: 'Restore it with the release of Flowgres that wrote it, or a newer one.',
    });
  }
  const parsed = manifest.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw unreadable(path, `${issue?.path.join('.')}: ${issue?.message}`);
}

function unreadable(path: string, reason: string, cause?: unknown): FlowgresError {
  return new FlowgresError('ARCHIVE_DAMAGED', `${path} cannot be read: ${reason}.`, { hint: 'Take it from a backup.', cause });
}
