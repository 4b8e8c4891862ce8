/** `flowgres migrate` and `flowgres roles`. */
import { type Config, requireDatabaseUrl, rolePasswords } from '../config.ts';
import { connect, requireSupportedServer } from '../database/connections.ts';
import { migrate } from '../database/migrate.ts';
import { createRoles } from '../database/roles.ts';
import { progress } from './terminal.ts';

/** `flowgres migrate`. With `downgrade` it replaces newer functions by those of this build. */
export async function migrateCommand(config: Config, options: { downgrade?: boolean | undefined } = {}): Promise<void> {
  const url = requireDatabaseUrl(config);
  await progress('Schema', 'up to date', () => migrate(url, rolePasswords(config, url), { downgrade: options.downgrade ?? false }));
  const problem = await findCopyProblem(url);
  if (problem !== null) console.log(`${problem} To adopt it: select engine.adopt_installation().`);
}

async function findCopyProblem(adminUrl: string): Promise<string | null> {
  const client = await connect(adminUrl);
  try {
    await client.query('set search_path = pg_catalog; set role flowgres_owner');
    return (await client.query<{ problem: string | null }>('select engine.copy_problem() as problem')).rows[0]!.problem;
  } finally {
    await client.end();
  }
}

/** `flowgres roles`: creates or updates the roles of the cluster. */
export async function rolesCommand(config: Config): Promise<void> {
  const url = requireDatabaseUrl(config);
  await requireSupportedServer(url);
  await progress('Roles', 'up to date', () => createRoles(url, rolePasswords(config, url)));
}
