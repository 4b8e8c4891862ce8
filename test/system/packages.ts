/** What of the system the suites use, and how they say that it is not there. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, onTestFinished, vi } from 'vitest';

const POSTGRES_15 = '/usr/lib/postgresql/15';

export const packages = {
  'postgresql-15': existsSync(`${POSTGRES_15}/bin/postgres`),
  'postgresql-15-cron': existsSync(`${POSTGRES_15}/lib/pg_cron.so`),
  pgbouncer: existsSync('/usr/sbin/pgbouncer'),
  chromium: existsSync('/usr/bin/chromium'),
};

/** A suite that needs packages. Without them it is listed as not run, never as passed. */
export function suite(name: string, needs: (keyof typeof packages)[], body: () => void): void {
  const missing = needs.filter((each) => !packages[each]);
  if (missing.length === 0) describe(name, body);
  else {
    console.log(`not run: ${name} (${missing.join(', ')} not installed)`);
    describe.skip(`${name}: not run`, body);
  }
}

/** As root a server runs as the user postgres, whom the package has made. */
const isRoot = userInfo().uid === 0;

/** A folder that the server's user may enter. */
function serverFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'flowgres-system-'));
  if (isRoot) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
    chownSync(folder, id('-u'), id('-g'));
  }
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function asServerUser(file: string, args: string[]): [string, string[]] {
  return isRoot ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--', file, ...args]] : [file, args];
}

/** A PostgreSQL 15 server of the test's own; returns its administrator's connection string, without a database. */
export async function startPostgres15(settings: Record<string, string> = {}): Promise<string> {
  const folder = serverFolder();
  const data = join(folder, 'data');
  execFileSync(
    ...asServerUser(`${POSTGRES_15}/bin/initdb`, ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8']),
  );
  return startServer(folder, data, settings);
}

/** A standby of such a server, which follows it. */
export async function startStandby15(primary: string): Promise<string> {
  const folder = serverFolder();
  const data = join(folder, 'data');
  execFileSync(...asServerUser(`${POSTGRES_15}/bin/pg_basebackup`, ['-D', data, '-d', primary, '-R', '-c', 'fast']));
  return startServer(folder, data, {});
}

async function startServer(folder: string, data: string, settings: Record<string, string>): Promise<string> {
  const port = await freePort();
  const all = { listen_addresses: '127.0.0.1', unix_socket_directories: folder, fsync: 'off', ...settings };
  const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  await startDaemon(asServerUser(`${POSTGRES_15}/bin/postgres`, ['-D', data, '-p', String(port), ...flags]), port);
  return `postgres://postgres@127.0.0.1:${port}`;
}

/** Starts a program that stays, waits until it listens, and ends it with the test. */
export async function startDaemon([file, args]: [string, string[]], port: number): Promise<ChildProcess> {
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  onTestFinished(async () => {
    const ended = new Promise((resolve) => child.once('close', resolve));
    if (child.exitCode === null && child.kill('SIGINT')) await ended;
  });
  await vi.waitUntil(
    () => {
      if (child.exitCode !== null) throw new Error(`${file} ended: ${text}`);
      return listens(port);
    },
    { timeout: 30_000, interval: 50 },
  );
  return child;
}

/** pgbouncer in transaction mode in front of a server, with one connection for everybody. */
export async function startPgbouncer(server: string, users: Record<string, string>): Promise<number> {
  const folder = serverFolder();
  const port = await freePort();
  const { hostname, port: serverPort } = new URL(server);
  writeFileSync(
    join(folder, 'users.txt'),
    Object.entries(users)
      .map(([name, password]) => `"${name}" "${password}"\n`)
      .join(''),
    { mode: 0o644 },
  );
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${hostname} port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${join(folder, 'users.txt')}
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = extra_float_digits, options
`,
  );
  await startDaemon(asServerUser('/usr/sbin/pgbouncer', [join(folder, 'pgbouncer.ini')]), port);
  return port;
}

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
