/** What the administrator opens of the extension pg_cron: its tables belong to whoever created it, and show everybody their own jobs. */
import type pg from 'pg';

/** Who schedules: flowgres_maintenance the jobs of Flowgres, DBAs theirs. Workers have no business in this schema. */
const GRANTS = 'grant usage on schema cron to flowgres_maintenance, flowgres_dba';

/** monitor.jobs(), which runs as the owner, sees what became of everybody's jobs. Only the tables' owner may say so. */
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

/** Gives our roles their rights in the schema of pg_cron. */
export async function openPgCron(admin: pg.Client): Promise<void> {
  await admin.query(GRANTS);
  await admin.query(VIEW);
}
