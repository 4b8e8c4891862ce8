/**
 * The sources of the last release, from which the tests of upgrades start: npm run db:release
 *
 * Writes `sql/`, the committed migrations and the version of package.json to migrations/released.json.gz. Run
 * it when a release is made, and only then. While that file does not exist, nothing has been released: this
 * tree counts as the last release, and tables change in `sql/` without a migration.
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import { BUILD_FOLDER, type Sources, readSources } from '../src/database/sources.ts';
import { isBlank } from './lint-migrations.ts';

const SNAPSHOT = fileURLToPath(new URL('../migrations/released.json.gz', import.meta.url));
/** The text of each file by its path in the repository. */
const snapshot = z.object({ files: z.record(z.string(), z.string()) });

/** Whether there has been a release. */
export function hasRelease(): boolean {
  return existsSync(SNAPSHOT);
}

/** Calls `work` with the sources of the last release; with those of this tree before the first one. */
export async function withReleased<T>(work: (sources: Sources) => Promise<T>): Promise<T> {
  if (!hasRelease()) return await work(readSources());
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-released-'));
  try {
    const { files } = snapshot.parse(JSON.parse(gunzipSync(readFileSync(SNAPSHOT)).toString()));
    writeSources(folder, files);
    return await work(readSources(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Returns the files of a build's sources by path. */
export function sourceFiles(folder = BUILD_FOLDER): Record<string, string> {
  const below = (part: string) =>
    readdirSync(join(folder, part), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.sql'))
      .map((file) => `${part}/${file.replaceAll('\\', '/')}`);
  const paths = [...below('sql'), ...below('migrations/committed')].sort();
  const { version, engines } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string; engines: unknown };
  const files = paths.map((path) => [path, readFileSync(join(folder, path), 'utf8')]);
  return { ...Object.fromEntries(files), 'package.json': JSON.stringify({ version, type: 'module', engines }) };
}

/** Writes the sources of a build to a folder from which migrations can be applied. */
export function writeSources(folder: string, files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  symlinkSync('../sql', join(folder, 'migrations/fixtures'), 'dir');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!isBlank(readFileSync(join(BUILD_FOLDER, 'migrations/current.sql'), 'utf8'))) {
    throw new Error('migrations/current.sql is not committed: npm run db:commit -- "what it does"');
  }
  const text = JSON.stringify({ files: sourceFiles() }, null, 1);
  writeFileSync(SNAPSHOT, gzipSync(text, { level: 9 }));
  const { version, digest } = readSources();
  console.log(`migrations/released.json.gz: ${version}, ${digest.slice(0, 12)}`);
}
