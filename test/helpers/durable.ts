/** A server of its own with the durability of production, for tests that kill it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbedded } from '../../src/embedded.ts';
import { buildDatabase } from './build.ts';
import { type TestDatabase, openDatabase } from './database.ts';

export interface DurableServer {
  /** A database with the whole schema; its runs are checked at the end as everywhere, unless the test writes them by hand. */
  db: TestDatabase;
  /** kill -9 of PostgreSQL; its supervisor starts it again. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export async function startDurable(name: string, options: { unchecked?: boolean } = {}): Promise<DurableServer> {
  const folder = await mkdtemp(join(tmpdir(), `flowgres-test-${process.pid}-`));
  const server = await startEmbedded({ folder, password: 'secret' });
  await buildDatabase(server.url, name);
  const db = openDatabase(server.url, name, !options.unchecked);
  return {
    db,
    kill: async () => {
      const [pid] = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), 'SIGKILL');
    },
    stop: async () => {
      try {
        await db.drop();
      } finally {
        await server.stop();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
