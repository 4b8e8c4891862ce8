/** A server of its own with the durability of production, set up as an installation is, for tests that kill it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withDatabase } from '../../src/database/connections.ts';
import { startEmbedded } from '../../src/database/embedded.ts';
import { migrate } from '../../src/database/migrate.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { type TestDatabase, openDatabase } from './database.ts';

export interface DurableServer {
  /** A database with the whole schema; its runs are checked at the end as everywhere, unless the test writes them by hand. */
  db: TestDatabase;
  /** Sends PostgreSQL a signal: SIGKILL, SIGQUIT for an immediate stop. Its supervisor starts it again. */
  signal(name: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

export interface DurableOptions {
  /** The test writes runs by hand, or breaks them: they are not checked at the end. */
  unchecked?: boolean;
  /** The server's folder, removed at the end; a temporary one when not given. */
  folder?: string | undefined;
  /** Environment variables of the server. */
  environment?: Record<string, string>;
}

export async function startDurable(name: string, options: DurableOptions = {}): Promise<DurableServer> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), `flowgres-test-${process.pid}-`)));
  const server = await startEmbedded({ folder, password: 'secret', environment: options.environment ?? {} });
  await migrate(withDatabase(server.url, name), TEST_PASSWORDS);
  const db = openDatabase(server.url, name, !options.unchecked);
  return {
    db,
    signal: async (name) => {
      const [pid] = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), name);
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
