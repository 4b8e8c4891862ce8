-- kind: code
-- Finds logs that break I2, I4, I7 or I8 of docs/reference/invariants.md. Custom query plans read only the
-- partitions that can hold events of these runs, once for each of the three functions. Writes and
-- locks nothing.

-- Returns the lowest id of runs that started at that time or later.
create or replace function private.first_run(p_since timestamptz)
  returns uuid
  language sql
  immutable
as $$
  select engine.uuid_floor(greatest(p_since, '1970-01-01 00:00:00+00'))
$$;

-- Checks whole runs: their events are numbered without a gap, in the order of their times. A gap
-- counts only where the times have a partition: events of a dropped partition, as after
-- drop_old_workflow_events_partitions(), are not missing.
create or replace function private.broken_sequences(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_kept constant tstzmultirange := partitions.covered('public.workflow_events');
begin
  return query
    with log as (
      select
        e.run_id,
        count(*) as events,
        min(e.seq) as first,
        max(e.seq) as last,
        min(e.ts) as begins,
        max(e.ts) as ends_at,
        count(*) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ends,
        max(e.seq) filter (where e.type in ('run.succeeded', 'run.failed', 'run.canceled')) as ended_at,
        min(e.seq) filter (where e.ts <= e.previous) as back
      from (
        select l.run_id, l.seq, l.type, l.ts, lag(l.ts) over (partition by l.run_id order by l.seq) as previous
        from public.workflow_events as l
        where l.ts >= p_since
          and l.run_id >= private.first_run(p_since)
      ) as e
      group by e.run_id
    )
    select i.invariant, l.run_id, to_jsonb(l)
    from log as l
    cross join lateral (values
      (
        'I2 the events of a run are numbered 1, 2, 3 … without a gap',
        l.first <> 1 and v_kept @> engine.uuid_time(l.run_id)
          or l.last - l.first + 1 <> l.events and v_kept @> tstzrange(l.begins, l.ends_at, '[]')
      ),
      ('I2 the time of events increases with their number', l.back is not null),
      ('I4 a run has at most one terminal event, and it is the last one', l.ends > 1 or l.ended_at < l.last)
    ) as i (invariant, is_broken)
    where i.is_broken;
end
$$;

-- Checks the steps of runs. The window `known` has the events of a node up to the current one.
create or replace function private.broken_steps(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    with step as (
      select
        e.run_id, e.seq, e.ts, e.node, e.is_end, e.attempt, e.is_timeout,
        count(*) filter (where e.is_end) over known as ends,
        max(e.attempt) filter (where e.type = 'step.started') over known as begun,
        max(e.waits_for) over known as waits_for,
        max(e.until) over known as until
      from (
        select
          l.run_id, l.seq, l.ts, l.type, l.payload ->> 'node' as node, (l.payload -> 'attempt')::int as attempt,
          l.type in ('step.succeeded', 'step.reused') or l.type = 'step.failed' and not l.payload ? 'retryAt' as is_end,
          l.payload ->> 'port' = 'timeout' or l.payload #>> '{error,code}' = 'WAIT_TIMEOUT' as is_timeout,
          case when l.type = 'step.waiting' then l.payload ->> 'kind' end as waits_for,
          case when l.type = 'step.waiting' then (l.payload ->> 'until')::timestamptz end as until
        from public.workflow_events as l
        where l.ts >= p_since
          and l.run_id >= private.first_run(p_since)
          and l.type like 'step.%'
      ) as e
      window known as (partition by e.run_id, e.node order by e.seq)
    )
    select i.invariant, s.run_id, to_jsonb(s)
    from step as s
    cross join lateral (values
      ('I4 a step ends at most once', s.is_end and s.ends > 1),
      ('I7 a result carries the attempt that was begun last', s.attempt < s.begun),
      ('I8 a timer never fires early', s.is_end and s.ts < s.until and (s.waits_for = 'time' or s.is_timeout))
    ) as i (invariant, is_broken)
    where i.is_broken;
end
$$;

-- Finds ticks of schedules that started several runs. Reads the log, since the idempotency key of a
-- tick is deleted after a week.
create or replace function private.doubled_ticks(p_since timestamptz)
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    select 'I8 a tick of a schedule starts at most one run'::text, max(e.run_id::text)::uuid, jsonb_build_object(
      'workflow', e.payload -> 'workflowId', 'tick', e.payload #> '{input,scheduledAt}', 'runs', count(*)
    )
    from public.workflow_events as e
    where e.ts >= p_since
      and e.run_id >= private.first_run(p_since)
      and e.type = 'run.created'
      and e.payload -> 'mode' = '"schedule"'
    group by e.payload -> 'workflowId', e.payload -> 'trigger', e.payload #> '{input,scheduledAt}'
    having count(*) > 1;
end
$$;

create or replace function monitor.broken_logs(since timestamptz default '-infinity')
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
  select * from private.broken_sequences(since)
  union all
  select * from private.broken_steps(since)
  union all
  select * from private.doubled_ticks(since)
$$;
comment on function monitor.broken_logs(timestamptz) is
  'Runs whose log breaks a rule that always holds. Reads every event of the runs that started since then: minutes for all of a large database. Example: select * from monitor.broken_logs(now() - interval ''1 hour'')';

grant execute on function monitor.broken_logs(timestamptz) to flowgres_dba, flowgres_monitor;
