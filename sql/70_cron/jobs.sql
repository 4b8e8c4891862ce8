-- kind: code
-- Schedules and unschedules jobs, as pg_cron does. Writes cron.job and locks the row of the job.

create or replace function cron.schedule(schedule text, command text)
  returns bigint
  language plpgsql
  volatile
  strict
  security definer -- definer because everybody may schedule, and nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  return cron.save_job(null, schedule, command, current_database(), cron.caller(), true);
end
$$;
comment on function cron.schedule(text, text) is 'schedule a pg_cron job';

create or replace function cron.schedule(job_name text, schedule text, command text)
  returns bigint
  language plpgsql
  volatile
  security definer -- definer because everybody may schedule, and nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.check_given('job_name', job_name is not null);
  perform cron.check_given('schedule', schedule is not null);
  perform cron.check_given('command', command is not null);
  return cron.save_job(job_name, schedule, command, current_database(), cron.caller(), true);
end
$$;
comment on function cron.schedule(text, text, text) is 'schedule a pg_cron job';

-- Inserts a job and returns its id. A job of the same name and role gets the new schedule, command
-- and database instead.
create or replace function cron.save_job(
  p_name text,
  p_schedule text,
  p_command text,
  p_database text,
  p_username text,
  p_active boolean
)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_id bigint;
begin
  perform cron.check_schedule(p_schedule);
  perform cron.check_target(p_database, p_username);
  insert into cron.job as j (schedule, command, nodeport, database, username, active, jobname)
  values (
    p_schedule, p_command, coalesce(inet_server_port(), current_setting('port')::int), p_database, p_username, p_active,
    p_name
  )
  on conflict on constraint jobname_username_uniq do update
  set schedule = excluded.schedule, command = excluded.command, database = excluded.database
  returning j.jobid into v_id;
  return v_id;
end
$$;

create or replace function cron.schedule_in_database(
  job_name text,
  schedule text,
  command text,
  database text,
  username text default null,
  active boolean default true
)
  returns bigint
  language plpgsql
  volatile
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform cron.check_given('job_name', job_name is not null);
  perform cron.check_given('schedule', schedule is not null);
  perform cron.check_given('command', command is not null);
  perform cron.check_given('database', database is not null);
  perform cron.check_given('active', active is not null);
  perform cron.check_schedule(schedule);
  if username is not null then
    if not cron.is_superuser(cron.caller()) then
      perform cron.raise_error('must be superuser to create a job for another role');
    end if;
    perform cron.check_role(username);
  end if;
  return cron.save_job(job_name, schedule, command, database, coalesce(username, cron.caller()), active);
end
$$;
comment on function cron.schedule_in_database(text, text, text, text, text, boolean) is 'schedule a pg_cron job';

create or replace function cron.unschedule(job_id bigint)
  returns boolean
  language plpgsql
  volatile
  strict
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_username constant text := (select j.username from cron.job as j where j.jobid = job_id);
begin
  if v_username is null then
    perform cron.raise_error(format('could not find valid entry for job %s', job_id));
  elsif v_username <> cron.caller() and not has_table_privilege(cron.caller(), 'cron.job', 'delete') then
    perform cron.raise_error('permission denied for table job', '42501');
  end if;
  delete from cron.job as j where j.jobid = job_id;
  return true;
end
$$;
comment on function cron.unschedule(bigint) is 'unschedule a pg_cron job';

create or replace function cron.unschedule(job_name text)
  returns boolean
  language plpgsql
  volatile
  strict
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
begin
  delete from cron.job as j where j.jobname = job_name and j.username = cron.caller();
  if not found then
    perform cron.raise_error(format('could not find valid entry for job ''%s''', job_name));
  end if;
  return true;
end
$$;
comment on function cron.unschedule(text) is 'unschedule a pg_cron job';
