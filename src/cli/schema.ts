/** `flowgres schema`: the GraphQL schema that a database gives, for clients and for review. */
import { writeFile } from 'node:fs/promises';
import { type Config, requireDatabaseUrl, rolePasswords } from '../config.ts';
import { roleUrl } from '../roles.ts';
import { printGraphqlSchema } from '../server/graphql.ts';

export async function exportSchema(config: Config, file: string): Promise<void> {
  const url = requireDatabaseUrl(config);
  await writeFile(file, await printGraphqlSchema(roleUrl(url, rolePasswords(config, url), 'flowgres_api')));
  console.log(`Written to ${file}.`);
}
