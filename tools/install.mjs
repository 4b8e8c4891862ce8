/**
 * Installs the dependencies when they are missing or differ from package-lock.json.
 *
 * Runs before `npm start` and `npm test` on any Node (20 or newer), so it is plain JavaScript without
 * dependencies. It also installs a newer Node: npm puts node_modules/.bin first on the PATH of every script, so
 * the script that follows runs on that one.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Returns the packages of a lock file; undefined without one. */
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
  // Optional packages are for other platforms; the root ('') is not installed.
  return Object.entries(packagesOf('package-lock.json') ?? {}).every(
    ([path, wanted]) => path === '' || (wanted.optional && !installed[path]) || installed[path]?.version === wanted.version,
  );
}

/** Remedies by npm's error code; the first match applies. */
const REMEDIES = [
  [/^(EUSAGE|EJSONPARSE)$/, 'package.json and package-lock.json do not fit each other: restore both from git, or run "npm install".'],
  [/^EINTEGRITY$/, 'A download is not what package-lock.json says: run "npm cache clean --force" and try again.'],
  [/^ENOSPC$/, 'The disk is full.'],
  [/^(EACCES|EPERM|EROFS)$/, `This user may not write to ${root} or to npm's cache (its path: npm config get cache).`],
  [/^(E401|E403|E404|E407|ENEEDAUTH)$/, 'The registry refuses: check "npm config get registry", its login and the proxy.'],
  [/CERT|SELF_SIGNED|UNABLE_TO_/, "The registry's certificate is not trusted: behind a proxy that opens TLS, set NODE_EXTRA_CA_CERTS."],
  [
    /^(ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT|E5\d\d)$/,
    'The registry cannot be reached: check the network, the proxy, and "npm config get registry".',
  ],
  [/^ENOENT npm$/, 'npm is not installed, or not on the PATH.'],
];

function describeFailure({ error, signal, stderr }) {
  if (signal) return `It was ended by ${signal}.`;
  // npm 9 and older write "npm ERR!".
  const code = error ? `${error.code} npm` : /^npm (?:error|ERR!) code (\S+)/m.exec(stderr)?.[1];
  const remedy = REMEDIES.find(([pattern]) => pattern.test(code ?? ''))?.[1];
  return remedy ?? 'What npm says above is the reason; then try again.';
}

function install() {
  const startedAt = Date.now();
  console.log('Installing dependencies (about half a minute) …');
  const args = ['ci', '--include=dev', '--loglevel=error', '--no-audit', '--no-fund'];
  const npm = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['inherit', 'inherit', 'pipe'], encoding: 'utf8', maxBuffer: 2 ** 26 };
  const result = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' });
  process.stderr.write(result.stderr ?? '');
  if (result.status !== 0) {
    console.error(`The dependencies could not be installed. ${describeFailure(result)}`);
    process.exit(result.status || 1);
  }
  console.log(`Dependencies installed in ${Math.round((Date.now() - startedAt) / 1000)} s.`);
}

if (Number(process.versions.node.split('.')[0]) < 20) {
  console.error(`Flowgres needs Node 20 or newer, this is ${process.versions.node}.`);
  process.exit(1);
}
if (!isUpToDate()) install();
