-- kind: code
-- Translates one node of n8n. parameters.sql lists the parameters that are known. Writes and locks
-- nothing.

-- Translates a node, with the node after it that makes n8n's item of its output: {"nodes", "ports",
-- "from" (the id that its outputs leave), "problems", "list", "note"}. p_names has "id" and "item".
create or replace function private.n8n_definition_node(
  p_place int,
  p_node jsonb,
  p_names jsonb,
  p_outputs int,
  p_zone text,
  p_places jsonb
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_path constant text[] := array['nodes', p_place::text];
  v_type constant text := regexp_replace(p_node ->> 'type', E'^n8n-nodes-base\\.', '');
  v_version constant numeric := case when jsonb_typeof(p_node -> 'typeVersion') = 'number' then
    (p_node ->> 'typeVersion')::numeric else 99 end;
  v_off constant boolean := coalesce(p_node ->> 'disabled', 'false') = 'true';
  v_beside record := private.n8n_read(p_node, private.n8n_rules('@node', 0), v_path, p_places);
  v_read record := private.n8n_read(
    coalesce(p_node -> 'parameters', '{}'), private.n8n_rules(v_type, least(v_version, 99)),
    v_path || '{parameters}'::text[], p_places
  );
  v_made jsonb := '{}';
  v_options record;
  v_problems jsonb := '[]';
  v_common constant jsonb := jsonb_strip_nulls(jsonb_build_object(
    'name', left(p_node ->> 'name', 200),
    'position', case when jsonb_path_exists(
      p_node, 'strict $.position ? (@[0].type() == "number" && @[1].type() == "number")', '{}', true
    ) then
      jsonb_build_object('x', p_node #> '{position,0}', 'y', p_node #> '{position,1}')
    end
  ));
begin
  if v_off then -- a disabled node passes its input on, whatever its type
    return jsonb_build_object(
      'nodes', jsonb_build_array(v_common || jsonb_build_object(
        'id', p_names -> 'id', 'type', 'noOp', 'disabled', true, 'properties', '{}'::jsonb
      )),
      'ports', '["main"]'::jsonb, 'id', p_names -> 'id', 'from', p_names -> 'id',
      'problems', jsonb_build_array(private.n8n_problem(
        v_path || '{disabled}'::text[], 'a disabled noOp stands for the disabled node'
      ))
    );
  end if;
  v_made := private.n8n_translate(
    v_type, v_version, coalesce(v_read.kept, '{}'), p_outputs, p_zone, v_path || '{parameters}'::text[], p_places
  );
  if not v_made ? 'properties' or private.n8n_is_beyond(v_type, least(v_version, 99), p_node -> 'parameters') then
    return private.n8n_stub(
      v_path, p_node, p_names, v_common, p_outputs,
      v_beside.problems || case when v_made ? 'type' then v_read.problems else '[]' end
        || coalesce(v_made -> 'problems', '[]')
    );
  end if;
  v_options := private.n8n_node_options(v_beside.kept, v_made ->> 'type', v_path);
  return jsonb_build_object(
    'nodes', jsonb_build_array(
      v_common || v_options.options || coalesce(v_made -> 'node', '{}') || jsonb_build_object(
        'id', p_names -> 'id', 'type', v_made -> 'type', 'properties', v_made -> 'properties'
      ) || case when v_made ? 'strict' then '{"strict": true}'::jsonb else '{}' end
    ) || case when v_made ? 'item' then jsonb_build_array(jsonb_build_object(
      'id', p_names -> 'item', 'type', 'transform', 'name', left(p_node ->> 'name', 190) || ': item',
      'properties', v_made -> 'item'
    )) else '[]' end,
    'ports', v_made -> 'ports', 'onError', v_options.options -> 'onError',
    'id', p_names -> 'id', 'from', p_names -> case when v_made ? 'item' then 'item' else 'id' end,
    'list', v_made -> 'list', 'note', v_made -> 'note', 'type', v_made -> 'type',
    'problems', v_beside.problems || v_read.problems || coalesce(v_made -> 'problems', '[]') || v_options.problems
  );
end
$$;

-- Calls the function that translates the node's type, with the known parameters; {} for a type
-- without a counterpart. p_outputs: how many outputs of the node have a connection.
create or replace function private.n8n_translate(
  p_type text,
  p_version numeric,
  p_parameters jsonb,
  p_outputs int,
  p_zone text,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return case
    when p_type in ('manualTrigger', 'start') then '{"type": "manualTrigger"}'::jsonb || private.n8n_plain()
    when p_type = 'errorTrigger' then '{"type": "errorTrigger"}'::jsonb || private.n8n_plain()
    when p_type = 'executeWorkflowTrigger' then '{"type": "subworkflowTrigger"}'::jsonb || private.n8n_plain()
    when p_type = 'noOp' then '{"type": "noOp"}'::jsonb || private.n8n_plain()
    when p_type = 'webhook' then private.n8n_webhook(p_parameters, p_path)
    when p_type in ('scheduleTrigger', 'cron') then private.n8n_schedule(p_type, p_parameters, p_zone, p_path)
    when p_type in ('if', 'filter') then private.n8n_if(p_type, p_version, p_parameters, p_path, p_places)
    when p_type = 'switch' then private.n8n_switch(p_version, p_parameters, p_outputs, p_path, p_places)
    when p_type = 'merge' then private.n8n_merge(p_version, p_parameters, p_path)
    when p_type = 'set' then private.n8n_set(p_version, p_parameters, p_path, p_places)
    when p_type = 'httpRequest' then private.n8n_http_request(p_version, p_parameters, p_path, p_places)
    when p_type = 'respondToWebhook' then private.n8n_respond(p_parameters, p_path, p_places)
    when p_type = 'wait' then private.n8n_wait(p_version, p_parameters, p_path)
    when p_type = 'executeWorkflow' then private.n8n_execute_workflow(p_parameters, p_path)
    when p_type = '@loop' then private.n8n_for_each(p_parameters, p_path)
    when p_type = 'stopAndError' then private.n8n_stop(p_parameters, p_path, p_places)
    else '{}'
  end;
end
$$;

-- The properties and ports of a node whose type is all that has to be translated.
create or replace function private.n8n_plain()
  returns jsonb
  language sql
  immutable
as $$
  select '{"properties": {}, "ports": ["main"]}'::jsonb
$$;

-- The settings of a node beside its properties. n8n tries once unless retries are on, and waits
-- equally long between.
create or replace function private.n8n_node_options(
  p_node jsonb,
  p_type text,
  p_path text[],
  out options jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_tries constant int := case
    when p_node ->> 'maxTries' ~ '^[0-9]{1,3}$' then least(greatest((p_node ->> 'maxTries')::int, 2), 5) else 3
  end;
  v_pause constant int := case
    when p_node ->> 'waitBetweenTries' ~ '^[0-9]{1,7}$' then least((p_node ->> 'waitBetweenTries')::int, 5000) else 1000
  end;
  v_continues constant boolean := p_node ->> 'onError' = 'continueRegularOutput'
    or not p_node ? 'onError' and p_node ->> 'continueOnFail' = 'true';
begin
  options := jsonb_strip_nulls(jsonb_build_object(
    'notes', case when jsonb_typeof(p_node -> 'notes') = 'string' then nullif(left(p_node ->> 'notes', 5000), '') end,
    'onError', case when p_type ~ 'Trigger$' then null
      when p_node ->> 'onError' = 'continueErrorOutput' then 'errorOutput'
      when v_continues then 'continue'
    end,
    'retry', case
      when p_type <> 'httpRequest' then null
      when p_node ->> 'retryOnFail' = 'true' then jsonb_build_object(
        'maxAttempts', v_tries, 'backoff', 'fixed', 'initialMs', v_pause, 'maxMs', v_pause, 'jitter', false
      )
      else '{"maxAttempts": 1}'
    end
  ));
  select coalesce(jsonb_agg(private.n8n_problem(p_path || f.key, f.message)), '[]')
  into problems
  from (
    values
      (options ? 'onError' and p_type in ('httpRequest', 'executeWorkflow'),
        case when p_node ? 'onError' then 'onError' else 'continueOnFail' end,
        'what follows gets {"error": {"code", "message"}} of a failure, which is not what n8n gives'),
      (p_node ->> 'retryOnFail' = 'true' and p_type = 'httpRequest', 'retryOnFail',
        'only failures that may pass, such as 429 and 503, are tried again'),
      (p_node ->> 'retryOnFail' = 'true' and p_type = 'executeWorkflow', 'retryOnFail', 'a child is not tried again'),
      (p_node ->> 'onError' not in ('stopWorkflow', 'continueErrorOutput', 'continueRegularOutput'), 'onError',
        'there is no such value')
  ) as f (is_so, key, message)
  where f.is_so;
end
$$;

-- The node that stands for one without a counterpart. Validation refuses it (UNCONVERTED_NODE), so
-- it must be replaced.
create or replace function private.n8n_stub(
  p_path text[],
  p_node jsonb,
  p_names jsonb,
  p_common jsonb,
  p_outputs int,
  p_problems jsonb
)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'nodes', jsonb_build_array(p_common || jsonb_build_object(
      'id', coalesce(p_names -> 'item', p_names -> 'id'), 'type', 'unconverted',
      'properties', jsonb_build_object('from', p_node -> 'type', 'typeVersion', p_node -> 'typeVersion') || case
        when length((p_node -> 'parameters')::text) < 10000
          and not jsonb_path_exists(p_node -> 'parameters', 'strict $.**{40}')
          then jsonb_build_object('parameters', p_node -> 'parameters')
        else '{}'
      end
    )),
    'ports', coalesce((
      select jsonb_agg(case n when 0 then 'main' else n::text end order by n)
      from generate_series(0, p_outputs - 1) as n
    ), '[]'),
    'id', coalesce(p_names -> 'item', p_names -> 'id'), 'from', coalesce(p_names -> 'item', p_names -> 'id'),
    'type', 'unconverted',
    'problems', p_problems || private.n8n_problem(p_path, format(
      '%s has no counterpart as it is used here; replace the node unconverted that stands for it%s',
      left(p_node ->> 'type', 200),
      case p_node ->> 'type'
        when 'n8n-nodes-base.splitInBatches'
          then ': only loops over single items, each way of which leads back, are taken over; move what it does to a '
            'workflow of its own, and run that with forEach'
        else ''
      end
    ))
  )
$$;
