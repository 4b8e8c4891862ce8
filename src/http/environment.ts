/**
 * Imported before anything of PostGraphile, which reads these variables once, when it is loaded. Grafast's development
 * mode plans every document several times over, so it has to be asked for.
 */
process.env['GRAPHILE_ENV'] ??= 'production';
/**
 * A pooler gives every transaction any of its connections: what one has prepared the next does not know, or makes for the
 * second time. One that keeps prepared statements apart (pgbouncer 1.21 and newer) has to be said.
 */
if (process.env['FLOWGRES_POOLER_URL']) process.env['DATAPLAN_PG_PREPARED_STATEMENT_CACHE_SIZE'] ||= '0';
