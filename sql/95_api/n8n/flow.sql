-- kind: code
-- Translates n8n's switch, merge, wait, executeWorkflow and stopAndError. For what the functions
-- return see branches.sql. Writes and locks nothing.

-- In n8n an output without a rule leads nowhere; here it gets a rule that never holds. p_outputs:
-- how many outputs of the node have a connection.
create or replace function private.n8n_switch(
  p_version numeric,
  p_parameters jsonb,
  p_outputs int,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_read constant record := private.n8n_switch_rules(p_version, p_parameters, p_path, p_places);
  v_fallback constant text := coalesce(
    p_parameters #>> '{options,fallbackOutput}', p_parameters ->> 'fallbackOutput', 'none'
  );
  v_rules jsonb := v_read.rules;
  v_problems jsonb := v_read.problems;
  v_count constant int := case when p_version < 3 then 4 else jsonb_array_length(v_read.rules) end;
  v_ports constant jsonb := (
    select jsonb_agg(case when n = v_count and v_fallback = 'extra' then 'fallback' else n::text end order by n)
    from generate_series(0, greatest(p_outputs - 1, v_count)) as n
  );
begin
  if v_fallback not in ('none', 'extra', '-1') and v_fallback !~ '^[0-9]$' then
    v_problems := v_problems || private.n8n_problem(
      p_path || case when p_version < 3 then '{fallbackOutput}' else '{options,fallbackOutput}' end::text[],
      'the fallback is no output'
    );
  end if;
  v_rules := v_rules || coalesce((
    select jsonb_agg(jsonb_build_object('when', false, 'port', n.port) order by n.port)
    from jsonb_array_elements_text(v_ports) as n (port)
    where n.port <> 'fallback' and n.port <> v_fallback and not exists (
      select
      from jsonb_array_elements(v_rules) with ordinality as r (rule, place)
      where coalesce(r.rule ->> 'port', (r.place - 1)::text) = n.port
    )
  ), '[]');
  return jsonb_build_object('type', 'switch', 'strict', true, 'ports', v_ports, 'problems', v_problems) || case
    when v_problems = '[]' then jsonb_build_object('properties', jsonb_build_object('rules', v_rules) || case
      when v_fallback ~ '^[0-9]$' then jsonb_build_object('fallback', v_fallback) else '{}'
    end)
    else '{}'
  end;
end
$$;

-- Translates the modes of merge that have a counterpart; each of them gives a list.
create or replace function private.n8n_merge(p_version numeric, p_parameters jsonb, p_path text[])
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_mode constant text := coalesce(p_parameters ->> 'mode', 'append');
  v_by constant text := case
    when v_mode <> 'combine' then v_mode
    else coalesce(p_parameters ->> 'combineBy', p_parameters ->> 'combinationMode', 'combineByFields')
  end;
  v_fields constant text[] := array[
    coalesce(
      p_parameters ->> 'fieldsToMatchString', p_parameters #>> '{mergeByFields,values,0,field1}',
      p_parameters ->> 'propertyName1'
    ),
    coalesce(
      p_parameters ->> 'fieldsToMatchString', p_parameters #>> '{mergeByFields,values,0,field2}',
      p_parameters ->> 'propertyName2'
    )
  ];
  v_join constant text := case coalesce(p_parameters ->> 'joinMode', 'keepMatches')
    when 'keepMatches' then 'inner' when 'keepEverything' then 'outer' when 'enrichInput1' then 'left'
  end;
  v_properties jsonb;
begin
  v_properties := case
    when v_mode = 'append' then '{"mode": "append"}'
    when v_by in ('combineByPosition', 'mergeByPosition') then jsonb_build_object(
      'mode', 'position', 'join',
      case p_parameters #>> '{options,includeUnpaired}' when 'true' then 'outer' else 'inner' end
    )
    when v_by in ('combineByFields', 'mergeByFields') and p_version >= 2 and v_join is not null
      and v_fields[1] ~ '^[^,.]+$' and v_fields[2] ~ '^[^,.]+$'
      and jsonb_array_length(coalesce(p_parameters #> '{mergeByFields,values}', '[]')) < 2
      then jsonb_build_object('mode', 'fields', 'by', v_fields[1], 'bySecond', v_fields[2], 'join', v_join)
  end;
  return jsonb_build_object('type', 'merge', 'ports', '["main"]'::jsonb) || case
    when v_properties is null then jsonb_build_object('problems', jsonb_build_array(private.n8n_problem(
      p_path, 'merges here append, or combine by position or by one field with the joins inner, left and outer'
    )))
    else jsonb_build_object('properties', v_properties, 'list', true)
  end;
end
$$;

create or replace function private.n8n_wait(p_version numeric, p_parameters jsonb, p_path text[])
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_amount constant text := coalesce(p_parameters ->> 'amount', case when p_version < 1.1 then '1' else '5' end);
  v_factor constant int := case
    coalesce(p_parameters ->> 'unit', case when p_version < 1.1 then 'hours' else 'seconds' end)
    when 'seconds' then 1 when 'minutes' then 60 when 'hours' then 3600 when 'days' then 86400
  end;
begin
  return '{"type": "wait", "ports": ["main"]}'::jsonb || case
    when v_amount !~ E'^[0-9]{1,6}(\\.[0-9]{1,6})?$' or v_factor is null or v_amount::numeric * v_factor > 157680000
      then jsonb_build_object('problems', jsonb_build_array(private.n8n_problem(
        p_path || '{amount}'::text[], 'the time to wait is a number of at most 5 years'
      )))
    else jsonb_build_object('properties', jsonb_build_object('seconds', v_amount::numeric * v_factor))
  end;
end
$$;

-- Takes over the name of the workflow to call. Its id in n8n means nothing here.
create or replace function private.n8n_execute_workflow(p_parameters jsonb, p_path text[])
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'type', 'executeWorkflow', 'ports', '["main"]'::jsonb,
    'properties', jsonb_strip_nulls(jsonb_build_object(
      'workflow', w.name,
      'wait', case p_parameters #>> '{options,waitForSubWorkflow}' when 'false' then false end
    )),
    'problems', jsonb_build_array(private.n8n_problem(
      p_path || '{workflowId}'::text[], 'the workflow is called by its name here, import it, too: ' || w.name
    ))
  )
  from (
    values (left(coalesce(
      nullif(p_parameters #>> '{workflowId,cachedResultName}', ''), nullif(p_parameters #>> '{workflowId,value}', ''),
      nullif(p_parameters ->> 'workflowId', ''), '?'
    ), 200))
  ) as w (name)
$$;

create or replace function private.n8n_stop(p_parameters jsonb, p_path text[], p_places jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select '{"type": "stopAndError", "ports": ["main"]}'::jsonb || case
    when coalesce(p_parameters ->> 'errorMessage', '') = '' then jsonb_build_object('problems', jsonb_build_array(
      private.n8n_problem(p_path || '{errorMessage}'::text[], 'the message is missing')
    ))
    else jsonb_build_object(
      'properties', jsonb_build_object('message', private.n8n_value(p_parameters -> 'errorMessage', p_places))
    )
  end
$$;
