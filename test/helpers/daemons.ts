/** Starts and stops programs of system packages for a test or benchmark. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { canFakeClock } from './fake_clock.ts';

const POSTGRES_15 = '/usr/lib/postgresql/15';
const START_MS = 30_000;

/** Runs the lints of Supabase. Exists for some platforms only, so `.ci/run` installs it separately. */
export const LINTER = fileURLToPath(new URL('../../.artifacts/linter/node_modules/.bin/postgres-language-server', import.meta.url));

/** The lowest Node that package.json allows. `.ci/run` installs it separately because of its size. */
export const LOWEST_NODE = fileURLToPath(
  new URL(`../../.artifacts/lowest-node/node_modules/node-${process.platform}-${process.arch}/bin/node`, import.meta.url),
);

/** Paths of the packages' programs, and whether they are installed. */
export const packages = {
  'postgresql-15': existsSync(`${POSTGRES_15}/bin/postgres`),
  'postgresql-15-cron': existsSync(`${POSTGRES_15}/lib/pg_cron.so`),
  'postgresql-15-partman': existsSync('/usr/share/postgresql/15/extension/pg_partman.control'),
  pgbouncer: existsSync('/usr/sbin/pgbouncer'),
  chromium: existsSync('/usr/bin/chromium'),
  'postgres-language-server': existsSync(LINTER),
  'lowest-node': existsSync(LOWEST_NODE),
  cc: canFakeClock(),
};

/** As root, a server runs as the user postgres, which the package has created. */
const isRoot = userInfo().uid === 0;

/** Creates a folder that the server's user may enter. */
export function serverFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'flowgres-system-'));
  if (isRoot) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
    chownSync(folder, id('-u'), id('-g'));
  }
  return folder;
}

/** Returns the command that runs a program as the server's user. */
export function asServerUser(file: string, args: string[]): [string, string[]] {
  return isRoot ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--', file, ...args]] : [file, args];
}

/** A running PostgreSQL 15 server. */
export interface Postgres15 {
  /** Connection string of the administrator, without a database. */
  url: string;
  /** Stops the server and removes its folder. */
  stop(): Promise<void>;
}

/** Starts a PostgreSQL 15 server in a temporary folder; not durable unless the settings say so. */
export function launchPostgres15(settings: Record<string, string> = {}): Promise<Postgres15> {
  return launchServer('initdb', ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'], settings);
}

/** Starts a standby that follows such a server. */
export function launchStandby15(primary: string): Promise<Postgres15> {
  return launchServer('pg_basebackup', ['-d', primary, '-R', '-c', 'fast'], {});
}

/** Fills a data folder with `program`, and starts its server. */
async function launchServer(program: string, args: string[], settings: Record<string, string>): Promise<Postgres15> {
  const folder = serverFolder();
  const data = join(folder, 'data');
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    execFileSync(...asServerUser(`${POSTGRES_15}/bin/${program}`, ['-D', data, ...args]));
    const port = await freePort();
    const all = { listen_addresses: '127.0.0.1', unix_socket_directories: folder, fsync: 'off', ...settings };
    const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const daemon = await launchDaemon(asServerUser(`${POSTGRES_15}/bin/postgres`, ['-D', data, '-p', String(port), ...flags]), port);
    const stop = async () => {
      await stopDaemon(daemon);
      remove();
    };
    const url = `postgres://postgres@127.0.0.1:${port}`;
    await untilItAnswers(`${url}/postgres`).catch(async (error: unknown) => {
      await stop();
      throw error;
    });
    return { url, stop };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Waits until the server accepts connections, which is a moment after it listens. */
async function untilItAnswers(url: string): Promise<void> {
  for (const until = performance.now() + START_MS; ; ) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await delay(50);
    }
  }
}

/** Starts a program and waits until it listens on the port. */
export async function launchDaemon([file, args]: [string, string[]], port: number): Promise<ChildProcess> {
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => (text = (text + chunk).slice(-10_000)));
  const until = performance.now() + START_MS;
  while (!(await listens(port))) {
    if (child.exitCode !== null || performance.now() > until) {
      child.kill('SIGKILL');
      throw new Error(`${file} did not start: ${text}`);
    }
    await delay(50);
  }
  return child;
}

/** Stops the program and waits for its end. */
export async function stopDaemon(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  if (child.kill('SIGINT')) await ended;
}

/** Returns a free port on 127.0.0.1. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket.destroy() !== undefined));
    socket.once('error', () => resolve(false));
  });
}
