-- kind: code
-- What must hold at every moment, as queries that find the runs for which it does not. Zero rows is health.

create or replace function monitor.broken_logs()
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
  with log as (
    select
      e.run_id,
      count(*) as events,
      min(e.seq) as first,
      max(e.seq) as last,
      count(*) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ends,
      max(e.seq) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ended_at
    from public.workflow_events as e
    group by e.run_id
  )
  select 'the events of a run are numbered 1, 2, 3 … without a gap', l.run_id, to_jsonb(l)
  from log as l
  where l.first <> 1 or l.last <> l.events
  union all
  select 'a run has at most one terminal event, and it is the last one', l.run_id, to_jsonb(l)
  from log as l
  where l.ends > 1 or l.ended_at < l.last
  union all
  select 'the time of events increases with their number', n.run_id, jsonb_build_object('seq', n.seq)
  from (
    select e.run_id, e.seq, e.ts, lag(e.ts) over (partition by e.run_id order by e.seq) as previous
    from public.workflow_events as e
  ) as n
  where n.ts <= n.previous
  union all
  select 'a step succeeds at most once', e.run_id, jsonb_build_object('node', e.payload -> 'node')
  from public.workflow_events as e
  where e.type in ('step.succeeded', 'step.reused')
  group by e.run_id, e.payload -> 'node'
  having count(*) > 1
  union all
  select 'a result carries the attempt that was begun last', e.run_id, e.payload - 'output'
  from public.workflow_events as e
  where e.type in ('step.succeeded', 'step.failed')
    and (e.payload -> 'attempt')::int < (
      select max((s.payload -> 'attempt')::int)
      from public.workflow_events as s
      where s.run_id = e.run_id
        and s.type = 'step.started'
        and s.payload -> 'node' = e.payload -> 'node'
        and s.seq < e.seq
    )
$$;
comment on function monitor.broken_logs() is
  'Runs whose log breaks a rule that always holds. Reads every event: minutes on a large database. Example: select * from monitor.broken_logs()';

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
  select 'an unfinished run has something that moves it on', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and not exists (select from engine.open_steps as s where s.run_id = r.id)
    and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
  union all
  select 'a slot of a concurrency limit is held by an unfinished run', f.run_id, to_jsonb(f)
  from engine.flow_runs as f
  where not f.is_held
    and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
  union all
  select 'the status of an unfinished run follows from its open steps', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where r.status in ('running', 'waiting')
    and r.status <> (
      select case when bool_and(s.state = 'waiting') then 'waiting' else 'running' end
      from engine.open_steps as s
      where s.run_id = r.id
      having count(*) > 0
    )
  union all
  select 'a finished run has no open step', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  join public.workflow_runs as r on r.id = s.run_id
  where r.finished_at is not null
  union all
  select 'a child ends soon after the parent that waits for it', c.id, jsonb_build_object('parent', p.id)
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id
  where c.finished_at is null
    and c.parent_index is not null
    and p.finished_at < engine.now() - interval '2 minutes'
  union all
  select 'nothing waits for longer than two minutes after its time', s.run_id, to_jsonb(s)
  from engine.open_steps as s
  where coalesce(s.lease_until, s.run_at) < engine.now() - interval '2 minutes'
    and exists (select from public.workflow_runs as r where r.id = s.run_id and r.status <> 'paused')
$$;
comment on function monitor.stuck_runs() is
  'Unfinished runs that nothing would move. Cheap: it reads unfinished runs only. Example: select * from monitor.stuck_runs()';

create or replace function monitor.wrong_projections()
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
  select 'the row of a run agrees with its log', r.id, jsonb_build_object('status', r.status, 'last', e.type)
  from public.workflow_runs as r
  cross join lateral (
    select l.type, l.ts
    from public.workflow_events as l
    where l.run_id = r.id
    order by l.seq desc
    limit 1
  ) as e
  where (r.status, r.finished_at) is distinct from (
    case e.type
      when 'run.succeeded' then 'success'
      when 'run.failed' then 'error'
      when 'run.canceled' then 'canceled'
      else case when r.finished_at is null then r.status end
    end,
    case when e.type in ('run.succeeded', 'run.failed', 'run.canceled') then e.ts end
  )
  union all
  select 'a run has events', r.id, jsonb_build_object('status', r.status)
  from public.workflow_runs as r
  where not exists (select from public.workflow_events as e where e.run_id = r.id)
$$;
comment on function monitor.wrong_projections() is
  'Runs whose row disagrees with their log. Example: select * from monitor.wrong_projections()';

create or replace function monitor.invariants()
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select * from monitor.broken_logs()
  union all
  select * from monitor.stuck_runs()
  union all
  select * from monitor.wrong_projections()
$$;
comment on function monitor.invariants() is
  'Everything that must always hold, and where it does not: the rule, the run, the facts. No row is health. Example: select * from monitor.invariants()';

grant execute on function monitor.broken_logs(), monitor.stuck_runs(), monitor.wrong_projections(), monitor.invariants()
  to flowgres_dba, flowgres_monitor;
