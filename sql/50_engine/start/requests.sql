-- kind: code
-- Reads and checks the requests of start_runs(), and finds the version that each one starts. Writes
-- nothing itself; start_keys.sql claims the idempotency keys.

-- Returns the error of one request, for its answer; nothing is raised.
create or replace function engine.request_error(p_code text, p_message text)
  returns jsonb
  language sql
  stable
  parallel safe
as $$
  select jsonb_build_object('code', p_code, 'message', p_message)
$$;

-- Parses and checks one request. A request that is malformed gets an error and raises none, so that
-- the others of its batch go on.
create or replace function engine.parse_start(p_request jsonb, p_index int, p_now timestamptz)
  returns engine.start_request
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
  v_problem text;
begin
  v_request.index := p_index;
  begin
    v_request.organization_id := p_request ->> 'organizationId';
    v_request.workflow_id := p_request ->> 'workflowId';
    v_request.version := p_request ->> 'version';
    v_request.priority := p_request ->> 'priority';
    v_request.started_by := p_request ->> 'startedBy';
    v_request.parent_run_id := p_request #>> '{parent,run}';
    v_request.parent_index := p_request #>> '{parent,index}';
  exception
    when data_exception then
      v_request.error := engine.request_error('INVALID_ARGUMENT', sqlerrm);
      return v_request;
  end;
  v_request.mode := coalesce(p_request ->> 'mode', 'api');
  v_request.parent_node := p_request #>> '{parent,node}';
  v_request.trigger := p_request ->> 'trigger';
  v_request.input := coalesce(p_request -> 'input', '{}');
  v_request.key := p_request ->> 'key';
  v_request.fingerprint := p_request ->> 'fingerprint';
  if p_request ? 'keyBy' then
    v_request := engine.derive_key(v_request, p_request -> 'keyBy');
  end if;
  v_request.metadata := nullif(p_request -> 'metadata', 'null');
  v_request.origin := nullif(p_request -> 'origin', 'null');
  v_request.is_claimed := p_request -> 'claim' = 'true';
  v_request.run_id := engine.uuid_v7(p_now);
  v_request.error := case
    when v_request.organization_id is null or v_request.workflow_id is null
      then engine.request_error('INVALID_ARGUMENT', 'A start names its organizationId and its workflowId.')
    when v_request.mode not in ('manual', 'webhook', 'api', 'schedule', 'error', 'table')
      and (v_request.mode <> 'child' or v_request.parent_run_id is null)
      then engine.request_error(
        'INVALID_ARGUMENT', 'The mode of a start is manual, webhook, api, schedule, error or table.'
      )
    when v_request.priority not between -1000 and 1000
      then engine.request_error('INVALID_ARGUMENT', 'The priority of a run is a number from -1000 to 1000.')
    when length(v_request.key) not between 1 and engine.max_key_length()
      then engine.request_error('INVALID_ARGUMENT', 'An idempotency key has 1 to 256 characters.')
    when jsonb_typeof(v_request.metadata) <> 'object'
      then engine.request_error('INVALID_ARGUMENT', 'The metadata of a run is an object.')
  end;
  if v_request.error is null and v_request.metadata is not null then
    v_problem := engine.value_problem(v_request.metadata, p_bytes => engine.max_small_value_bytes());
    v_request.error := case when v_problem is not null
      then engine.request_error('TOO_LARGE', format('The metadata of a run %s.', v_problem))
    end;
  end if;
  if v_request.error is null and pg_column_size(v_request.input) > 512 then
    v_problem := engine.excess(v_request.input);
    v_request.error := case when v_problem is not null
      then engine.request_error('TOO_LARGE', format('The input of a run %s.', v_problem))
    end;
  end if;
  return v_request;
end
$$;

-- Returns the requests of a batch, parsed and sorted by organization, workflow and key. Every batch
-- locks in this order, so two of them cannot deadlock.
create or replace function engine.read_starts(p_requests jsonb, p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_requests engine.start_request[] := array(
    select engine.parse_start(r.request, (r.place - 1)::int, p_now)
    from jsonb_array_elements(p_requests) with ordinality as r (request, place)
    order by r.request ->> 'organizationId', r.request ->> 'workflowId', r.request ->> 'key', r.place
  );
begin
  if p_requests @? '$[*].keyBy' then
    v_requests := array(
      select r
      from unnest(v_requests) as r
      order by r.organization_id::text, r.workflow_id::text, r.key, r.index
    );
  end if;
  if p_requests @? '$[*] ? (exists(@.key) || exists(@.keyBy))' then
    v_requests := engine.claim_keys(v_requests, p_now);
  end if;
  return v_requests;
end
$$;

-- Returns the compiled version that a request starts: the one that it names, or the published one;
-- all null when there is none. Adds the team of the workflow to the settings, which saves a
-- look-up.
create or replace function engine.version_to_start(p_request engine.start_request)
  returns engine.compiled_versions
  language plpgsql
  stable
as $$
declare
  v_compiled engine.compiled_versions;
begin
  select
    p.organization_id, p.workflow_id, p.version, p.nodes, p.ids, p.vars,
    case when w.team_id is null then p.settings else p.settings || jsonb_build_object('team', w.team_id) end,
    p.resume_key, p.quarantined_at
  into v_compiled
  from public.workflows as w
  join engine.compiled_versions as p
    on p.organization_id = w.organization_id
    and p.workflow_id = w.id
    and p.version = coalesce(p_request.version, w.published_version)
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id
    and w.archived_at is null;
  return v_compiled;
end
$$;

-- Returns the trigger that a start without one fires: the first one for its mode, else the first
-- one.
create or replace function engine.trigger_for(p_nodes engine.compiled_node[], p_mode text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_wanted constant text := case p_mode
    when 'retry' then 'manual'
    when 'child' then 'subworkflow'
    else p_mode
  end || 'Trigger@';
  v_node engine.compiled_node;
  v_first text;
begin
  foreach v_node in array coalesce(p_nodes, '{}') loop
    if v_node.kind = 'trigger' then
      if starts_with(v_node.type, v_wanted) then
        return v_node.id;
      end if;
      v_first := coalesce(v_first, v_node.id);
    end if;
  end loop;
  return v_first;
end
$$;

-- Returns why a request starts no run; null when it may. p_version: of the compiled version that
-- was found; p_kind: of its trigger node.
create or replace function engine.start_refusal(p_request engine.start_request, p_version int, p_kind text)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_workflow public.workflows;
begin
  if p_version is not null and p_kind = 'trigger' then
    return null;
  end if;
  select w.* into v_workflow
  from public.workflows as w
  where w.organization_id = p_request.organization_id
    and w.id = p_request.workflow_id;
  return case
    when v_workflow.id is null
      then engine.request_error('NOT_FOUND', 'There is no such workflow.')
    when v_workflow.archived_at is not null
      then engine.request_error('NOT_PUBLISHED', 'The workflow is archived; it starts no runs.')
    when p_version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no trigger %L.', p_request.trigger))
    when p_request.version is not null
      then engine.request_error('NOT_FOUND', format('The workflow has no version %s.', p_request.version))
    else engine.request_error(
      'NOT_PUBLISHED', 'The workflow has no published version; call publish_workflow first.'
    )
  end;
end
$$;
