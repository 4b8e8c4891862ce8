/** The benchmark server: embedded, durable, with the schema and one organization. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startEmbedded } from '../src/database/embedded.ts';
import { type LoginRole, roleUrl } from '../src/database/roles.ts';
import type { Sources } from '../src/database/sources.ts';
import { TEST_PASSWORDS, buildDatabase } from '../tools/build-database.ts';

/** Durability as in production; memory that fits a small machine. */
export const SETTINGS = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '1GB',
  max_wal_size: '4GB',
  max_connections: '100',
};

/** A database of the server, with one organization. */
export interface BenchDatabase {
  adminUrl: string;
  url(role: LoginRole): string;
  organizationId: string;
  webhookKey: string;
  /** Publishes a workflow of successive nodes; an `if` continues at its port true. Resolves to the workflow's id. */
  publish(name: string, nodes: Record<string, unknown>[]): Promise<string>;
  close(): Promise<void>;
}

/** The running server, with the database of this checkout. */
export interface BenchServer extends Omit<BenchDatabase, 'close'> {
  /** Builds a further database from these sources. */
  build(name: string, sources: Sources): Promise<BenchDatabase>;
  stop(): Promise<void>;
}

/** Starts the server and creates the database and the organization. */
export async function startBench(): Promise<BenchServer> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-bench-'));
  const server = await startEmbedded({ folder, password: randomBytes(12).toString('hex'), settings: SETTINGS });
  const build = async (name: string, sources?: Sources) => openDatabase(await buildDatabase(server.url, name, sources ? { sources } : {}));
  const { close, ...database } = await build('flowgres');
  return {
    ...database,
    build,
    stop: async () => {
      await close();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function openDatabase(adminUrl: string): Promise<BenchDatabase> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  const { rows: users } = await client.query<{ id: string }>(
    `insert into users (name, email) values ('Bench', 'bench@example.com') returning id`,
  );
  await client.query('select set_context(null, $1)', [users[0]!.id]);
  const { rows } = await client.query<{ id: string; webhook_key: string }>(
    `select id, webhook_key from create_organization('Bench', 'bench')`,
  );
  const { id: organizationId, webhook_key: webhookKey } = rows[0]!;
  await client.query('select set_context($1, $2)', [organizationId, users[0]!.id]);
  // An effect that takes no time: the engine is measured.
  await client.query(
    `insert into engine.node_types (name, kind, description) values ('benchStep', 'effect', 'Does nothing.') on conflict do nothing`,
  );
  return {
    adminUrl,
    url: (role) => roleUrl(adminUrl, TEST_PASSWORDS, role),
    organizationId,
    webhookKey,
    publish: async (name, nodes) => {
      const connections = nodes.slice(1).map((target, index) => {
        const source = nodes[index]!;
        return { source: source['id'], target: target['id'], sourceOutput: source['type'] === 'if' ? 'true' : 'main' };
      });
      const definition = JSON.stringify({ nodes, connections });
      const { rows: workflows } = await client.query<{ id: string }>('select id from create_workflow($1, $2)', [name, definition]);
      await client.query('select publish_workflow($1)', [workflows[0]!.id]);
      return workflows[0]!.id;
    },
    close: () => client.end(),
  };
}
