/**
 * Grants on the extension pg_cron, made by the administrator: its tables belong to whoever created it, and show
 * each user only that user's jobs.
 */
import type pg from 'pg';

/** flowgres_maintenance schedules the jobs of Flowgres, DBAs their own. Workers get no access to this schema. */
const GRANTS = 'grant usage on schema cron to flowgres_maintenance, flowgres_dba';

/** Gives monitor.jobs(), which runs as the owner, a view of all jobs. Only the owner of the tables may grant that. */
const VIEW = `
  do $$
  begin
    grant usage on schema cron to flowgres_owner;
    grant select on cron.job, cron.job_run_details to flowgres_owner;
    drop policy if exists flowgres_owner_select on cron.job;
    drop policy if exists flowgres_owner_select on cron.job_run_details;
    create policy flowgres_owner_select on cron.job for select to flowgres_owner using (true);
    create policy flowgres_owner_select on cron.job_run_details for select to flowgres_owner using (true);
  exception
    when insufficient_privilege then null;
  end
  $$`;

/** Grants the roles their rights in the schema of pg_cron. */
export async function openPgCron(admin: pg.Client): Promise<void> {
  await admin.query(GRANTS);
  await admin.query(VIEW);
}
