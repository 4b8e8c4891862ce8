/** Schedules the maintenance jobs of Flowgres in pg_cron where it is installed, else in the built-in scheduler. */
import { connect } from './connections.ts';
import { type RolePasswords, roleUrl } from './roles.ts';
import { openPgCron } from './pg_cron.ts';

/**
 * Schedules the missing jobs of `engine.maintenance_jobs()` as flowgres_maintenance. Jobs that a user has
 * changed are kept; a user turns a job off by setting it inactive. Jobs in a copy of another database are
 * changed to run in this one.
 */
export async function scheduleMaintenance(adminUrl: string, passwords: RolePasswords): Promise<void> {
  const { hasJobs, hasPgCron } = await prepareSchedule(adminUrl);
  if (!hasJobs) return;
  const client = await connect(roleUrl(adminUrl, passwords, 'flowgres_maintenance'));
  try {
    if (!hasPgCron) {
      await client.query(`
        select cron.alter_job(j.jobid, database => current_database())
        from cron.job as j
        join engine.maintenance_jobs() as m on m.jobname = j.jobname
        where j.username = current_user and j.database <> current_database()`);
    }
    await client.query(`
      select cron.schedule(m.jobname, m.schedule, m.command)
      from engine.maintenance_jobs() as m
      where not exists (select from cron.job as j where j.jobname = m.jobname and j.username = current_user)`);
  } finally {
    await client.end();
  }
}

/** Whether jobs are missing, and whether pg_cron is installed; if it is, grants the roles access to its schema. */
async function prepareSchedule(adminUrl: string): Promise<{ hasJobs: boolean; hasPgCron: boolean }> {
  const client = await connect(adminUrl);
  try {
    await client.query('set search_path = pg_catalog');
    const { rows } = await client.query<{ has_jobs: boolean; has_pg_cron: boolean }>(`
      select
        to_regprocedure('engine.maintenance_jobs()') is not null as has_jobs,
        exists (select from pg_extension where extname = 'pg_cron') as has_pg_cron`);
    if (rows[0]!.has_pg_cron) await openPgCron(client);
    return { hasJobs: rows[0]!.has_jobs, hasPgCron: rows[0]!.has_pg_cron };
  } finally {
    await client.end();
  }
}
