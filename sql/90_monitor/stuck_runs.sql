-- kind: code
-- Finds unfinished runs without a wake-up, and slots, steps and jobs without an owner: I5 and I6 of
-- docs/reference/invariants.md. Reads the working set only: unfinished runs, open steps, the queue. Writes
-- and locks nothing.

-- long because each invariant is one arm of a union.
create or replace function monitor.stuck_runs()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select 'I5 an unfinished run has something that moves it on', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and not exists (select from engine.open_steps as s where s.run_id = r.id)
    and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
  union all
  select 'I6 a slot of a concurrency limit is held by an unfinished run', f.run_id, to_jsonb(f)
  from engine.flow_runs as f
  where not f.is_held
    and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
  union all
  select 'I5 the status of an unfinished run follows from its open steps', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and r.status <> (
      select case when bool_and(s.state = 'waiting') then 'waiting' else 'running' end
      from engine.open_steps as s
      where s.run_id = r.id
      having count(*) > 0
    )
  union all
  select 'I6 a finished run has no open step', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  join public.workflow_runs as r on r.id = s.run_id
  where r.finished_at is not null
  union all
  select 'I5 a child ends soon after the parent that waits for it', c.id, jsonb_build_object('parent', p.id)
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id
  where c.finished_at is null
    and c.parent_index is not null
    and p.finished_at < (select engine.now()) - interval '2 minutes'
  union all
  select 'I5 nothing waits for longer than two minutes after its time', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where coalesce(s.lease_until, s.run_at) < (select engine.now()) - interval '2 minutes'
    and exists (select from public.workflow_runs as r where r.id = s.run_id and r.status <> 'paused')
  union all
  select 'I6 each node of a run is open once at most', s.run_id, jsonb_build_object('node', s.node)
  from engine.open_steps as s
  group by s.run_id, s.node
  having count(*) > 1
  union all
  select 'I6 the attempt that runs is the one that the log has begun last', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where s.state = 'running'
    and s.attempt <> engine.last_attempt(s.run_id, s.node)
  union all
  -- Uses now(), the clock of graphile-worker, which sets locked_at.
  select 'I6 no job is held by a worker that has been gone for a minute', (j.payload ->> 'runId')::uuid, to_jsonb(j)
  from graphile_worker._private_jobs as j
  where j.locked_at < now() - interval '1 minute'
    and not exists (
      select
      from engine.workers as w
      where w.pool_id = j.locked_by
        and w.seen_at > (select engine.now()) - interval '1 minute'
    )
  union all
  select * from monitor.lost_wake_ups()
  union all
  select * from monitor.overdue_runs()
$$;
comment on function monitor.stuck_runs() is
  'Unfinished runs without a wake-up, and slots, steps and jobs that belong to nothing. Cheap: it reads unfinished runs and the queue only. Example: select * from monitor.stuck_runs()';

grant execute on function monitor.stuck_runs() to flowgres_dba, flowgres_monitor;
