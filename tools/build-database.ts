/** Builds a database from `sql/`, as `flowgres migrate` does with an empty one. */
import { installSources } from '../src/database/apply_sources.ts';
import { connect, withDatabase } from '../src/database/connections.ts';
import { connectOwner, prepareDatabase } from '../src/database/migrate.ts';
import { createRoles, derivePasswords } from '../src/database/roles.ts';
import { type Sources, readSources } from '../src/database/sources.ts';

/** The roles' passwords in tests derive from this secret. */
export const TEST_SECRET = 'flowgres-test-00';
/** The roles' passwords in tests. */
export const TEST_PASSWORDS = derivePasswords(TEST_SECRET);

/** Options of {@link buildDatabase}. */
export interface BuildOptions {
  /** Loads the layers up to this one, for example `20_tenancy`; all layers when not given. */
  lastLayer?: string;
  /** The sources of another build; those of this checkout when not given. */
  sources?: Sources;
}

/** Drops and creates database `name` on the server of `serverUrl`. Returns its connection string. */
export async function buildDatabase(serverUrl: string, name: string, options: BuildOptions = {}): Promise<string> {
  const url = withDatabase(serverUrl, name);
  await createRoles(url, TEST_PASSWORDS);
  const admin = await connect(withDatabase(serverUrl, 'postgres'));
  try {
    await admin.query(`drop database if exists ${admin.escapeIdentifier(name)} with (force)`);
    await admin.query(`create database ${admin.escapeIdentifier(name)}`);
  } finally {
    await admin.end();
  }
  await prepareDatabase(url, TEST_PASSWORDS);
  const client = await connectOwner(url, TEST_PASSWORDS);
  try {
    await installSources(client, options.sources ?? readSources(), options.lastLayer);
    // Copies of this database are installations themselves: tests copy it.
    await client.query('update private.installation set database_oid = null');
  } finally {
    await client.end();
  }
  return url;
}
