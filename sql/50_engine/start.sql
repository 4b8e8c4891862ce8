-- kind: code
-- Starts runs, a batch at a time. Pure nodes are evaluated here and now: a run of nothing else is finished when the
-- transaction commits, and costs no worker a round trip.

create type engine.start_request as (
  index int,
  organization_id uuid,
  workflow_id uuid,
  version int,
  mode text,
  trigger text,
  input jsonb,
  key text,
  fingerprint text, -- what must be equal for the same key to be the same request; the whole input when null
  started_by uuid,
  metadata jsonb,
  run_id uuid,
  duplicate_of uuid,
  error jsonb
);

create or replace function engine.request_error(p_code text, p_message text)
  returns jsonb
  language sql
  stable
  parallel safe
as $$
  select jsonb_build_object('code', p_code, 'message', p_message)
$$;

-- A request that is not a start at all is answered with an error, not an exception: the others of its batch go on.
create or replace function engine.parse_start(p_request jsonb, p_index int, p_now timestamptz)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
begin
  v_request.index := p_index;
  begin
    v_request.organization_id := p_request ->> 'organizationId';
    v_request.workflow_id := p_request ->> 'workflowId';
    v_request.version := p_request ->> 'version';
    v_request.started_by := p_request ->> 'startedBy';
  exception
    when data_exception then
      v_request.error := engine.request_error('INVALID_ARGUMENT', sqlerrm);
      return v_request;
  end;
  v_request.mode := coalesce(p_request ->> 'mode', 'api');
  v_request.trigger := p_request ->> 'trigger';
  v_request.input := coalesce(p_request -> 'input', '{}');
  v_request.key := p_request ->> 'key';
  v_request.fingerprint := p_request ->> 'fingerprint';
  v_request.metadata := p_request -> 'metadata';
  v_request.run_id := engine.uuid_v7(p_now);
  v_request.error := case
    when v_request.organization_id is null or v_request.workflow_id is null
      then engine.request_error('INVALID_ARGUMENT', 'A start names its organizationId and its workflowId.')
    when v_request.mode not in ('manual', 'webhook', 'api', 'schedule')
      then engine.request_error('INVALID_ARGUMENT', 'The mode of a start is manual, webhook, api or schedule.')
    when length(v_request.key) not between 1 and 256
      then engine.request_error('INVALID_ARGUMENT', 'An idempotency key has 1 to 256 characters.')
    when jsonb_typeof(v_request.metadata) not in ('object', 'null')
      then engine.request_error('INVALID_ARGUMENT', 'The metadata of a run is an object.')
    when pg_column_size(v_request.input) > 1048576
      then engine.request_error('TOO_LARGE', 'The input of a run is at most 1 MiB.')
  end;
  return v_request;
end
$$;

-- Marks the requests whose key was used before: the same input is answered with the same run, another is a conflict.
create or replace function engine.claim_keys(p_requests engine.start_request[], p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
  v_hash bytea;
  v_holder engine.start_keys;
begin
  for v_place in 1 .. cardinality(p_requests) loop
    v_request := p_requests[v_place];
    if v_request.key is not null and v_request.error is null then
      v_hash := sha256(convert_to(coalesce(v_request.fingerprint, v_request.input::text), 'UTF8'));
      insert into engine.start_keys as k (organization_id, workflow_id, key, run_id, request_hash, expires_at)
      values (
        v_request.organization_id, v_request.workflow_id, v_request.key, v_request.run_id, v_hash,
        p_now + interval '7 days'
      )
      on conflict (organization_id, workflow_id, key) do update set
        run_id = case when k.expires_at < p_now then excluded.run_id else k.run_id end,
        request_hash = case when k.expires_at < p_now then excluded.request_hash else k.request_hash end,
        expires_at = case when k.expires_at < p_now then excluded.expires_at else k.expires_at end
      returning * into v_holder;
      if v_holder.run_id <> v_request.run_id then
        if v_holder.request_hash = v_hash then
          v_request.duplicate_of := v_holder.run_id;
        else
          v_request.error := engine.request_error(
            'CONFLICT', 'This idempotency key was used with another input.'
          );
        end if;
        p_requests[v_place] := v_request;
      end if;
    end if;
  end loop;
  return p_requests;
end
$$;

create or replace function engine.start_runs(p_requests jsonb)
  returns table (
    index int,
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    duplicate boolean
  )
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_requests engine.start_request[];
  v_request engine.start_request;
  v_keyed boolean := false;
  v_plan engine.plans;
  v_asked int; -- the version that the request asked for, 0 is the published one
  v_nodes engine.plan_node[];
  v_run public.workflow_runs;
  v_trigger text;
  v_entry engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_change engine.run_change;
  v_runs public.workflow_runs[];
  v_events engine.new_event[];
  v_steps engine.open_steps[];
  v_step engine.open_steps;
  v_wake_ups engine.wake_up[];
begin
  -- In one order everywhere, so that batches never wait for each other in a circle.
  v_requests := array(
    select engine.parse_start(r.request, (r.place - 1)::int, v_now)
    from jsonb_array_elements(p_requests) with ordinality as r (request, place)
    order by r.request ->> 'organizationId', r.request ->> 'workflowId', r.request ->> 'key', r.place
  );
  if p_requests @? '$[*].key' then
    v_requests := engine.claim_keys(v_requests, v_now);
  end if;

  foreach v_request in array v_requests loop
    index := v_request.index;
    run_id := null;
    status := null;
    output := null;
    response := null;
    error := v_request.error;
    duplicate := v_request.duplicate_of is not null;

    if error is null and not duplicate
      and (v_plan.organization_id, v_plan.workflow_id, v_asked) is distinct from
        (v_request.organization_id, v_request.workflow_id, coalesce(v_request.version, 0))
    then
      select p.* into v_plan
      from public.workflows as w
      join engine.plans as p
        on p.organization_id = w.organization_id
        and p.workflow_id = w.id
        and p.version = coalesce(v_request.version, w.published_version)
      where w.organization_id = v_request.organization_id
        and w.id = v_request.workflow_id
        and w.archived_at is null;
      v_nodes := v_plan.nodes;
      v_asked := coalesce(v_request.version, 0);
    end if;
    if error is null and not duplicate and v_plan.version is null then
      error := engine.start_refusal(v_request);
    elsif error is null and not duplicate then
      v_trigger := coalesce(v_request.trigger, engine.trigger_for(v_nodes, v_request.mode));
      if (v_nodes[array_position(v_plan.ids, v_trigger)]).kind is distinct from 'trigger' then
        error := engine.request_error('NOT_FOUND', format('The workflow has no trigger %L.', v_trigger));
      end if;
    end if;

    if duplicate then
      run_id := v_request.duplicate_of;
      status := (select r.status from public.workflow_runs as r where r.id = v_request.duplicate_of);
    elsif error is null then
      v_run.id := v_request.run_id;
      v_run.organization_id := v_request.organization_id;
      v_run.workflow_id := v_request.workflow_id;
      v_run.version := v_plan.version;
      v_run.mode := v_request.mode;
      v_run.started_by := v_request.started_by;
      v_run.priority := coalesce((v_plan.settings ->> 'priority')::smallint, 0);
      v_run.started_at := v_now;
      v_run.deadline_at := v_now
        + make_interval(secs => (v_plan.settings ->> 'deadlineMs')::double precision / 1000);
      v_run.metadata := v_request.metadata;

      v_entry := row(1, v_now, 'run.created', jsonb_build_object(
        'workflowId', v_run.workflow_id,
        'version', v_run.version,
        'mode', v_run.mode,
        'trigger', v_trigger,
        'input', v_request.input,
        'vars', '{}'::jsonb
      ));
      v_events := v_events || row(
        v_run.organization_id, v_run.id, 1, v_now, v_entry.type, v_entry.payload
      )::engine.new_event;
      v_advanced := engine.advance(
        v_nodes, v_plan.ids, v_run.id, array[v_entry]
      );
      foreach v_entry in array coalesce(v_advanced.entries, '{}') loop
        v_events := v_events || row(
          v_run.organization_id, v_run.id, v_entry.seq, v_entry.ts, v_entry.type, v_entry.payload
        )::engine.new_event;
        if v_entry.type = 'run.responded' then
          response := v_entry.payload - 'node';
        end if;
      end loop;

      v_run.status := 'waiting';
      foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
        v_step := null;
        v_step.organization_id := v_run.organization_id;
        v_step.run_id := v_run.id;
        v_step.node := v_opened.node;
        v_step.state := v_opened.state;
        v_step.attempt := 0;
        v_step.failures := 0;
        v_step.deaths := 0;
        v_step.run_at := coalesce(v_opened.until, v_now);
        v_steps := v_steps || v_step;
        v_wake_ups := v_wake_ups
          || row(v_run.id, v_opened.node, v_step.run_at, v_run.priority)::engine.wake_up;
        if v_opened.state = 'queued' then
          v_run.status := 'running';
        end if;
      end loop;
      v_change := engine.run_change(v_run.id, v_entry, v_run.status = 'waiting', null);
      v_run.status := v_change.status;
      v_run.finished_at := v_change.finished_at;
      v_run.error := v_change.error;
      v_runs := v_runs || v_run;

      run_id := v_run.id;
      status := v_run.status;
      error := v_run.error;
      if status = 'success' then
        output := v_entry.payload -> 'output';
      end if;
    elsif v_request.key is not null then
      delete from engine.start_keys as k where k.run_id = v_request.run_id;
    end if;
    return next;
  end loop;

  if v_runs is not null then
    insert into public.workflow_runs select r.* from unnest(v_runs) as r;
    perform engine.insert_events(v_events);
    if v_steps is not null then
      perform engine.open_steps(v_steps);
      perform engine.wake_up(v_wake_ups);
    end if;
    perform engine.notify(array(select r.id from unnest(v_runs) as r));
  end if;
end
$$;

-- Why there is no plan to run.
create or replace function engine.start_refusal(p_request engine.start_request)
  returns jsonb
  language sql
  stable
as $$
  select coalesce(
    (
      select case
        when w.archived_at is not null
          then engine.request_error('NOT_PUBLISHED', 'The workflow is archived; it starts no runs.')
        when p_request.version is not null
          then engine.request_error('NOT_FOUND', format('The workflow has no version %s.', p_request.version))
        else engine.request_error(
          'NOT_PUBLISHED', 'The workflow has no published version; call publish_workflow first.'
        )
      end
      from public.workflows as w
      where w.organization_id = p_request.organization_id
        and w.id = p_request.workflow_id
    ),
    engine.request_error('NOT_FOUND', 'There is no such workflow.')
  )
$$;

revoke execute on function engine.start_runs(jsonb) from public;
grant execute on function engine.start_runs(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;
