/**
 * Test databases: each is a copy of the template that the global setup built from `sql/`.
 *
 *     const db = await createTestDatabase();          // at the top of a test file, or inside one test
 *     const { rows } = await db.admin.query('select …');
 *     const user = asUser(db, organization.token);    // what a GraphQL request may see and do
 *     await expect(user.query('select …')).rejects.toMatchObject({ code: 'WF005' });
 *
 * All databases of a file are dropped when the file ends; `drop()` does it earlier. Before that, whatever the
 * test is about, every run in it must keep the invariants and replay to the same log.
 */
import { createHash, randomBytes } from 'node:crypto';
import type pg from 'pg';
import { expect, inject } from 'vitest';
import { connect, createPool, withDatabase } from '../../src/database/connections.ts';
import { type LoginRole, roleUrl } from '../../src/database/roles.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { today } from './clock.ts';
import { all, atEndOfFile } from './end_of_file.ts';

/** A database of a test. */
export interface TestDatabase {
  name: string;
  /** Connection string of the administrator (superuser). */
  adminUrl: string;
  /** Returns a connection string with the login of a role. */
  url(role: LoginRole): string;
  /** A pool as the administrator. */
  admin: pg.Pool;
  /** Returns a pool that logs in as a role; it ends with the database. */
  pool(role: LoginRole): pg.Pool;
  /** Ends all connections, which copying the database requires. */
  disconnect(): Promise<void>;
  drop(): Promise<void>;
}

/** Options of {@link createTestDatabase}. */
export interface TestDatabaseOptions {
  /** An empty database instead of a copy of the template. */
  empty?: boolean;
  /** Copies this database instead of the template. */
  template?: string;
  /** The test writes or breaks runs by hand, so they are not checked at the end. */
  unchecked?: boolean;
}

const open = new Set<TestDatabase>();
atEndOfFile(() => all([...open].map((database) => database.drop())));

/** Creates a database with the whole schema and no rows. Takes about 50 ms. */
export async function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`;
  const serverUrl = inject('serverUrl');
  const template = options.template ?? (options.empty ? 'template0' : inject('template'));
  await onServer(serverUrl, `create database ${name} template ${template} strategy file_copy`);
  const database = openDatabase(serverUrl, name, !options.empty && !options.unchecked);
  // A test that runs past midnight needs the partitions that maintenance would have created.
  if (template === inject('template') && inject('templateDay') !== today()) await database.admin.query('select partitions.maintain()');
  return database;
}

/** Wraps an existing database. `checked`: its runs are checked before it is dropped. */
export function openDatabase(serverUrl: string, name: string, checked: boolean): TestDatabase {
  const database = describeDatabase(serverUrl, name, checked);
  open.add(database);
  return database;
}

function describeDatabase(serverUrl: string, name: string, checked: boolean): TestDatabase {
  const adminUrl = withDatabase(serverUrl, name);
  const pools = new Map<string, pg.Pool>();
  const pool = (role: string, url: string): pg.Pool => {
    const existing = pools.get(role) ?? createTestPool(url, `test ${role}`);
    pools.set(role, existing);
    return existing;
  };
  const database: TestDatabase = {
    name,
    adminUrl,
    url: (role) => roleUrl(adminUrl, TEST_PASSWORDS, role),
    admin: pool('administrator', adminUrl),
    pool: (role) => pool(role, roleUrl(adminUrl, TEST_PASSWORDS, role)),
    disconnect: async () => {
      await Promise.all([...pools.values()].map((each) => each.end()));
      pools.clear();
    },
    drop: async () => {
      if (!open.delete(database)) return;
      const broken = checked ? await findBrokenRuns(database.admin) : [];
      await database.disconnect();
      await onServer(serverUrl, `drop database if exists ${name} with (force)`);
      expect(broken, 'runs that break an invariant or do not replay').toEqual([]);
    },
  };
  return database;
}

/**
 * Creates a pool that waits for the end of a failed transaction before it reports the error: the next statement
 * uses another connection, and could otherwise still meet the locks of the failed one.
 */
function createTestPool(url: string, name: string): pg.Pool {
  const pool = createPool(url, { name, max: 10 });
  const query = async (text: string | pg.QueryConfig, values?: unknown[]): Promise<pg.QueryResult> => {
    const client = await pool.connect();
    let failed = false;
    try {
      return await client.query(text, values);
    } catch (error) {
      failed = true;
      await client.query('rollback').catch(() => undefined);
      throw error;
    } finally {
      client.release(failed);
    }
  };
  return Object.assign(pool, { query });
}

/** Invariants about overdue work, which do not apply at the end of a test without a worker. */
const LATE = [
  'I5 nothing waits for longer than two minutes after its time',
  'I5 a child ends soon after the parent that waits for it',
  'I5 a step that has something to do has a job',
  'I5 a held run that fits into its limits has a job',
  'I5 children whose parent has ended have a job that ends them',
  'I5 an operation on many runs has a job',
  'I5 a run ends at its deadline',
  'I5 a step whose worker is gone is taken over',
];

/** Returns the violated invariants, without those about overdue work. */
export async function findBrokenInvariants(admin: pg.Pool): Promise<unknown[]> {
  return (await admin.query('select * from monitor.invariants() where invariant <> all ($1)', [LATE])).rows;
}

async function findBrokenRuns(admin: pg.Pool): Promise<unknown[]> {
  const { rows: layers } = await admin.query(`select where to_regproc('monitor.invariants') is not null`);
  if (layers.length === 0) return [];
  const { rows: logs } = await admin.query('select where exists (select from workflow_runs) or exists (select from workflow_events)');
  if (logs.length === 0) return [];
  let invariants = await findBrokenInvariants(admin);
  if (invariants.length > 0) {
    // The test may have moved the clock: create the partitions that maintenance would have created.
    await admin.query('select partitions.maintain()');
    invariants = await findBrokenInvariants(admin);
  }
  const { rows: replays } = await admin.query('select r.id as run_id, v.* from workflow_runs as r cross join engine.verify_run(r.id) as v');
  return [...invariants, ...replays];
}

async function onServer(serverUrl: string, statement: string): Promise<void> {
  const client = await connect(withDatabase(serverUrl, 'postgres'));
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The database as one caller sees it. */
export interface Session {
  /** Runs one statement in its own transaction, as PostGraphile does. */
  query<R extends pg.QueryResultRow = Record<string, unknown>>(text: string, values?: unknown[]): Promise<pg.QueryResult<R>>;
  /** Runs several statements in one transaction. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>;
}

/** The database as a GraphQL request with this bearer token sees it: role flowgres_user, RLS, the token's organization. */
export function asUser(database: TestDatabase, token: string): Session {
  return session(database, 'flowgres_user', createHash('sha256').update(token).digest('hex'));
}

/** The database as the API's process sees it for a request with this bearer token: for functions that take a sealed secret. */
export function asApi(database: TestDatabase, token: string): Session {
  return session(database, 'flowgres_api', createHash('sha256').update(token).digest('hex'));
}

/** The database as a GraphQL request without a token sees it. */
export function asAnonymous(database: TestDatabase): Session {
  return session(database, 'flowgres_anonymous', '');
}

function session(database: TestDatabase, role: string, secret: string): Session {
  const transaction: Session['transaction'] = async (work) => {
    const client = await database.pool('flowgres_api').connect();
    try {
      await client.query('begin');
      await client.query(`select set_config('role', $1, true), set_config('flowgres.session', $2, true)`, [role, secret]);
      const result = await work(client);
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  };
  return { transaction, query: (text, values) => transaction((client) => client.query(text, values)) };
}
