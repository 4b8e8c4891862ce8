-- kind: code
-- The life of a run: starting (claimed from the queue), running (its command is sent), succeeded or failed.

-- Takes runs from the queue, the longest waiting first, no two of one job and at most cron.max_running_jobs at a time.
create or replace function cron.start_queued()
  returns setof cron.task
  language sql
  volatile
as $$
  with free as (
    select greatest(cron.setting('max_running_jobs', '32')::int, 1) - count(*) as runs
    from cron.job_state as s
    where s.runid is not null
  ),
  claimed as (
    update cron.job_state as s
    set queued = s.queued - 1, runid = nextval('cron.runid_seq')
    where s.jobid in (
      select q.jobid
      from cron.job_state as q
      where q.queued > 0 and q.runid is null
      order by q.queued_at
      limit (select greatest(r.runs, 0) from free as r)
    )
    returning s.jobid, s.runid
  ),
  started as (
    insert into cron.job_run_details (jobid, runid, database, username, command, status)
    select j.jobid, t.runid, j.database, j.username, j.command, 'starting'
    from claimed as t
    join cron.job as j using (jobid)
    returning *
  )
  select 'run', s.runid, s.command, s.database, s.username
  from started as s
  order by s.runid
$$;

create or replace function cron.begin_run(p_runid bigint, p_pid int)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  update cron.job_run_details as d
  set status = 'running', job_pid = p_pid, start_time = clock_timestamp()
  where d.runid = p_runid and d.status = 'starting';
  return found;
end
$$;
comment on function cron.begin_run(bigint, int) is
  'Called right before the command is sent; false when the run is no longer this runner''s.';

create or replace function cron.end_run(p_runid bigint, p_status text, p_message text)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- In the order in which everybody takes the tables: the state of jobs, then their runs.
  update cron.job_state as s set runid = null where s.runid = p_runid;
  update cron.job_run_details as d
  set
    status = p_status,
    return_message = p_message,
    -- What never began has no end, in pg_cron.
    end_time = case when d.start_time is not null then clock_timestamp() end
  where d.runid = p_runid and d.status in ('starting', 'running');
  -- One comes, one goes: the history never grows beyond its cap.
  delete from cron.job_run_details as d
  where d.runid <= p_runid - cron.setting('history_rows', '100000')::bigint
    and d.status in ('succeeded', 'failed');
end
$$;
comment on function cron.end_run(bigint, text, text) is 'Records what a run came to: succeeded or failed, and what the server said.';

-- Runs of a leader that is gone. One whose command was not sent goes back to the queue; one whose session still works
-- is left to it; of any other nobody knows the end.
create or replace function cron.settle_abandoned(p_running bigint[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run cron.job_run_details;
begin
  for v_run in
    select d.*
    from cron.job_state as s
    join cron.job_run_details as d on d.runid = s.runid
    where s.runid is not null
      and s.runid <> all (p_running)
  loop
    if v_run.status = 'starting' then
      delete from cron.job_run_details as d where d.runid = v_run.runid;
      update cron.job_state as s
      set runid = null, queued = s.queued + 1, queued_at = coalesce(s.queued_at, clock_timestamp())
      where s.runid = v_run.runid;
    elsif not exists (
      select from pg_stat_activity as a
      where a.pid = v_run.job_pid and a.datname = v_run.database and a.usename = v_run.username
    ) then
      perform cron.end_run(v_run.runid, 'failed', 'connection lost');
    end if;
  end loop;
end
$$;
