/** An application beside Flowgres: a role of its own, in the database of a test. */
import type pg from 'pg';
import type { TestDatabase } from './database.ts';
import { connect, createPool, withDatabase } from '../../src/database/connections.ts';
import { all, atEndOfFile } from './end_of_file.ts';

/** A role that logs in. */
export interface TestApplication {
  role: string;
  pool: pg.Pool;
}

const PASSWORD = 'secret-of-the-test';
const open = new Map<TestApplication, TestDatabase>();
atEndOfFile(async () => {
  const applications = [...open];
  open.clear();
  await all(applications.map(([application, db]) => drop(application, db)));
});

/** Creates a role that may connect and nothing else. Roles belong to the server, so its name has that of the database. */
export async function createApplication(db: TestDatabase, name = 'shop'): Promise<TestApplication> {
  const role = `${name}_${db.name}`;
  await db.admin.query(`create role ${role} login password '${PASSWORD}'`);
  const url = new URL(db.adminUrl);
  url.username = role;
  url.password = PASSWORD;
  const pool = createPool(url.href, { name: 'test application', max: 2 });
  const application = { role, pool };
  open.set(application, db);
  return application;
}

/** A role can be dropped when no database has grants of it any more. */
async function drop({ role, pool }: TestApplication, db: TestDatabase): Promise<void> {
  await pool.end();
  await db.drop();
  const admin = await connect(withDatabase(db.adminUrl, 'postgres'));
  await admin.query(`drop role if exists ${role}`).finally(() => admin.end());
}

/** Grants the role an organization, with both scopes when none are given. */
export async function grantApplication(db: TestDatabase, role: string, organization: { id: string }, scopes?: string): Promise<void> {
  const more = scopes === undefined ? '' : `, '${scopes}'`;
  await db.admin.query(`select engine.grant_application($1::regrole, $2${more})`, [role, organization.id]);
}

/** Resolves to `ok`, to the code of an error of ours, or to the SQLSTATE of another. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'ok',
    (error: pg.DatabaseError) => {
      if (!error.code?.startsWith('WF')) return error.code ?? error.message;
      return (JSON.parse(error.detail ?? '{}') as { code: string }).code;
    },
  );
}
