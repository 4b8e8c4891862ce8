-- kind: code
-- Row-level security and grants of schema cron, as pg_cron has them: granted to public, so that
-- USAGE of the schema decides. Writes and locks nothing.

drop policy if exists cron_job_policy on cron.job;
create policy cron_job_policy on cron.job
  using (username = current_user);

drop policy if exists cron_job_run_details_policy on cron.job_run_details;
create policy cron_job_run_details_policy on cron.job_run_details
  using (username = current_user);

drop policy if exists job_state_flowgres_dba_select on cron.job_state;
create policy job_state_flowgres_dba_select on cron.job_state for select to flowgres_dba
  using (true);

grant select on cron.job_state to flowgres_dba;
grant select on cron.job to public;
grant select, delete on cron.job_run_details to public;
grant select on sequence cron.jobid_seq, cron.runid_seq to public;
grant execute on function
  cron.schedule(text, text),
  cron.schedule(text, text, text),
  cron.unschedule(bigint),
  cron.unschedule(text)
  to public;
grant execute on function
  cron.schedule_in_database(text, text, text, text, text, boolean),
  cron.alter_job(bigint, text, text, text, text, boolean),
  cron.next_run(text, timestamptz, text),
  cron.matches(text, timestamptz, text)
  to flowgres_dba, flowgres_maintenance;

grant usage on schema cron to flowgres_dba, flowgres_maintenance, flowgres_worker;
grant execute on function
  cron.lead(),
  cron.tick(bigint[], boolean),
  cron.rest(int, int),
  cron.begin_run(bigint, int),
  cron.end_run(bigint, text, text)
  to flowgres_worker;
