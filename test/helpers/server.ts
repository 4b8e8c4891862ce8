/**
 * Vitest's global setup: one embedded PostgreSQL per test run, in a temporary folder, with a template database
 * built from `sql/` that every test database is a copy of.
 *
 * FLOWGRES_TEST_LAYER=30_workflows builds the template up to that layer only, for work on a layer while a later
 * one does not load. FLOWGRES_TEST_SERVER=postgres://… uses a running server instead of an embedded one.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { connect, withDatabase } from '../../src/database/connections.ts';
import { type EmbeddedServer, startEmbedded } from '../../src/database/embedded.ts';
import { BUILD_FOLDER } from '../../src/database/sources.ts';
import { buildDatabase } from '../../tools/build-database.ts';
import { today } from './clock.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Connection string of the server's administrator, without a database. */
    serverUrl: string;
    /** The database that test databases are copied from. */
    template: string;
    /** The day (UTC) on which the template was created, whose partitions it has. */
    templateDay: string;
  }
}

const PREFIX = 'flowgres-test-';
const MEMORY = '/dev/shm';
/** Databases of three test files at a time, and the write-ahead log. */
const NEEDED_BYTES = 6 * 1024 ** 3;

/**
 * Crash safety is off, since the data lives as long as the test run. Tests of durability start servers of their
 * own.
 */
const FAST = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '300',
  max_locks_per_transaction: '256',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  autovacuum_naptime: '10s',
  // However slow the machine, one transaction does all that fits into it.
  'flowgres.advance_time': '5s',
};

/** Starts the server and builds the template. Returns the function that stops it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // Processes that tests start load their modules compiled.
  process.env['NODE_COMPILE_CACHE'] ??= join(BUILD_FOLDER, 'node_modules/.cache/flowgres');
  const external = process.env['FLOWGRES_TEST_SERVER'];
  const server = external ? { url: external, stop: async () => undefined } : await startTemporary();
  const template = `flowgres_template_${process.pid}`;
  const day = today();
  try {
    const lastLayer = process.env['FLOWGRES_TEST_LAYER'];
    await buildDatabase(server.url, template, lastLayer ? { lastLayer } : {});
  } catch (error) {
    await server.stop();
    throw error;
  }
  project.provide('serverUrl', server.url);
  project.provide('template', template);
  project.provide('templateDay', day);
  return async () => {
    if (external) await dropDatabase(external, template);
    await server.stop();
  };
}

/** Starts a server in a new folder, which is removed when it stops. */
export async function startTemporary(settings: Record<string, string> = FAST): Promise<Pick<EmbeddedServer, 'url' | 'stop'>> {
  await removeAbandoned();
  const folder = await mkdtemp(join(await roomyFolder(), `${PREFIX}${process.pid}-`));
  const server = await startEmbedded({ folder, password: randomBytes(12).toString('hex'), settings });
  const stop = async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { url: server.url, stop };
}

/** Where Linux keeps files in memory, if there is space for the databases of a run; else the folder for temporary files. */
export async function roomyFolder(): Promise<string> {
  const { bavail, bsize } = await statfs(MEMORY).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize > NEEDED_BYTES ? MEMORY : tmpdir();
}

/** Stops the servers of killed test runs and removes their folders. */
async function removeAbandoned(): Promise<void> {
  const entries = await Promise.all(
    [tmpdir(), MEMORY].map(async (parent) => (await readdir(parent).catch(() => [])).map((name) => join(parent, name))),
  );
  for (const folder of entries.flat()) {
    const pid = Number(new RegExp(`/${PREFIX}(\\d+)-[^/]*$`).exec(folder)?.[1]);
    if (!pid || isAlive(pid)) continue;
    await stopServerOf(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

async function stopServerOf(folder: string): Promise<void> {
  const postmaster = Number((await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')[0]);
  // SIGQUIT is PostgreSQL's immediate shutdown; the data is not needed any more.
  if (postmaster && isAlive(postmaster)) process.kill(postmaster, 'SIGQUIT');
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  const client = await connect(withDatabase(serverUrl, 'postgres'));
  await client.query(`drop database if exists ${client.escapeIdentifier(name)} with (force)`);
  await client.end();
}
