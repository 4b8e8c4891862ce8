/** Called by graphile-migrate after it made a database (see `.gmrc`): the schema of the last release, which migrations start from. */
import { installSources } from '../src/apply_sources.ts';
import { connect } from '../src/database.ts';
import { prepareDatabase } from '../src/migrate.ts';
import { withReleased } from './released.ts';

const url = process.env['GM_DBURL'];
if (!url) throw new Error('GM_DBURL is not set: this script is called by graphile-migrate.');
await prepareDatabase(url);
const client = await connect(url);
await withReleased((sources) => installSources(client, sources)).finally(() => client.end());
