/** What of the system the suites use, how they say that it is not there, and that it ends with the test. */
import type { ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, onTestFinished } from 'vitest';
import {
  type Postgres15,
  asServerUser,
  freePort,
  launchDaemon,
  launchPostgres15,
  launchStandby15,
  packages,
  serverFolder,
  stopDaemon,
} from '../helpers/daemons.ts';

export { freePort, packages };

/** A suite that needs packages. Without them it is listed as not run, never as passed. */
export function suite(name: string, needs: (keyof typeof packages)[], body: () => void): void {
  const missing = needs.filter((each) => !packages[each]);
  if (missing.length === 0) describe(name, body);
  else {
    console.log(`not run: ${name} (${missing.join(', ')} not installed)`);
    describe.skip(`${name}: not run`, body);
  }
}

/** A PostgreSQL 15 server of the test's own; returns its administrator's connection string, without a database. */
export async function startPostgres15(settings: Record<string, string> = {}): Promise<string> {
  return untilTheTestEnds(await launchPostgres15(settings));
}

/** A standby of such a server, which follows it. */
export async function startStandby15(primary: string): Promise<string> {
  return untilTheTestEnds(await launchStandby15(primary));
}

function untilTheTestEnds({ url, stop }: Postgres15): string {
  onTestFinished(stop);
  return url;
}

/** Starts a program that stays, waits until it listens, and ends it with the test. */
export async function startDaemon(command: [string, string[]], port: number): Promise<ChildProcess> {
  const child = await launchDaemon(command, port);
  onTestFinished(() => stopDaemon(child));
  return child;
}

/** pgbouncer in transaction mode in front of a server, with one connection for everybody. */
export async function launchPgbouncer(server: string, users: Record<string, string>): Promise<{ port: number; stop(): Promise<void> }> {
  const folder = serverFolder();
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
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
  const daemon = await startDaemon(asServerUser('/usr/sbin/pgbouncer', [join(folder, 'pgbouncer.ini')]), port);
  return { port, stop: () => stopDaemon(daemon) };
}
