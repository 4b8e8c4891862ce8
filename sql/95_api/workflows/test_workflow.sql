-- kind: code
-- Tests a definition: the engine computes a run that is never written. Writes nothing. Locks one of
-- the organization's test slots (advisory, tried without waiting) until the transaction ends.

create or replace function public.test_workflow(
  definition jsonb,
  input jsonb default '{}',
  "trigger" text default null,
  pins jsonb default null
)
  returns setof public.workflow_test_event
  language plpgsql
  stable
  security definer -- definer because the engine's functions are nobody else's
  set search_path = pg_catalog, pg_temp
  rows 20
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_request engine.start_request;
  v_compiled engine.compiled_versions;
  v_parts record;
  v_trigger text;
  v_transition engine.transition;
  v_rest engine.advanced;
begin
  perform private.require_scope('workflows:write');
  perform engine.acquire_test_slot(v_organization_id);
  perform engine.refuse_value(pins, 'The pins of a test');
  definition := engine.with_pins(definition, pins);
  perform private.require_valid(definition);
  perform engine.refuse_value(input, 'The input of a run');
  select c.* into v_parts from engine.compile_version(definition) as c;
  v_compiled.organization_id := v_organization_id;
  v_compiled.version := 0;
  v_compiled.nodes := engine.without_isolation(v_parts.nodes); -- the time limit of the statement replaces local steps
  v_compiled.ids := engine.compiled_node_ids(v_parts.nodes);
  v_compiled.vars := v_parts.vars;
  v_compiled.settings := v_parts.settings;
  v_trigger := coalesce("trigger", engine.trigger_for(v_compiled.nodes, 'manual'));
  if (v_compiled.nodes[array_position(v_compiled.ids, v_trigger)]).kind is distinct from 'trigger' then
    perform private.raise_error('NOT_FOUND', format('The definition has no trigger %L.', v_trigger));
  end if;

  v_request.organization_id := v_organization_id;
  v_request.mode := 'manual';
  v_request.input := coalesce(input, '{}');
  v_request.run_id := engine.uuid_v7(engine.now());
  v_transition := engine.start_transition(v_request, v_compiled, v_compiled.nodes, v_trigger, engine.now());
  -- The start ends after 200 steps or when its time is used up; a run goes on in a later
  -- transaction, a test goes on here.
  v_rest := engine.advance(
    v_compiled.nodes, v_compiled.ids, v_request.run_id, v_transition.entries,
    p_budget => null, p_resume_key => v_compiled.resume_key
  );
  return query
  select e.seq, e.type, e.payload from unnest(v_transition.entries || v_rest.entries) as e order by e.seq;
end
$$;
comment on function public.test_workflow(jsonb, jsonb, text, jsonb) is
  'Returns the events that a run of this definition would have. Nothing is stored and no other system is called. Pinned nodes return their pin: pins is an object with outputs by the id of their node, besides the pins of the definition, so that a test goes on past requests, waits and other runs. Leaves out steps without a pin that need a worker, a signal or time, and everything after them. trigger is the id of the node that starts the run; by default a manualTrigger or the first trigger. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED with all problems in details, NOT_FOUND (the trigger), INVALID_ARGUMENT (a pin of no node), TOO_LARGE (an input or pins above 1 MiB), RATE_LIMITED (two other tests of the organization are under way), TIMEOUT (GraphQL: 2 s). Example: select seq, type, payload from test_workflow(''{"nodes": [{"id": "start", "type": "apiTrigger"}], "connections": []}'', ''{"total": 120}'');';

grant execute on function public.test_workflow(jsonb, jsonb, text, jsonb) to flowgres_user, flowgres_dba;

-- Returns a definition with the pins of a test in its nodes. A definition that is malformed stays as
-- it is, to be refused by its validation.
create or replace function engine.with_pins(p_definition jsonb, p_pins jsonb)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_unknown text;
begin
  if coalesce(p_pins, 'null') = 'null' or jsonb_typeof(p_definition -> 'nodes') is distinct from 'array' then
    return p_definition;
  end if;
  if jsonb_typeof(p_pins) <> 'object' then
    perform private.raise_error('INVALID_ARGUMENT', 'Pins are an object: an output for the id of each pinned node.');
  end if;
  select k.node into v_unknown
  from jsonb_object_keys(p_pins) as k (node)
  where not exists (select from jsonb_array_elements(p_definition -> 'nodes') as n where n ->> 'id' = k.node)
  limit 1;
  if v_unknown is not null then
    perform private.raise_error(
      'INVALID_ARGUMENT', format('The definition has no node %L to be pinned.', v_unknown),
      'Name nodes by their id.', jsonb_build_object('field', 'pins', 'node', v_unknown)
    );
  end if;
  return jsonb_set(p_definition, '{nodes}', (
    select jsonb_agg(
      case
        when p_pins ? (n.node ->> 'id') then n.node || jsonb_build_object('pin', p_pins -> (n.node ->> 'id'))
        else n.node
      end
      order by n.place
    )
    from jsonb_array_elements(p_definition -> 'nodes') with ordinality as n (node, place)
  ));
end
$$;

-- Locks a free slot until the transaction ends, without waiting. Raises RATE_LIMITED when none is
-- free.
create or replace function engine.acquire_test_slot(p_organization_id uuid)
  returns void
  language plpgsql
  volatile
as $$
begin
  for v_slot in 1 .. engine.test_slots() loop
    if pg_try_advisory_xact_lock(hashtextextended(format('flowgres.test %s %s', p_organization_id, v_slot), 0)) then
      return;
    end if;
  end loop;
  perform private.raise_error(
    'RATE_LIMITED', format('An organization tests at most %s workflows at a time.', engine.test_slots()),
    'Try again when another test has ended.', '{"retryAfterMs": 1000}'
  );
end
$$;
