/**
 * Builds the schema of the last release, on which the migrations are applied. graphile-migrate calls it after
 * it has created a database (see `.gmrc`).
 */
import { installSources } from '../src/database/apply_sources.ts';
import { readConfig, rolePasswords } from '../src/config.ts';
import { connectOwner, prepareDatabase } from '../src/database/migrate.ts';
import { withReleased } from './released.ts';

const url = process.env['GM_DBURL'];
if (!url) throw new Error('GM_DBURL is not set: this script is called by graphile-migrate.');
const passwords = rolePasswords(readConfig(), url);
await prepareDatabase(url, passwords);
const client = await connectOwner(url, passwords);
await withReleased((sources) => installSources(client, sources)).finally(() => client.end());
