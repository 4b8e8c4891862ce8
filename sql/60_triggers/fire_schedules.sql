-- kind: code
-- Starts the runs of schedules that are due. The run and the schedule's next time are one transaction, and the tick is
-- the run's idempotency key: whoever calls this, at once or after a crash, a tick starts one run.

-- What becomes of a tick. One that is a minute late has been missed; then catchUp says whether it still runs, and from
-- when on the schedule goes on: from the tick itself, or past all that were missed with it.
create or replace function engine.judge_tick(
  p_schedule public.schedules,
  p_now timestamptz,
  out is_run boolean,
  out go_on_after timestamptz
)
  language plpgsql
  immutable
as $$
declare
  v_patience constant interval := '1 minute';
  v_catch_up constant text := coalesce(p_schedule.properties ->> 'catchUp', 'none');
begin
  is_run := true;
  go_on_after := p_schedule.next_run_at;
  if p_schedule.fires_at < p_now - v_patience then
    is_run := v_catch_up <> 'none';
    -- As old as an idempotency key may get; a schedule that was away for longer does not run for hours.
    go_on_after := greatest(
      go_on_after, p_now - case v_catch_up when 'all' then interval '7 days' else v_patience end
    );
  end if;
end
$$;

create or replace function engine.tick_request(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_schedule.organization_id,
    'workflowId', p_schedule.workflow_id,
    'version', p_schedule.version,
    'mode', 'schedule',
    'trigger', p_schedule.node,
    'key', format('schedule %s %s', tick, p_schedule.node),
    -- firedAt differs when a tick is tried again, the tick does not.
    'fingerprint', tick,
    'input', jsonb_build_object(
      'scheduledAt', tick,
      'firedAt', engine.iso_time(p_now),
      'timezone', coalesce(p_schedule.properties ->> 'timezone', 'UTC')
    )
  )
  from engine.iso_time(p_schedule.next_run_at) as tick
$$;

-- Starts one run; an error that start_runs did not foresee is the tick's own, the others go on. But that there is no
-- partition for now is nobody's own: all ticks wait until there is.
create or replace function engine.start_tick(p_schedule public.schedules, p_now timestamptz)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_answer record;
  v_constraint text;
begin
  select * into v_answer
  from engine.start_runs(jsonb_build_array(engine.tick_request(p_schedule, p_now)));
  return case when v_answer.run_id is null then v_answer.error end;
exception
  when check_violation then
    -- One without a name is the bounds of the partitions.
    get stacked diagnostics v_constraint = constraint_name;
    if v_constraint = '' then
      raise;
    end if;
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
  when others then
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
end
$$;

create or replace function engine.fire_schedules(p_limit int default 100)
  returns int
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_schedule public.schedules;
  v_verdict record;
  v_tick timestamptz;
  v_error jsonb;
  v_count int := 0;
begin
  for v_schedule in
    select s.*
    from public.schedules as s
    where s.fires_at <= v_now
      -- Those of a deleted organization wait for its return, or go with it.
      and exists (
        select from public.organizations as o where o.id = s.organization_id and o.deleted_at is null
      )
    order by s.fires_at
    limit p_limit
    for no key update skip locked
  loop
    select * into v_verdict from engine.judge_tick(v_schedule, v_now);
    v_error := case when v_verdict.is_run then engine.start_tick(v_schedule, v_now) else v_schedule.last_error end;
    v_tick := engine.next_tick(v_schedule.properties, v_verdict.go_on_after);
    update public.schedules as s
    set
      next_run_at = v_tick,
      fires_at = v_tick + engine.jitter(s.properties, s.workflow_id, s.node, v_tick),
      last_run_at = case when v_verdict.is_run and v_error is null then v_schedule.next_run_at else s.last_run_at end,
      last_error = v_error
    where s.organization_id = v_schedule.organization_id
      and s.workflow_id = v_schedule.workflow_id
      and s.node = v_schedule.node;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function engine.fire_schedules(int) is
  'Starts the runs of schedules that are due, one tick of each and at most p_limit, and returns how many it looked at: call it again while that is p_limit, or more than none and schedules catch up. Safe to call from many sessions at once.';

grant execute on function engine.fire_schedules(int) to flowgres_worker, flowgres_dba;
