/**
 * The settings of our sessions that what they do depends on, whatever the server, the database or the administrator
 * has set. The roles that log in carry them, which works behind a transaction pooler, too, and costs nothing per
 * statement; direct connections say them once more, because a setting of a role in one database comes before the role's.
 *
 * Not among them: whether transactions are read-only, how durable a commit is, and what the planner may do. These
 * are the administrator's to decide.
 */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  search_path: 'public',
  datestyle: 'ISO, MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  timezone_abbreviations: 'Default',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  standard_conforming_strings: 'on',
  backslash_quote: 'safe_encoding',
  bytea_output: 'hex',
  extra_float_digits: '1',
  xmloption: 'content',
  array_nulls: 'on',
  transform_null_equals: 'off',
  quote_all_identifiers: 'off',
  row_security: 'on',
  // Patterns of to_char(), not the order of texts.
  lc_numeric: 'C',
  lc_time: 'C',
  lc_monetary: 'C',
  client_min_messages: 'notice',
};

/** No limit of time; each part sets those that its work needs. */
export const TIME_LIMITS: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
};

/** Of roles only: servers before 17 do not know it. */
export const ROLE_TIME_LIMITS: Readonly<Record<string, string>> = { ...TIME_LIMITS, transaction_timeout: '0' };

/** Settings for the `options` of a connection. */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`)
    .join(' ');
}
