-- kind: code
-- The list of the jobs of maintenance. `flowgres migrate` schedules them as flowgres_maintenance,
-- in pg_cron or in schema cron of Flowgres; docs/how-to/maintenance.md says what to do when one of them
-- fails. Writes and locks nothing.

create or replace function engine.maintenance_jobs()
  returns table (jobname text, schedule text, command text)
  language sql
  immutable
  parallel safe
  set search_path = pg_catalog, pg_temp
as $$
  values
    ('flowgres-partitions', '0 2 * * *', 'select * from partitions.maintain()'),
    ('flowgres-retention', '20 2 * * *', 'select * from partitions.retire()'),
    ('flowgres-statistics', '40 2 * * *', 'select partitions.analyze()'),
    ('flowgres-split', '30 * * * *', 'call partitions.split()'),
    ('flowgres-archives', '30 2 * * *', 'select * from partitions.seal_archives()'),
    ('flowgres-audit-seals', '* * * * *', 'select * from engine.seal_audit()'),
    ('flowgres-subscriptions', '5 * * * *', 'select * from engine.advance_subscriptions()'),
    ('flowgres-expired', '10 * * * *', 'call engine.delete_all_expired()'),
    ('flowgres-expiring', '20 6 * * *', 'select engine.queue_expiring_credentials()'),
    ('flowgres-credentials', '15 * * * *', 'select engine.warn_expiring_credentials()'),
    ('flowgres-purge', '30 3 * * *', 'call engine.purge_organizations()'),
    (
      'flowgres-cron-history',
      '0 3 * * *',
      $command$delete from cron.job_run_details where end_time < now() - interval '7 days'$command$
    )
$$;
comment on function engine.maintenance_jobs() is
  'The jobs of maintenance as `flowgres migrate` schedules them when they are missing; cron.job has them as they are now. Times are in cron.timezone. Example: select * from engine.maintenance_jobs();';

grant usage on schema engine, partitions to flowgres_maintenance;
grant execute on function
  engine.maintenance_jobs(),
  partitions.maintain(regclass, boolean),
  partitions.retire(regclass, interval, boolean),
  partitions.seal_archives()
  to flowgres_maintenance, flowgres_dba;
