-- kind: code
-- The jobs that keep Flowgres in order. `flowgres migrate` schedules them, by pg_cron or by our own scheduler, as
-- flowgres_maintenance; docs/scheduling.md has what to do when one of them fails.

-- Autovacuum never looks at a partitioned table as a whole; without this the planner knows nothing of it.
create or replace function engine.analyze_tables()
  returns setof regclass
  language plpgsql
  volatile
  security definer -- definer because only the owner of a table analyzes it
  set search_path = pg_catalog, pg_temp
as $$
declare
  -- From 18 on the partitions, which autovacuum has analyzed, need not be read again.
  v_template constant text := case
    when current_setting('server_version_num')::int >= 180000 then 'analyze only %I.%I'
    else 'analyze %I.%I'
  end;
  v_table record;
begin
  for v_table in
    select c.oid, c.relname, c.relnamespace::regnamespace::text as schema
    from partitions.policies as p
    join pg_class as c on c.oid = p.parent
    order by c.relname
  loop
    execute format(v_template, v_table.schema, v_table.relname);
    return next v_table.oid::regclass;
  end loop;
end
$$;
comment on function engine.analyze_tables() is
  'Gathers the statistics of each partitioned table as a whole and returns their names. Example: select engine.analyze_tables();';

create or replace function engine.maintenance_jobs()
  returns table (jobname text, schedule text, command text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('flowgres-partitions', '0 2 * * *', 'select * from partitions.maintain()'),
    ('flowgres-retention', '20 2 * * *', 'select * from partitions.retire()'),
    ('flowgres-archives', '30 2 * * *', 'select * from partitions.seal_archives()'),
    ('flowgres-statistics', '40 2 * * *', 'select engine.analyze_tables()'),
    ('flowgres-audit-seals', '* * * * *', 'select * from engine.seal_audit()'),
    ('flowgres-subscriptions', '5 * * * *', 'select * from engine.advance_subscriptions()'),
    ('flowgres-expired', '10 * * * *', 'select * from engine.delete_expired()'),
    ('flowgres-purge', '30 3 * * *', 'call engine.purge_organizations()'),
    (
      'flowgres-cron-history',
      '0 3 * * *',
      $command$delete from cron.job_run_details where end_time < now() - interval '7 days'$command$
    )
$$;
comment on function engine.maintenance_jobs() is
  'The jobs of Flowgres itself as they are scheduled when they are missing; cron.job has them as they are. Times are in cron.timezone.';

grant usage on schema engine, partitions to flowgres_maintenance;
grant execute on function
  engine.analyze_tables(),
  engine.maintenance_jobs(),
  partitions.maintain(regclass, boolean),
  partitions.retire(regclass, interval, boolean),
  partitions.seal_archives()
  to flowgres_maintenance, flowgres_dba;
