/** Called by graphile-migrate after it made a database (see `.gmrc`): what comes before the first migration. */
import { prepareDatabase } from '../src/migrate.ts';

const url = process.env['GM_DBURL'];
if (!url) throw new Error('GM_DBURL is not set: this script is called by graphile-migrate.');
await prepareDatabase(url);
