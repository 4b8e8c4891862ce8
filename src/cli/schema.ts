/** `flowgres schema`: writes the GraphQL schema of a database to a file, for clients and for review. */
import { writeFile } from 'node:fs/promises';
import { type Config, requireRoleUrl } from '../config.ts';
import { printGraphqlSchema } from '../graphql/server.ts';

/** Writes the schema as SDL to `file`. */
export async function exportSchema(config: Config, file: string): Promise<void> {
  await writeFile(file, await printGraphqlSchema(requireRoleUrl(config, 'flowgres_api')));
  console.log(`Written to ${file}.`);
}
