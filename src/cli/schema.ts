/** `flowgres schema`: the GraphQL schema that a database gives, for clients and for review. */
import { writeFile } from 'node:fs/promises';
import { type Config, requireRoleUrl } from '../config.ts';
import { printGraphqlSchema } from '../graphql/server.ts';

export async function exportSchema(config: Config, file: string): Promise<void> {
  await writeFile(file, await printGraphqlSchema(requireRoleUrl(config, 'flowgres_api')));
  console.log(`Written to ${file}.`);
}
