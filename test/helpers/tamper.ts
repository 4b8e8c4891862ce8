/** Changes what nobody may change, as a superuser can who means it: no trigger and no foreign key stands in the way. */
import type { TestDatabase } from './database.ts';

export async function tamper(db: TestDatabase, statement: string, values: unknown[] = []): Promise<void> {
  const client = await db.admin.connect();
  try {
    await client.query('set session_replication_role = replica');
    await client.query(statement, values);
    // Else the server's statistics of it may come a minute later.
    await client.query('select pg_stat_force_next_flush()');
  } finally {
    client.release(true);
  }
}
