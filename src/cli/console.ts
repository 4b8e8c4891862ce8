/** Builds the console from `src/console/`, and finds what was built. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BUILD_FOLDER } from '../database/sources.ts';

const SOURCES = join(BUILD_FOLDER, 'src/console');
const BUILT = join(BUILD_FOLDER, 'dist/console');
/** Documents by hash, which the page sends and a server with persisted operations knows. */
export const OPERATIONS_FILE = 'operations.json';
/** Builds that are kept: a process that starts later may be older. */
const KEPT = 3;

/** Whether this process runs the sources, and not what `npm run build` compiled. */
const runsSources = import.meta.url.endsWith('.ts');

/**
 * Returns the folder of the built console; builds it first when its sources have changed. Processes that build
 * at the same time do not disturb each other. Null where there is neither a build nor the sources.
 */
export async function buildConsole(): Promise<string | null> {
  if (!runsSources) return lastBuild();
  if (!existsSync(SOURCES)) return null;
  const folder = join(BUILT, digest());
  if (existsSync(folder)) return folder;
  const made = `${folder}.${process.pid}`;
  await mkdir(BUILT, { recursive: true });
  try {
    await bundle(made);
    await cp(join(SOURCES, 'api', OPERATIONS_FILE), join(made, OPERATIONS_FILE));
    await rename(made, folder).catch((error: unknown) => {
      // Another process has built the same meanwhile.
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(made, { recursive: true, force: true });
  }
  await removeOlder();
  return folder;
}

/** Returns what a build consists of, as a short hash: the files of the console and the versions of packages. */
function digest(): string {
  const hash = createHash('sha256').update(readFileSync(join(BUILD_FOLDER, 'package-lock.json')));
  const files = readdirSync(SOURCES, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of files.map(({ parentPath, name }) => join(parentPath, name)).sort()) {
    hash.update(path.slice(SOURCES.length)).update('\0').update(readFileSync(path)).update('\0');
  }
  return hash
    .update(readFileSync(import.meta.filename))
    .digest('hex')
    .slice(0, 16);
}

async function bundle(target: string): Promise<void> {
  const { build } = await import('vite');
  await build({
    configFile: false,
    root: SOURCES,
    // Paths relative to the page: it works below any path.
    base: './',
    mode: 'production',
    logLevel: 'error',
    build: {
      outDir: target,
      emptyOutDir: true,
      target: ['chrome125', 'firefox126', 'safari18'],
      // A file inside a style or a script would need "data:" in the policy of the page.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      reportCompressedSize: false,
      chunkSizeWarningLimit: 1_500,
    },
  });
}

function lastBuild(): string | null {
  const [folder] = existsSync(BUILT) ? readdirSync(BUILT) : [];
  return folder === undefined ? null : join(BUILT, folder);
}

async function removeOlder(): Promise<void> {
  const { stat } = await import('node:fs/promises');
  const names = (await readdir(BUILT)).filter((name) => !name.includes('.'));
  const dated = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(BUILT, name))).mtimeMs })));
  const older = dated.sort((one, other) => other.at - one.at).slice(KEPT);
  await Promise.all(older.map(({ name }) => rm(join(BUILT, name), { recursive: true, force: true })));
}
