-- kind: code
-- Changes jobs, and notifies the scheduler of every change of cron.job. Writes cron.job and locks
-- the row of the job.

create or replace function cron.alter_job(
  job_id bigint,
  schedule text default null,
  command text default null,
  database text default null,
  username text default null,
  active boolean default null
)
  returns void
  language plpgsql
  volatile
  security definer -- definer because nobody writes cron.job
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller constant text := cron.caller();
begin
  perform cron.check_given('job_id', job_id is not null);
  if schedule is not null then
    perform cron.check_schedule(schedule);
  end if;
  if username is not null then
    if not cron.is_superuser(v_caller) then
      perform cron.raise_error('must be superuser to alter username');
    end if;
    perform cron.check_role(username);
  end if;
  if coalesce(database, username) is not null then
    perform cron.check_target(coalesce(database, current_database()), coalesce(username, v_caller));
  end if;
  if coalesce(schedule, command, database, username, active::text) is null then
    perform cron.raise_error(
      'no updates specified',
      p_hint => 'You must specify at least one job attribute to change when calling alter_job'
    );
  end if;

  update cron.job as j
  set
    schedule = coalesce(alter_job.schedule, j.schedule),
    command = coalesce(alter_job.command, j.command),
    database = coalesce(alter_job.database, j.database),
    username = coalesce(alter_job.username, j.username),
    active = coalesce(alter_job.active, j.active)
  where j.jobid = job_id
    and (j.username = v_caller or cron.is_superuser(v_caller));
  if not found then
    perform cron.raise_error(format('Job %s does not exist or you don''t own it', job_id));
  end if;
end
$$;
comment on function cron.alter_job(bigint, text, text, text, text, boolean) is
  'Alter the job identified by job_id. Any option left as NULL will not be modified.';

create or replace function cron.job_cache_invalidate()
  returns trigger
  language plpgsql
  volatile
as $$
begin
  -- PostgreSQL delivers equal notifications of one transaction once, when it is committed.
  perform pg_notify('flowgres_cron', '');
  return null;
end
$$;
comment on function cron.job_cache_invalidate() is 'invalidate job cache';

create or replace trigger cron_job_cache_invalidate
  after insert or update or delete or truncate on cron.job
  for each statement execute function cron.job_cache_invalidate();
