/** Applies the changed files of kind code. graphile-migrate calls it after the migrations (see `.gmrc`). */
import { applyCode } from '../src/database/apply_sources.ts';
import { connect } from '../src/database/connections.ts';
import { readSources } from '../src/database/sources.ts';

const url = process.env['GM_DBURL'];
if (!url) throw new Error('GM_DBURL is not set: this script is called by graphile-migrate.');
const client = await connect(url);
for (const path of await applyCode(client, readSources()).finally(() => client.end())) console.log(`sql/${path}`);
