-- kind: code
-- Lists everything that is wrong with an installation, cheaply enough for a query every minute.
-- Writes and locks nothing.

create or replace function monitor.doctor()
  returns table (
    "check" text,
    subject text,
    severity text,
    detail text,
    fix text
  )
  language plpgsql
  volatile
  security definer -- definer because DBAs and monitors examine what they do not own
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select 'installation', current_database()::text, 'critical', p, 'select engine.adopt_installation()'
    from engine.copy_problem() as p
    where p is not null;
  return query
    select 'job', j.jobname, 'warning', format('Job %s %s.', j.jobname, rtrim(j.problem, '.')),
      monitor.fix_of_job(j.problem)
    from monitor.jobs() as j
    where j.problem is not null;
  return query
    select f."check", f.parent::text, f.severity, f.detail, f.fix
    from partitions.doctor() as f;
end
$$;
comment on function monitor.doctor() is
  'Problems of the installation: that it is a copy and was not adopted, jobs that failed or did not run, and the findings of partitions.doctor(). fix says what to do, where that is known. No row: there are none. Example: select * from monitor.doctor();';

-- Returns what to do about a problem of a job; null when that is not known.
create or replace function monitor.fix_of_job(p_problem text)
  returns text
  language sql
  stable
as $$
  select case
    when p_problem !~ 'connection failed|job startup timeout' then null
    when exists (select from pg_extension as e where e.extname = 'pg_cron') then
      'Set cron.use_background_workers = on and restart the server, or let the job''s user log in from localhost '
        || '(pg_hba.conf, and the .pgpass of the server''s user)'
    else 'Give workers a connection string of the job''s user: FLOWGRES_CRON_USERS'
  end
$$;

create or replace function monitor.copy_problem()
  returns text
  language sql
  stable
  security definer -- definer because the engine is closed to monitors
  set search_path = pg_catalog, pg_temp
as $$
  select engine.copy_problem()
$$;
comment on function monitor.copy_problem() is
  'For processes and /readyz: why this database must have no effects, from engine.copy_problem(); null when it may have them. Example: select monitor.copy_problem();';

grant execute on function monitor.copy_problem() to flowgres_monitor, flowgres_dba;
grant execute on function monitor.doctor() to flowgres_monitor, flowgres_dba;
