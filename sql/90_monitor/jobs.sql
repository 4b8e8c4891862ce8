-- kind: code
-- Shows how the SQL jobs ended, with either scheduler. Reads cron.job and cron.job_run_details:
-- those of Flowgres, or those of pg_cron, on which `flowgres migrate` and `flowgres cron handover`
-- give flowgres_owner rights. Writes and locks nothing.

create or replace function monitor.jobs()
  returns table (
    jobname text,
    username text,
    schedule text,
    active boolean,
    status text,
    return_message text,
    ended_at timestamptz,
    problem text
  )
  language plpgsql
  stable
  security definer -- definer because everybody sees their own jobs only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_timezone constant text := monitor.cron_timezone();
  v_since constant timestamptz := (select max(b.installed_at) from private.builds as b);
  v_now constant timestamptz := engine.now();
begin
  if not monitor.sees_jobs() then
    return query select null, null, null, null::boolean, null, null, null::timestamptz,
      'what became of the jobs of pg_cron cannot be seen: run flowgres migrate as the role that created the extension';
    return;
  end if;
  return query
    select
      coalesce(j.jobname::text, 'job ' || j.jobid), j.username, j.schedule, j.active, last.status, last.return_message,
      last.end_time,
      case
        when not j.active then null
        when last.status = 'failed' then
          format('failed: %s', coalesce(nullif(btrim(last.return_message, e' \n'), ''), 'without a message'))
        else monitor.missed_run(
          j.schedule, coalesce(begun.start_time, case when m.jobname is not null then v_since end), v_timezone, v_now
        )
      end
    from cron.job as j
    left join engine.maintenance_jobs() as m on m.jobname = j.jobname and j.username = 'flowgres_maintenance'
    left join lateral (
      select d.status, d.return_message, d.end_time
      from cron.job_run_details as d
      where d.jobid = j.jobid and d.status in ('succeeded', 'failed')
      order by d.runid desc
      limit 1
    ) as last on true
    left join lateral (
      select d.start_time
      from cron.job_run_details as d
      where d.jobid = j.jobid and d.start_time is not null
      order by d.runid desc
      limit 1
    ) as begun on true
    order by j.jobid;
  return query
    select m.jobname, 'flowgres_maintenance', m.schedule, false, null, null, null::timestamptz,
      'is not scheduled: run flowgres migrate'
    from engine.maintenance_jobs() as m
    where not exists (
      select from cron.job as j where j.jobname = m.jobname and j.username = 'flowgres_maintenance'
    );
end
$$;
comment on function monitor.jobs() is
  'The SQL jobs of all users, how the last run of each ended, and its problem: it failed, or two of its times have passed without a run; null when there is none, or the job is inactive. The same with the scheduler of Flowgres and with pg_cron. Example: select jobname, problem from monitor.jobs() where problem is not null;';

-- Returns a problem when two of the job's times since its last run have passed. One alone may have
-- been missed by a restart, or lie before the job got its schedule.
create or replace function monitor.missed_run(
  p_schedule text,
  p_since timestamptz,
  p_timezone text,
  p_now timestamptz
)
  returns text
  language sql
  stable
as $$
  select format('has not run since %s', to_char(p_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'))
  from engine.parse_cron(p_schedule) as spec
  cross join engine.next_cron_run(spec, p_since, p_timezone) as first_run
  cross join engine.next_cron_run(spec, first_run, p_timezone) as second_run
  where second_run + interval '10 minutes' < p_now
$$;

-- Returns the time zone of schedules; GMT when it cannot be read, since pg_cron shows its settings
-- to superusers only.
create or replace function monitor.cron_timezone()
  returns text
  language plpgsql
  stable
as $$
begin
  return coalesce(nullif(current_setting('cron.timezone', true), ''), 'GMT');
exception
  when insufficient_privilege then
    return 'GMT';
end
$$;

-- Returns whether flowgres_owner can read the jobs of all users.
create or replace function monitor.sees_jobs()
  returns boolean
  language sql
  stable
as $$
  select not exists (select from pg_extension as e where e.extname = 'pg_cron')
    or exists (
      select
      from pg_policies as p
      where p.schemaname = 'cron' and p.tablename = 'job' and p.policyname = 'flowgres_owner_select'
    )
$$;

grant execute on function monitor.jobs() to flowgres_monitor, flowgres_dba;
