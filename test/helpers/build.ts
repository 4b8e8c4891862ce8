/** Builds a database from `sql/`, the source of truth; the drift test proves that the committed migrations give the same. */
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { connect, withDatabase } from '../../src/database.ts';
import { compileSources, prepareDatabase } from '../../src/migrate.ts';
import { createRoles } from '../../src/roles.ts';

/** The roles' passwords in tests derive from it. */
export const TEST_SECRET = 'flowgres-test-00';

const INDEX = new URL('../../sql/index.sql', import.meta.url);
const INCLUDE = /^--!include .*$/gm;

export interface BuildOptions {
  /** Loads the layers up to this one, for example `20_tenancy`; all when not given. */
  lastLayer?: string;
}

/** Drops and creates database `name` on the server of `serverUrl`. Returns its connection string. */
export async function buildDatabase(serverUrl: string, name: string, options: BuildOptions = {}): Promise<string> {
  const url = withDatabase(serverUrl, name);
  await createRoles(url, TEST_SECRET);
  const admin = await connect(withDatabase(serverUrl, 'postgres'));
  try {
    await admin.query(`drop database if exists ${admin.escapeIdentifier(name)} with (force)`);
    await admin.query(`create database ${admin.escapeIdentifier(name)}`);
  } finally {
    await admin.end();
  }
  await prepareDatabase(url);
  const sql = await compileSources(url, indexUpTo(await readFile(INDEX, 'utf8'), options.lastLayer));
  const client = await connect(url);
  try {
    await client.query(`begin; ${sql}; commit`).catch((error: unknown) => {
      throw locate(error, sql);
    });
  } finally {
    await client.end();
  }
  return url;
}

/** `index.sql` without the layers after `lastLayer`. */
export function indexUpTo(index: string, lastLayer?: string): string {
  if (!lastLayer) return index;
  const layers = index.match(INCLUDE) ?? [];
  const last = layers.findIndex((line) => line.includes(` ${lastLayer}/`));
  if (last < 0) throw new Error(`sql/index.sql has no layer ${lastLayer}`);
  const dropped = new Set(layers.slice(last + 1));
  return index.replace(INCLUDE, (line) => (dropped.has(line) ? '' : line));
}

/** The error with the source file and line that it is about. */
function locate(error: unknown, sql: string): unknown {
  if (!(error instanceof pg.DatabaseError) || !error.position) return error;
  const before = sql.slice(0, Number(error.position) - 'begin; '.length).split('\n');
  const place: { file: string; line: number }[] = [{ file: 'index.sql', line: 0 }];
  for (const line of before) {
    const [, mark, file] = /^--! (Included|EndIncluded) (.*)$/.exec(line) ?? [];
    if (mark === 'Included') place.push({ file: file!, line: 0 });
    else if (mark === 'EndIncluded') place.pop();
    else place.at(-1)!.line += 1;
  }
  error.message = `sql/${place.at(-1)!.file}:${place.at(-1)!.line} ${error.message}`;
  return error;
}
