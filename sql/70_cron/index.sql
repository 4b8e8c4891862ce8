-- The scheduler of SQL commands, with pg_cron's interface, and the jobs that keep Flowgres in order.
-- Where the extension pg_cron is, schema cron is its own and only the list of jobs is ours. A migration that changes
-- one of the conditional files repeats the condition around its include.

--!include 70_cron/expired.sql
--!include 70_cron/maintenance.sql

do $condition$
begin
  if not exists (select from pg_extension where extname = 'pg_cron') then
    execute $files$
--!include 70_cron/tables.sql
--!include 70_cron/checks.sql
--!include 70_cron/jobs.sql
--!include 70_cron/alter_job.sql
--!include 70_cron/calendar.sql
--!include 70_cron/queue.sql
--!include 70_cron/runs.sql
--!include 70_cron/tick.sql
--!include 70_cron/policies.sql
    $files$;
  end if;
end
$condition$;
