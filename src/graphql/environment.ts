/**
 * Sets environment variables that PostGraphile reads once when it is loaded; imported before its modules.
 * Grafast's development mode plans every document several times, so it has to be requested explicitly.
 */
process.env['GRAPHILE_ENV'] ??= 'production';
/**
 * A pooler assigns each transaction any of its connections, so statements prepared in one may be missing, or
 * exist already, in the next. A pooler that tracks prepared statements (pgbouncer 1.21 and newer) has to be
 * configured explicitly.
 */
if (process.env['FLOWGRES_POOLER_URL']) process.env['DATAPLAN_PG_PREPARED_STATEMENT_CACHE_SIZE'] ||= '0';
