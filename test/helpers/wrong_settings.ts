/** A database with other settings and another locale than Flowgres sets, as an administrator may choose. */
import { randomBytes } from 'node:crypto';
import { connect, withDatabase } from '../../src/database/connections.ts';
import { migrate } from '../../src/database/migrate.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';

/** Settings of sessions that do not set their own. */
export const WRONG_SETTINGS: Record<string, string> = {
  search_path: 'nowhere, public',
  datestyle: 'German, DMY',
  intervalstyle: 'sql_standard',
  timezone: 'America/St_Johns',
  timezone_abbreviations: 'Australia',
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  standard_conforming_strings: 'off',
  escape_string_warning: 'off',
  backslash_quote: 'off',
  bytea_output: 'escape',
  extra_float_digits: '0',
  xmloption: 'document',
  array_nulls: 'off',
  transform_null_equals: 'on',
  quote_all_identifiers: 'on',
  row_security: 'off',
  client_min_messages: 'error',
  statement_timeout: '20s',
  lock_timeout: '500ms',
  idle_in_transaction_session_timeout: '20s',
  idle_session_timeout: '20s',
};

/**
 * Creates such a database on a server and migrates it.
 *
 * @param locale options of `create database`: in a Turkish locale lower('I') is ı
 * @returns its name
 */
export async function createWrongDatabase(serverUrl: string, locale: string): Promise<string> {
  const name = `test_wrong_${process.pid}_${randomBytes(4).toString('hex')}`;
  const server = await connect(withDatabase(serverUrl, 'postgres'));
  try {
    await server.query(`create database ${name} template template0 ${locale}`);
    for (const [setting, value] of Object.entries(WRONG_SETTINGS)) {
      const list = setting === 'search_path' ? value : server.escapeLiteral(value);
      await server.query(`alter database ${name} set ${setting} to ${list}`);
    }
  } finally {
    await server.end();
  }
  await migrate(withDatabase(serverUrl, name), TEST_PASSWORDS);
  return name;
}
