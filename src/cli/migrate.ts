/** `flowgres migrate` and `flowgres roles`. */
import { type Config, requireDatabaseUrl, rolePasswords } from '../config.ts';
import { requireSupportedServer } from '../database.ts';
import { migrate } from '../migrate.ts';
import { createRoles } from '../roles.ts';
import { progress } from './terminal.ts';

export async function migrateCommand(config: Config, options: { downgrade?: boolean | undefined } = {}): Promise<void> {
  const url = requireDatabaseUrl(config);
  await progress('Schema', 'up to date', () => migrate(url, rolePasswords(config, url), { downgrade: options.downgrade ?? false }));
}

export async function rolesCommand(config: Config): Promise<void> {
  const url = requireDatabaseUrl(config);
  await requireSupportedServer(url);
  await progress('Roles', 'up to date', () => createRoles(url, rolePasswords(config, url)));
}
