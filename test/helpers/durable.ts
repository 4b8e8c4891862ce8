/** A server with the durability of production, for tests that kill it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { withDatabase } from '../../src/database/connections.ts';
import { startEmbedded } from '../../src/database/embedded.ts';
import { migrate } from '../../src/database/migrate.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { type TestDatabase, openDatabase } from './database.ts';
import { roomyFolder } from './server.ts';

/** A running durable server. */
export interface DurableServer {
  /** A database with the whole schema. Its runs are checked at the end unless `unchecked` is set. */
  db: TestDatabase;
  /**
   * Sends PostgreSQL a signal, such as SIGKILL, or SIGQUIT for an immediate shutdown. The supervisor starts it
   * again.
   */
  signal(name: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

/** Options of {@link startDurable}. */
export interface DurableOptions {
  /** The test writes or breaks runs by hand, so they are not checked at the end. */
  unchecked?: boolean;
  /** The server's folder, removed at the end; a temporary one when not given. */
  folder?: string | undefined;
  /** Environment variables of the server. */
  environment?: Record<string, string>;
}

/** Starts the server; it stops with the test file. */
export async function startDurable(name: string, options: DurableOptions = {}): Promise<DurableServer> {
  const folder = options.folder ?? (await mkdtemp(join(await roomyFolder(), `flowgres-test-${process.pid}-`)));
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
