/** The jobs that keep Flowgres in order: scheduled by pg_cron where it is installed, else by our own scheduler. */
import { connect } from '../database.ts';
import { roleUrl } from '../roles.ts';

/**
 * Schedules the jobs of `engine.maintenance_jobs()` that are missing, as flowgres_maintenance. What somebody changed
 * stays as it is; a job that is not wanted is set inactive, not unscheduled.
 */
export async function scheduleMaintenance(adminUrl: string, secret: string): Promise<void> {
  if (!(await prepareSchedule(adminUrl))) return;
  const client = await connect(roleUrl(adminUrl, secret, 'flowgres_maintenance'));
  try {
    await client.query(`
      select cron.schedule(m.jobname, m.schedule, m.command)
      from engine.maintenance_jobs() as m
      where not exists (select from cron.job as j where j.jobname = m.jobname and j.username = current_user)`);
  } finally {
    await client.end();
  }
}

/** Whether there is something to schedule. Schema cron of the extension is opened; ours has its grants already. */
async function prepareSchedule(adminUrl: string): Promise<boolean> {
  const client = await connect(adminUrl);
  try {
    const { rows } = await client.query<{ has_jobs: boolean; has_pg_cron: boolean }>(`
      select
        to_regprocedure('engine.maintenance_jobs()') is not null as has_jobs,
        exists (select from pg_extension where extname = 'pg_cron') as has_pg_cron`);
    if (rows[0]!.has_pg_cron) await client.query('grant usage on schema cron to flowgres_maintenance, flowgres_dba');
    return rows[0]!.has_jobs;
  } finally {
    await client.end();
  }
}
