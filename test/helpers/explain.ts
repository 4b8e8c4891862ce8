/** Query plans of statements as a request executes them, including those inside of functions. */
import { createHash } from 'node:crypto';
import pg from 'pg';
import type { TestDatabase } from './database.ts';

/** A statement's result and plans. */
export interface ExplainedQuery {
  rows: Record<string, unknown>[];
  /** The plans of the statement and of every statement inside its functions, as text. */
  text: string;
}

/** Runs a statement as a request with this token does, and returns its plans and those of its functions. */
export async function explainNested(db: TestDatabase, token: string, statement: string, values: unknown[] = []): Promise<ExplainedQuery> {
  const client = new pg.Client({ connectionString: db.adminUrl });
  const plans: string[] = [];
  client.on('notice', ({ message }) => plans.push(message ?? ''));
  await client.connect();
  try {
    await client.query(`load 'auto_explain'`);
    await client.query(
      `set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on; set auto_explain.log_level = notice`,
    );
    await client.query('begin');
    await client.query(`select set_config('role', 'flowgres_user', true), set_config('flowgres.session', $1, true)`, [
      createHash('sha256').update(token).digest('hex'),
    ]);
    plans.length = 0;
    const { rows } = await client.query<Record<string, unknown>>(statement, values);
    return { rows, text: plans.join('\n') };
  } finally {
    await client.end();
  }
}
