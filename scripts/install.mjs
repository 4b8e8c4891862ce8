/**
 * Installs the dependencies when they are missing or are not the ones of package-lock.json.
 *
 * Runs before `npm start` and `npm test` on whatever Node the machine has (20 or newer), so it is plain JavaScript
 * without dependencies. What it installs includes a newer Node: npm puts node_modules/.bin first on the PATH of
 * every script, so the script that follows runs on that one.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The packages of a lock file; undefined when there is none. */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')).packages;
  } catch {
    return undefined;
  }
}

function isUpToDate() {
  const installed = packagesOf('node_modules/.package-lock.json');
  if (!installed) return false;
  // Optional packages are those of other platforms; the root itself ('') is not installed.
  return Object.entries(packagesOf('package-lock.json') ?? {}).every(
    ([path, wanted]) => path === '' || (wanted.optional && !installed[path]) || installed[path]?.version === wanted.version,
  );
}

function install() {
  const startedAt = Date.now();
  console.log('Installing dependencies (about half a minute) …');
  const args = ['ci', '--include=dev', '--loglevel=error', '--no-audit', '--no-fund'];
  const npm = process.env.npm_execpath;
  const { status } = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: 'inherit' })
    : spawnSync('npm', args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) {
    console.error('The dependencies could not be installed: check the network and the free space of the disk, then try again.');
    process.exit(status ?? 1);
  }
  console.log(`Dependencies installed in ${Math.round((Date.now() - startedAt) / 1000)} s.`);
}

if (Number(process.versions.node.split('.')[0]) < 20) {
  console.error(`Flowgres needs Node 20 or newer, this is ${process.versions.node}.`);
  process.exit(1);
}
if (!isUpToDate()) install();
