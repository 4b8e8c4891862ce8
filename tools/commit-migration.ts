/** Moves migrations/current.sql to migrations/committed after trying it on a fresh server: npm run db:commit -- "message" */
import { chmod, readdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { commit, defaultLogger, reset } from 'graphile-migrate';
import { withDatabase } from '../src/database/connections.ts';
import { migrationSettings, releaseConnections } from '../src/database/migrate.ts';
import { createRoles, derivePasswords } from '../src/database/roles.ts';
import { BUILD_FOLDER } from '../src/database/sources.ts';
import { startTemporary } from '../test/helpers/server.ts';
import { hasRelease } from './released.ts';

const [message] = process.argv.slice(2);
if (!hasRelease()) throw new Error('Nothing has been released: change sql/, no migration is needed. See migrations/README.md.');
const server = await startTemporary();
try {
  const url = withDatabase(server.url, 'flowgres');
  await createRoles(url, derivePasswords('commit'));
  const settings = {
    ...migrationSettings(url, BUILD_FOLDER),
    shadowConnectionString: withDatabase(server.url, 'flowgres_shadow'),
    afterReset: [{ _: 'command' as const, command: 'node tools/prepare-database.ts' }],
    afterAllMigrations: [{ _: 'command' as const, command: 'node tools/apply-code.ts' }],
    logger: defaultLogger,
  };
  await reset(settings);
  await commit(settings, message);
  // graphile-migrate makes the files readable for their user and group only; a container image built from here
  // needs other users to read them.
  const committed = new URL('../migrations/committed/', import.meta.url);
  for (const file of await readdir(committed)) await chmod(new URL(file, committed), 0o444);
} finally {
  releaseConnections();
  // Wait until the server has ended the backends of closed connections.
  await delay(500);
  await server.stop();
}
