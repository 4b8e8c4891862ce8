/** A restored copy is inert: what acts for an installation asks first whether its database is that installation. */
import pg from 'pg';

const UNDEFINED = ['42883', '3F000', '42P01'];

/**
 * Every new connection of the pool asks, for the database behind an address may become another one while a process runs.
 * In a copy that nobody has adopted connecting fails with COPIED_DATABASE.
 */
export function onlyOriginal<P extends pg.Pool>(pool: P): P {
  pool.options.verify = (client, done) => {
    client.query('select engine.require_original()').then(() => done(), done);
  };
  return pool;
}

/**
 * Why nothing must come of the database; null when it is the installation itself. A database without our schema is no
 * copy of anything.
 *
 * @param database as flowgres_monitor
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
