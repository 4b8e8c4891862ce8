/** `flowgres verify partitions`, `flowgres partitions freeze` and `flowgres partitions index`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, requireRoleUrl } from '../config.ts';
import { FlowgresError } from '../errors.ts';
import { type UpkeepResult, type NewIndex, buildIndex, freezePartitions } from '../maintenance/upkeep.ts';
import { verifyPartitions } from '../maintenance/verify.ts';

/** Runs all checks, prints each result, and throws when one failed. */
export async function verifyCommand(config: Config): Promise<void> {
  const results = await verifyPartitions(await anyDatabaseUrl(config));
  for (const { check, problem } of results) {
    if (problem) console.error(`FAILED  ${check}: ${problem}`);
    else console.log(`ok      ${check}`);
  }
  const failed = results.filter(({ problem }) => problem).length;
  if (failed > 0)
    throw new FlowgresError('NOT_VERIFIED', `Event partitioning is not verified: ${failed} of ${results.length} checks failed.`);
  console.log('Event partitioning works.');
}

/** Returns the configured database, else that of the `flowgres start` that runs in the data folder. */
async function anyDatabaseUrl(config: Config): Promise<string> {
  if (config.databaseUrl) return config.databaseUrl;
  const file = join(config.dataFolder, 'connection.json');
  try {
    return (JSON.parse(await readFile(file, 'utf8')) as { databaseUrl: string }).databaseUrl;
  } catch {
    throw new FlowgresError('DATABASE_URL_MISSING', 'There is no database.', {
      hint: `Set DATABASE_URL, or start Flowgres, which writes ${file}.`,
    });
  }
}

const print = (statement: string, number: number, count: number) => console.log(`  ${number}/${count}  ${statement}`);

/** `flowgres partitions freeze`: vacuums closed partitions. Ctrl-C ends it within a statement. */
export async function freezeCommand(config: Config): Promise<void> {
  const results = await freezePartitions(requireRoleUrl(config, 'flowgres_maintenance'), { onStatement: print });
  const failed = results.filter((result): result is Required<UpkeepResult> => result.error !== undefined);
  for (const { statement, error } of failed) console.error(`FAILED  ${statement}: ${error}`);
  if (failed.length > 0) {
    throw new FlowgresError('NOT_FROZEN', `${failed.length} of ${results.length} partitions were not frozen.`, {
      hint: 'Run the command again: those are still listed.',
    });
  }
  console.log(results.length === 0 ? 'No partition needs freezing.' : `${results.length} partitions are frozen.`);
}

/** `flowgres partitions index`: builds an index on a partitioned table while it is written. */
export async function indexCommand(config: Config, index: NewIndex): Promise<void> {
  const results = await buildIndex(requireRoleUrl(config, 'flowgres_maintenance'), index, { onStatement: print });
  console.log(results.length === 0 ? `${index.name} is complete already.` : `${index.name} is complete.`);
}
