/** Changes rows that no role may change: as superuser, without triggers and foreign keys. */
import type { TestDatabase } from './database.ts';

/** Runs a statement without triggers and foreign keys. */
export async function tamper(db: TestDatabase, statement: string, values: unknown[] = []): Promise<void> {
  const client = await db.admin.connect();
  try {
    await client.query('set session_replication_role = replica');
    await client.query(statement, values);
    // Otherwise the server's statistics of the change may come a minute later.
    await client.query('select pg_stat_force_next_flush()');
  } finally {
    client.release(true);
  }
}
