-- kind: code
-- Queues runs of jobs that are due, and decides how many to make up for after a pause. Up to five
-- minutes late: all that were missed, as after a change of the leader. Up to three hours late: all
-- at a fixed time, and one of each other job. Later: none. Writes cron.job_state and locks its
-- rows.

-- Returns how many runs of a job are due and when it is due next.
create or replace function cron.due_runs(
  p_state cron.job_state,
  p_now timestamptz,
  out runs int,
  out next_run_at timestamptz
)
  language plpgsql
  stable
as $$
declare
  v_late constant interval := p_now - p_state.next_run_at;
  v_seconds constant int := (p_state.spec).seconds;
begin
  runs := 0;
  next_run_at := p_state.next_run_at;
  if v_seconds is not null then
    -- A job of every few seconds runs once when its last run has not ended, or when it is more than
    -- 5 seconds late.
    runs := floor(extract(epoch from v_late) / v_seconds) + 1;
    next_run_at := next_run_at + make_interval(secs => runs * v_seconds);
    runs := case when p_state.runid is not null or v_late > interval '5 seconds' then 1 else runs end;
    return;
  elsif v_late > interval '3 hours' then
    next_run_at := engine.next_cron_run(p_state.spec, p_now - interval '1 minute', p_state.timezone);
  elsif v_late > interval '5 minutes' and (p_state.spec).is_wild then
    runs := 1;
    next_run_at := engine.next_cron_run(p_state.spec, p_now, p_state.timezone);
  end if;
  while next_run_at <= p_now loop
    runs := runs + 1;
    next_run_at := engine.next_cron_run(p_state.spec, next_run_at, p_state.timezone);
  end loop;
end
$$;

-- Adds the runs that are due to the queue of each job and sets when it is due next.
create or replace function cron.queue_due(p_now timestamptz)
  returns void
  language sql
  volatile
as $$
  update cron.job_state as s
  set
    -- While a job of every few seconds runs, at most one of its runs waits; of other jobs all do.
    queued = case when (s.spec).seconds is not null and s.runid is not null then 1 else s.queued + d.runs end,
    queued_at = case when s.queued > 0 then s.queued_at else s.next_run_at end,
    next_run_at = d.next_run_at
  from cron.job_state as due
  cross join lateral cron.due_runs(due, p_now) as d
  where due.next_run_at <= p_now
    and s.jobid = due.jobid
$$;

-- Makes cron.job_state agree with cron.job: deletes jobs that are gone or inactive, adds new ones.
-- A job that is new or changed is due next after p_now.
create or replace function cron.sync_jobs(p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_timezone constant text := cron.setting('timezone', 'GMT');
begin
  delete from cron.job_state as s
  where s.runid is null
    and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);
  update cron.job_state as s
  set queued = 0, next_run_at = null, schedule = ''
  where s.runid is not null
    and not exists (select from cron.job as j where j.jobid = s.jobid and j.active);

  insert into cron.job_state as s (jobid, schedule, spec, timezone, next_run_at)
  select j.jobid, j.schedule, c.spec, v_timezone, engine.next_cron_run(c.spec, p_now, v_timezone)
  from cron.job as j
  left join cron.job_state as known using (jobid)
  cross join lateral (select engine.parse_cron(j.schedule) as spec offset 0) as c
  where j.active
    and cron.setting('launch_active_jobs', 'on')::boolean
    and (known.schedule, known.timezone) is distinct from (j.schedule, v_timezone)
  on conflict (jobid) do update
  set schedule = excluded.schedule, spec = excluded.spec, timezone = excluded.timezone,
    next_run_at = excluded.next_run_at;
end
$$;

-- Computes next runs again after the clock was set back. By less than three hours, jobs at a fixed
-- time keep theirs, since they have run; else all jobs get new ones.
create or replace function cron.follow_clock_back(p_now timestamptz, p_last timestamptz)
  returns void
  language sql
  volatile
as $$
  update cron.job_state as s
  set next_run_at = engine.next_cron_run(s.spec, p_now, s.timezone)
  where s.next_run_at > p_now
    and ((s.spec).is_wild or (s.spec).seconds is not null or p_last - p_now >= interval '3 hours')
$$;
