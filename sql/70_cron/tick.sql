-- kind: code
-- What the leader of SQL jobs calls: lead() once when it becomes the leader, tick() every second
-- and after changes of jobs, rest() when there is nothing to do. Writes cron.runner, cron.job_state
-- and cron.job_run_details and locks their rows: the states of jobs before their runs.

-- Makes cron.job_state agree with cron.job. After a restart of the server it fails all runs, since
-- none can still run, and queues @reboot jobs.
create or replace function cron.lead()
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_runids bigint[];
begin
  perform cron.sync_jobs(engine.now());
  insert into cron.runner as r (server_started_at) values (pg_postmaster_start_time())
  on conflict on constraint runner_pkey do update set server_started_at = excluded.server_started_at
  where r.server_started_at <> excluded.server_started_at;
  if not found then
    return false;
  end if;
  v_runids := cron.lock_runs('{}');
  update cron.job_state as s set runid = null where s.runid = any (v_runids);
  update cron.job_run_details as d
  set status = 'failed', return_message = 'server restarted'
  where d.runid = any (v_runids)
    and d.status in ('starting', 'running');
  update cron.job_state as s set queued = 1, queued_at = clock_timestamp() where (s.spec).at_start;
  return true;
end
$$;
comment on function cron.lead() is 'For a scheduler that has become the leader; true after a restart of the server. Example: select cron.lead();';

create or replace function cron.tick(p_running bigint[], p_changed boolean)
  returns setof cron.task
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
  -- Use indexes: few of thousands of jobs are due or running, whatever the statistics say.
  set enable_seqscan = off
  set enable_hashjoin = off
as $$
declare
  v_now constant timestamptz := engine.now();
  -- Kept in a setting of the leader's session; no other session needs it.
  v_last constant timestamptz := nullif(current_setting('cron.last_tick', true), '');
begin
  if engine.copy_problem() is not null then
    return;
  end if;
  if p_changed then
    perform cron.sync_jobs(v_now);
  end if;
  if v_now < v_last then
    perform cron.follow_clock_back(v_now, v_last);
  end if;
  perform set_config('cron.last_tick', v_now::text, false);
  perform cron.settle_abandoned(p_running);
  perform cron.queue_due(v_now);
  return query
    select 'cancel', s.runid, null::text, null::text, null::text
    from cron.job_state as s
    where s.runid is not null
      and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);
  return query select * from cron.start_queued();
end
$$;
comment on function cron.tick(bigint[], boolean) is
  'What the leader has to do now: commands to run, and runs to cancel because their job is gone or inactive; nothing in a copy that was not adopted. p_running: the runs that the leader executes; p_changed: whether cron.job may have changed since the last tick. Example: select * from cron.tick(''{}'', true);';

create or replace function cron.rest(p_most_ms int, p_idle_ms int)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the worker reads no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_ms int := 0;
begin
  if not exists (select from cron.job_state as s where s.queued > 0 or s.runid is not null) then
    -- Half a second before the next job: the leader then ticks at the full second.
    select greatest(least(extract(epoch from min(s.next_run_at) - engine.now()) * 1000 - 500, p_most_ms), 0)
    into v_ms
    from cron.job_state as s;
  end if;
  -- Ends the session of a leader that hangs, and no earlier than the leader returns.
  perform set_config('idle_session_timeout', (v_ms + p_idle_ms)::text, false);
  return v_ms;
end
$$;
comment on function cron.rest(int, int) is
  'For the leader: for how many milliseconds nothing is due, at most p_most_ms; 0 while runs wait or are under way. Its session may idle for that time and p_idle_ms. Example: select cron.rest(10000, 1600);';
