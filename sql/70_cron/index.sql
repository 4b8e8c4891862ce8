-- The scheduler of SQL commands with pg_cron's interface, and the jobs of maintenance.

--!include 70_cron/expired.sql
--!include 70_cron/maintenance.sql

-- Where the extension pg_cron is installed, schema cron belongs to it, and Flowgres adds only the
-- list of jobs. The files below this line are then left out; a migration that changes their tables
-- checks for the extension itself.
--!unless-extension pg_cron
--!include 70_cron/tables.sql
--!include 70_cron/checks.sql
--!include 70_cron/jobs.sql
--!include 70_cron/alter_job.sql
--!include 70_cron/calendar.sql
--!include 70_cron/queue.sql
--!include 70_cron/runs.sql
--!include 70_cron/tick.sql
--!include 70_cron/policies.sql
