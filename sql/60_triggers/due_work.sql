-- kind: code
-- Tells a worker what is due, so that an idle one sends a single statement each second. Writes
-- engine.workers, by engine.look_at_sessions(), and only when the session of a worker has ended.

-- p_judges: whether the caller may judge the sessions of others. A worker that has lost its own one
-- a moment ago may not: the others may have lost theirs by the same event.
create or replace function engine.due_work(
  p_worker_id uuid,
  p_judges boolean,
  out steps boolean,
  out schedules boolean,
  out jobs boolean,
  out suspects boolean,
  out lost_workers boolean
)
  language plpgsql
  volatile
  security definer -- definer because the worker reads none of these tables but the queue
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off -- for the indexes of what is due, however much is not
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  steps := exists (select from engine.open_steps as s where s.wake_at <= v_now);
  schedules := exists (
    select
    from public.schedules as s
    join public.organizations as o on o.id = s.organization_id and o.deleted_at is null
    where s.fires_at <= v_now
  );
  -- Delayed jobs, whose time no notification tells, and those whose notification was lost.
  jobs := exists (
    select
    from graphile_worker._private_jobs as j
    where j.is_available
      and j.run_at <= now()
  );
  suspects := false;
  lost_workers := false;
  if p_judges then
    select l.is_suspected, l.is_lost into suspects, lost_workers
    from engine.look_at_sessions(p_worker_id, v_now) as l;
  end if;
end
$$;
comment on function engine.due_work(uuid, boolean) is
  'For workers, every second: whether steps (call wake_steps), schedules (due_schedules) or jobs of the queue are due, whether workers are lost (expire_lost_workers), and whether the session of one ended less than a second ago (suspects). p_judges: whether it looks at other workers. Example: select * from engine.due_work(''0190…'', true);';

grant execute on function engine.due_work(uuid, boolean) to flowgres_worker;
