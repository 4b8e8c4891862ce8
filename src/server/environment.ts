/**
 * Imported before anything of PostGraphile: Grafast reads this variable once, when it is loaded. Its development mode
 * plans every document several times over, so it has to be asked for.
 */
process.env['GRAPHILE_ENV'] ??= 'production';
