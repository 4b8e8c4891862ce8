-- kind: code
-- Starts the runs of schedules that are due, one schedule per transaction. The start and the next
-- time of the schedule commit together, and the tick is the idempotency key of the start: a tick
-- starts one run, also when it is fired twice at once or again after a crash. Writes
-- public.schedules, and runs through engine.start_runs(). Locks an advisory lock of the schedule
-- first, without waiting, and its row last, so that a slow start does not block unpublishing.

create or replace function engine.fire_schedule(p_organization_id uuid, p_workflow_id uuid, p_node text)
  returns boolean
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
begin
  if engine.copy_problem() is not null then
    return false;
  end if;
  -- Excludes others that fire this schedule. A row lock would also block a session that deletes the
  -- row.
  if not pg_try_advisory_xact_lock(
    hashtextextended(format('flowgres.schedule %s %s %s', p_organization_id, p_workflow_id, p_node), 0)
  ) then
    return false;
  end if;
  select s.* into v_schedule
  from public.schedules as s
  where s.organization_id = p_organization_id
    and s.workflow_id = p_workflow_id
    and s.node = p_node
    and s.fires_at <= v_now
    and exists (select from public.organizations as o where o.id = s.organization_id and o.deleted_at is null);
  if not found then
    return false;
  end if;

  select * into v_verdict from engine.tick_decision(v_schedule, v_now);
  v_error := case when v_verdict.is_run then engine.start_tick(v_schedule, v_now) else v_schedule.last_error end;
  v_tick := engine.next_tick(v_schedule.properties, v_verdict.go_on_after);
  update public.schedules as s
  set
    next_run_at = v_tick,
    fires_at = v_tick + engine.jitter(s.properties, s.workflow_id, s.node, v_tick),
    last_run_at = case when v_verdict.is_run and v_error is null then v_schedule.next_run_at else s.last_run_at end,
    last_error = v_error,
    failures = case when v_verdict.is_run then 0 else s.failures end
  where s.organization_id = p_organization_id
    and s.workflow_id = p_workflow_id
    and s.node = p_node
    and s.version = v_schedule.version
    and s.next_run_at = v_schedule.next_run_at;
  if not found then
    perform private.raise_error(
      'CONFLICT',
      'The schedule was changed while it fired; its run is not started.',
      'Ask for the schedules that are due again.'
    );
  end if;
  return true;
end
$$;
comment on function engine.fire_schedule(uuid, uuid, text) is
  'For workers: starts the run of a schedule that is due and sets its next time, in the caller''s transaction. False when there is nothing to do: the schedule is not due, is gone, another transaction fires it, or the database is a copy that was not adopted. Call it under a statement_timeout; when it fails, call fail_schedule in another transaction. Errors: CONFLICT (unpublished or published again meanwhile: nothing was started). Example: select engine.fire_schedule(organization_id, workflow_id, node) from engine.due_schedules(1);';

-- Returns whether a tick starts a run, and after which time the schedule goes on. A tick that is
-- more than a minute late was missed: catchUp none skips it, one runs it and skips the others that
-- were missed, all runs every one of the last 7 days.
create or replace function engine.tick_decision(
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
    -- As old as an idempotency key may get. The limit also keeps a schedule from catching
    -- up for hours.
    go_on_after := greatest(
      go_on_after, p_now - case v_catch_up when 'all' then engine.start_key_time() else v_patience end
    );
  end if;
end
$$;

-- Returns the start request of a tick.
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
    -- When a tick is tried again, firedAt differs and the tick does not.
    'fingerprint', tick,
    'input', jsonb_build_object(
      'scheduledAt', tick,
      'firedAt', engine.iso_time(p_now),
      'timezone', coalesce(p_schedule.properties ->> 'timezone', 'UTC')
    )
  )
  from engine.iso_time(p_schedule.next_run_at) as tick
$$;

-- Starts the run of a tick; returns null, or the error that refused it. An error that start_runs()
-- raises becomes INTERNAL, except a transient one, which is raised for another try: a conflict with
-- another transaction, a lack of resources, a month without partition.
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
  when others then
    get stacked diagnostics v_constraint = constraint_name;
    if private.is_transient(sqlstate, v_constraint) then
      raise;
    end if;
    return jsonb_build_object('code', 'INTERNAL', 'message', sqlerrm);
end
$$;

-- Returns the first schedule of each organization, then the second of each, and so on; those whose
-- last start failed come last, so that they do not delay others. Equal ones come in random order:
-- workers that ask at the same time begin with different ones. Locks nothing.
create or replace function engine.due_schedules(p_limit int default 500)
  returns table (
    organization_id uuid,
    workflow_id uuid,
    node text,
    is_quarantined boolean
  )
  language plpgsql
  volatile
  security definer -- definer because the worker reads no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
begin
  return query
    select d.organization_id, d.workflow_id, d.node, d.is_quarantined
    from (
      select
        s.organization_id, s.workflow_id, s.node, s.failures > 0 as is_quarantined,
        row_number() over (partition by s.organization_id, s.failures > 0 order by s.fires_at) as place
      from public.schedules as s
      where s.fires_at <= v_now
        and (select engine.copy_problem()) is null
        -- Schedules of a deleted organization wait until it is restored or purged.
        and exists (
          select from public.organizations as o where o.id = s.organization_id and o.deleted_at is null
        )
    ) as d
    order by d.is_quarantined, d.place, random()
    limit p_limit;
end
$$;
comment on function engine.due_schedules(int) is
  'For workers: the schedules that are due, at most p_limit, alternating between organizations; call fire_schedule for each. is_quarantined: its last start failed or took too long. Example: select * from engine.due_schedules();';

-- Records that firing failed. The tick is tried again after 2 and 4 seconds, then given up with
-- those that were due meanwhile. A schedule whose next time cannot be computed is due again in an
-- hour.
create or replace function engine.fail_schedule(
  p_organization_id uuid,
  p_workflow_id uuid,
  p_node text,
  p_error jsonb
)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because the worker writes no table
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_attempts constant int := 3;
  v_now constant timestamptz := engine.now();
  v_schedule public.schedules;
  v_tick timestamptz;
begin
  select s.* into v_schedule
  from public.schedules as s
  where s.organization_id = p_organization_id
    and s.workflow_id = p_workflow_id
    and s.node = p_node
    and s.fires_at <= v_now
  for no key update skip locked;
  if not found then
    return false;
  end if;
  if v_schedule.failures + 1 >= v_attempts then
    begin
      v_tick := engine.next_tick(v_schedule.properties, greatest(v_schedule.next_run_at, v_now));
    exception
      -- Also on a timeout: what cannot be computed must not be due again every second.
      when query_canceled or others then
        v_tick := null;
    end;
    v_tick := coalesce(v_tick, v_now + interval '1 hour');
  end if;
  update public.schedules as s
  set
    next_run_at = coalesce(v_tick, s.next_run_at),
    fires_at = coalesce(
      v_tick + engine.jitter(s.properties, s.workflow_id, s.node, v_tick),
      v_now + make_interval(secs => 2 ^ (s.failures + 1))
    ),
    last_error = p_error,
    failures = least(s.failures + 1, 1000000)
  where s.organization_id = p_organization_id
    and s.workflow_id = p_workflow_id
    and s.node = p_node;
  return true;
end
$$;
comment on function engine.fail_schedule(uuid, uuid, text, jsonb) is
  'For workers: records why fire_schedule failed, {"code", "message"}. The tick is tried again after 2 and 4 seconds, then given up for the next one; until a start succeeds the schedule is tried once per tick, after all others. False when the schedule is not due any more, or is locked. Example: select engine.fail_schedule(organization_id, workflow_id, node, ''{"code": "TIMEOUT", "message": "…"}'') from engine.due_schedules(1);';

grant execute on function
  engine.due_schedules(int), engine.fire_schedule(uuid, uuid, text), engine.fail_schedule(uuid, uuid, text, jsonb)
  to flowgres_worker, flowgres_dba;
