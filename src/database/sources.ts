/**
 * Reads the schema that this build brings: the files of `sql/`, the committed migrations, and the digest that
 * identifies them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';
import { API_SCHEMA, forSchema } from './api_schema.ts';

/** The folder with `sql/`, `migrations/` and package.json, in a checkout and in a package. */
export const BUILD_FOLDER = fileURLToPath(new URL('../..', import.meta.url));

/** One file of `sql/`. */
export interface SourceFile {
  /** Path below `sql/`, such as `50_engine/start/start.sql`. */
  path: string;
  kind: string;
  sql: string;
  /** SHA-256 of the text, in hex. */
  checksum: string;
  /** The file is left out when this extension is installed. */
  unlessExtension?: string;
}

/** One committed migration. */
export interface Migration {
  /** The file name as graphile-migrate records it, such as `000003.sql`. */
  filename: string;
  hash: string;
  previousHash: string | null;
}

/** The schema of a build. */
export interface Sources {
  folder: string;
  /** Version of the package. */
  version: string;
  /** Version of the interface between processes and schema: see `sql/index.sql`. */
  protocol: number;
  /** The files in the order in which they are applied. */
  files: SourceFile[];
  /** The file `sql/dropped.sql`. */
  dropped: SourceFile;
  /** The committed migrations, oldest first. */
  migrations: Migration[];
  /** SHA-256 in hex of the functions, the drop list and the migrations. */
  digest: string;
  /** ISO 8601 time of the last commit, which orders builds of one release; null where it is not known. */
  committedAt: string | null;
}

/** The file that `npm run build` writes beside the compiled program: the digest that it was compiled with. */
export const buildRecord = z.object({ digest: z.string(), committedAt: z.string().nullable() });
const RECORD = new URL('../build.json', import.meta.url);

let own: Sources | undefined;

/**
 * Returns the sources that this process was started from. The command line calls it first: an upgrade may
 * replace the files later.
 *
 * @throws FlowgresError BUILD_MIXED: the files of `sql/` are not those that the program was compiled with
 */
export function ownSources(): Sources {
  own ??= readOwnSources();
  return own;
}

function readOwnSources(): Sources {
  const sources = readSources();
  if (!existsSync(RECORD)) return sources;
  const { digest, committedAt } = buildRecord.parse(JSON.parse(readFileSync(RECORD, 'utf8')));
  if (digest === sources.digest) return { ...sources, committedAt };
  throw new FlowgresError('BUILD_MIXED', 'The files of sql/ are not those that this program was compiled with.', {
    hint: 'In a checkout: npm run build. In a package: install it again.',
  });
}

/** Returns when the schema of a checkout was last committed, as ISO 8601; null without git or a repository. */
function commitTime(folder: string): string | null {
  if (!existsSync(`${folder}/.git`)) return null;
  try {
    const args = ['-C', folder, 'log', '-1', '--format=%cI', '--', 'sql', 'migrations'];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() || null;
  } catch {
    return null;
  }
}

/** Reads the sources of a build from its folder, written for `schema`. Checksums and digest are those of the files. */
export function readSources(folder = BUILD_FOLDER, schema = API_SCHEMA): Sources {
  const index = readFileSync(`${folder}/sql/index.sql`, 'utf8');
  const protocol = Number(/^--!protocol (\d+)$/m.exec(index)?.[1]);
  if (!protocol) throw new Error('sql/index.sql states no protocol.');
  const written = (file: SourceFile) => ({ ...file, sql: forSchema(file.sql, schema) });
  const files = includesOf(folder, 'index.sql').map(written);
  const dropped = written(readFile(folder, 'dropped.sql'));
  const migrations = readMigrations(folder);
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { version: string };
  const code = files.filter(({ kind }) => kind === 'code').map(({ checksum }) => checksum);
  const digest = sha256([protocol, ...code, dropped.checksum, ...migrations.map(({ hash }) => hash)].join('\n'));
  return { folder, version, protocol, files, dropped, migrations, digest, committedAt: commitTime(folder) };
}

/** Returns the files that an index includes, in order, with nested indexes expanded. */
function includesOf(folder: string, path: string): SourceFile[] {
  const text = readFileSync(`${folder}/sql/${path}`, 'utf8');
  const files: SourceFile[] = [];
  let extension: string | undefined;
  for (const [, directive, argument] of text.matchAll(/^--!(include|unless-extension) (\S+)$/gm)) {
    if (directive === 'unless-extension') extension = argument!;
    else if (argument!.endsWith('/index.sql')) files.push(...includesOf(folder, argument!));
    else files.push({ ...readFile(folder, argument!), ...(extension ? { unlessExtension: extension } : {}) });
  }
  return files;
}

function readFile(folder: string, path: string): SourceFile {
  const sql = readFileSync(`${folder}/sql/${path}`, 'utf8');
  return { path, kind: /^-- kind: (\w+)$/m.exec(sql)?.[1] ?? '', sql, checksum: sha256(sql) };
}

/** Reads the hashes only: graphile-migrate checks the migrations when it applies them. */
function readMigrations(folder: string): Migration[] {
  const committed = `${folder}/migrations/committed`;
  const files = readdirSync(committed).filter((file) => /^\d{6}.*\.sql$/.test(file));
  return files.sort().map((file) => {
    const text = readFileSync(`${committed}/${file}`, 'utf8');
    const header = (name: string) => new RegExp(`^--! ${name}: (\\S+)$`, 'm').exec(text)?.[1] ?? '-';
    const previous = header('Previous');
    return { filename: `${file.slice(0, 6)}.sql`, hash: header('Hash'), previousHash: previous === '-' ? null : previous };
  });
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
