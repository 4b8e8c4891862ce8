/** Runs a statement for a request: in a transaction of its own, with the settings that say who asks. */
import type pg from 'pg';

/** Settings of one request by name: who asks and from where. They hold for one transaction. */
export type RequestSettings = Record<string, string>;

/** Returns the rows of one statement. Rejects with the database's error. */
export async function runAsRequest(pool: pg.Pool, settings: RequestSettings, text: string, values: unknown[]): Promise<unknown[]> {
  const client = await pool.connect();
  let broken = false;
  try {
    await client.query('begin');
    await client.query('select set_config(key, value, true) from json_each_text($1)', [JSON.stringify(settings)]);
    const { rows } = await client.query(text, values);
    await client.query('commit');
    return rows;
  } catch (error) {
    broken = await client.query('rollback').then(
      () => false,
      () => true,
    );
    throw error;
  } finally {
    client.release(broken);
  }
}
