/** Builds that differ from this tree, for tests of upgrades. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { calculateHash } from 'graphile-migrate/dist/hash.js';
import { onTestFinished } from 'vitest';
import { sourceFiles, writeSources } from '../../tools/released.ts';
import { type Sources, readSources } from '../../src/database/sources.ts';

/** How a build differs from this tree. */
export interface Change {
  /** Edits of files, by path in the repository; an edit of a missing file creates it. */
  edit?: Record<string, (text: string) => string>;
  /** Bodies of further committed migrations. */
  migrations?: string[];
  version?: string;
}

/** Returns the files of this tree with a change. */
export function changedFiles(change: Change): Record<string, string> {
  const files = sourceFiles();
  for (const [path, edit] of Object.entries(change.edit ?? {})) {
    const text = edit(files[path] ?? '');
    if (text === files[path]) throw new Error(`${path} is not changed by the edit.`);
    files[path] = text;
  }
  for (const body of change.migrations ?? []) addMigration(files, body);
  if (change.version) files['package.json'] = JSON.stringify({ ...JSON.parse(files['package.json']!), version: change.version });
  return files;
}

/** Returns the sources of a changed build in a folder that is removed when the test ends. */
export async function changedSources(change: Change): Promise<Sources> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-build-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  writeSources(folder, changedFiles(change));
  return readSources(folder);
}

function addMigration(files: Record<string, string>, body: string): void {
  const last = Object.keys(files)
    .filter((path) => path.startsWith('migrations/committed/'))
    .sort()
    .at(-1)!;
  const previous = /^--! Hash: (\S+)$/m.exec(files[last]!)![1]!;
  const number = String(Number(/\d{6}/.exec(last)![0]) + 1).padStart(6, '0');
  const text = `--! Previous: ${previous}\n--! Hash: ${calculateHash(body, previous)}\n--! Message: test\n\n${body.trim()}\n`;
  files[`migrations/committed/${number}-test.sql`] = text;
}
