/**
 * Keeps a restored copy of a database inert: parts with side effects check first that their database is the
 * installation itself.
 */
import pg from 'pg';

const UNDEFINED = ['42883', '3F000', '42P01'];

/**
 * Makes every new connection of the pool check that its database is the installation: the database behind an
 * address may be replaced while the process runs. In a copy that nobody has adopted connecting fails with
 * COPIED_DATABASE.
 */
export function onlyOriginal<P extends pg.Pool>(pool: P): P {
  pool.options.verify = (client, done) => {
    client.query('select engine.require_original()').then(() => done(), done);
  };
  return pool;
}

/**
 * Returns why the database must have no side effects; null when it is the installation itself or has no
 * Flowgres schema.
 *
 * @param database logs in as flowgres_monitor
 */
export async function copyProblem(database: pg.Pool): Promise<string | null> {
  try {
    const { rows } = await database.query<{ problem: string | null }>('select monitor.copy_problem() as problem');
    return rows[0]!.problem;
  } catch (error) {
    if (error instanceof pg.DatabaseError && UNDEFINED.includes(error.code ?? '')) return null;
    throw error;
  }
}
