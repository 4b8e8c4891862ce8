import { API_SCHEMA } from './api_schema.ts';

/**
 * The settings that the results of our sessions depend on, fixed independently of server, database and
 * administrator. The login roles carry them, which also works behind a transaction pooler and costs nothing per
 * statement. Direct connections send them again, because a setting of a role in one database overrides the
 * role's.
 *
 * Not included: read-only transactions, the durability of commits, and planner settings. The administrator
 * decides those.
 */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  search_path: API_SCHEMA,
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
  // Affects the patterns of to_char(), not the order of texts.
  lc_numeric: 'C',
  lc_time: 'C',
  lc_monetary: 'C',
  client_min_messages: 'notice',
};

/** No time limits; each part sets those that its work needs. */
export const TIME_LIMITS: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
};

/** Set on roles only: servers before 17 do not know transaction_timeout. */
export const ROLE_TIME_LIMITS: Readonly<Record<string, string>> = { ...TIME_LIMITS, transaction_timeout: '0' };

/** Formats settings for the `options` of a connection. */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`)
    .join(' ');
}
