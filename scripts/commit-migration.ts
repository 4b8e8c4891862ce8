/** Moves migrations/current.sql to migrations/committed after trying it on a fresh server: npm run db:commit -- "message" */
import { chmod, readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { commit, defaultLogger } from 'graphile-migrate';
import { withDatabase } from '../src/database.ts';
import { migrate, migrationSettings, releaseConnections } from '../src/migrate.ts';
import { startTemporary } from '../test/helpers/server.ts';

const [message] = process.argv.slice(2);
const server = await startTemporary();
try {
  const url = withDatabase(server.url, 'flowgres');
  await migrate(url, 'commit');
  const shadowConnectionString = withDatabase(server.url, 'flowgres_shadow');
  await commit({ ...migrationSettings(url), shadowConnectionString, logger: defaultLogger }, message);
  // It writes them for its own user and group alone; an image built from here is read by another one.
  const committed = new URL('../migrations/committed/', import.meta.url);
  for (const file of await readdir(committed)) await chmod(new URL(file, committed), 0o444);
} finally {
  releaseConnections();
  // Their servers' sides are gone a moment later.
  await delay(500);
  await server.stop();
}
