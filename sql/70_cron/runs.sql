-- kind: code
-- The states of a run: starting (claimed from the queue), running (its command is sent), succeeded
-- or failed. Writes cron.job_state and cron.job_run_details and locks their rows: the state of a job
-- before its run.

-- Claims queued runs and returns them as tasks: those that have waited longest first, one of each
-- job, while at most cron.max_running_jobs run.
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
  'For the leader, right before it sends the command: sets a run to running; false when the run does not belong to this leader any more. Example: select cron.begin_run(1, 4711);';

create or replace function cron.end_run(p_runid bigint, p_status text, p_message text)
  returns void
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- Lock the state of the job before its run, as start_queued() does.
  update cron.job_state as s set runid = null where s.runid = p_runid;
  update cron.job_run_details as d
  set
    status = p_status,
    return_message = p_message,
    -- As in pg_cron, a run that never began has no end.
    end_time = case when d.start_time is not null then clock_timestamp() end
  where d.runid = p_runid and d.status in ('starting', 'running');
  -- Delete the runs above cron.history_rows, so that the history does not grow beyond it.
  delete from cron.job_run_details as d
  where d.runid <= p_runid - cron.setting('history_rows', '100000')::bigint
    and d.status in ('succeeded', 'failed');
end
$$;
comment on function cron.end_run(bigint, text, text) is 'For the leader: records the end of a run: succeeded or failed, and the message of the server. Example: select cron.end_run(1, ''succeeded'', ''SELECT 1'');';

-- Settles runs of an earlier leader. Queues a run again whose command was not sent, leaves one
-- alone whose session still works, and fails any other, since its end is unknown. p_running: the
-- runs of this leader.
create or replace function cron.settle_abandoned(p_running bigint[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_runids constant bigint[] := cron.lock_runs(p_running);
  v_runid bigint;
begin
  foreach v_runid in array v_runids loop
    delete from cron.job_run_details as d where d.runid = v_runid and d.status = 'starting';
    if found then
      update cron.job_state as s
      set runid = null, queued = s.queued + 1, queued_at = coalesce(s.queued_at, clock_timestamp())
      where s.runid = v_runid;
    elsif not exists (
      select
      from cron.job_run_details as d
      join pg_stat_activity as a on a.pid = d.job_pid and a.datname = d.database and a.usename = d.username
      where d.runid = v_runid
    ) then
      perform cron.end_run(v_runid, 'failed', 'connection lost');
    end if;
  end loop;
end
$$;

-- Locks the states of jobs that run, except the runs of p_running, and returns these runs. A
-- session that records the end of one has ended it before, or waits until this transaction has.
create or replace function cron.lock_runs(p_running bigint[])
  returns bigint[]
  language sql
  volatile
as $$
  select coalesce(array_agg(l.runid), '{}')
  from (
    select s.runid
    from cron.job_state as s
    where s.runid is not null
      and s.runid <> all (p_running)
    order by s.jobid
    for no key update
  ) as l
$$;
