/** `flowgres cron handover`. */
import { writeFile } from 'node:fs/promises';
import { type Config, requireDatabaseUrl } from '../config.ts';
import { handOver } from '../maintenance/handover.ts';

/** `flowgres cron handover`: moves the jobs to the extension pg_cron, and writes them to `file` before. */
export async function handover(config: Config, file: string): Promise<void> {
  const jobs = await handOver(requireDatabaseUrl(config), (all) => writeFile(file, `${JSON.stringify(all, null, 2)}\n`));
  console.log(`pg_cron runs ${jobs.length === 1 ? 'the job' : `the ${jobs.length} jobs`} from now on; ${file} has them as they were.`);
}
