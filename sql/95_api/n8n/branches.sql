-- kind: code
-- Translates n8n's if, filter and switch. Each function returns {"type", "properties", "strict",
-- "ports", "problems"}; without `properties` the node has no counterpart. p_parameters: what
-- n8n_read kept of the node's parameters; p_path: their place in the document. Writes and locks
-- nothing.

-- n8n's filter becomes an `if` that has the port `true` only: an item passes or not.
create or replace function private.n8n_if(
  p_type text,
  p_version numeric,
  p_parameters jsonb,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_any constant boolean := coalesce(p_parameters ->> 'combineOperation', '') = 'any'
    or coalesce(p_parameters ->> 'combineConditions', '') = 'OR';
  v_result constant jsonb := case
    when p_version < 2 then private.n8n_first_conditions(
      coalesce(p_parameters -> 'conditions', '{}'), v_any, p_path || '{conditions}'::text[], p_places
    )
    else private.n8n_conditions(
      coalesce(p_parameters -> 'conditions', '{"conditions": []}'), p_parameters, p_path || '{conditions}'::text[],
      p_places
    )
  end;
begin
  return v_result - 'when' || jsonb_build_object(
    'type', 'if', 'strict', true,
    'ports', case p_type when 'filter' then '["true"]' else '["true", "false"]' end::jsonb
  ) || case when v_result ? 'when' then
    jsonb_build_object('properties', jsonb_build_object('when', v_result -> 'when')) else '{}'
  end;
end
$$;

-- Translates the list of conditions of version 2 and later: {"text"} or {"problems"}.
create or replace function private.n8n_conditions(
  p_conditions jsonb,
  p_parameters jsonb,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_known constant jsonb := '{
    "combinator": {"=": {"becomes": "literal", "allowed": ["and", "or"]}},
    "options": {
      "caseSensitive": {"=": {"becomes": "literal"}}, "typeValidation": {"=": {"becomes": "literal"}},
      "version": {"=": {"becomes": "none"}},
      "leftValue": {"=": {"becomes": "only", "allowed": [""], "message": "each condition has its own"}}
    },
    "conditions": {"*": {
      "id": {"=": {"becomes": "none"}}, "leftValue": {"=": {"becomes": "own"}}, "rightValue": {"=": {"becomes": "own"}},
      "operator": {
        "type": {"=": {"becomes": "literal"}}, "operation": {"=": {"becomes": "literal"}},
        "rightType": {"=": {"becomes": "literal"}}, "singleValue": {"=": {"becomes": "none"}},
        "name": {"=": {"becomes": "none"}}
      }
    }}
  }';
  v_read record := private.n8n_read(p_conditions, v_known, p_path, p_places);
  v_problems jsonb := v_read.problems;
  v_condition record;
  v_texts text[] := '{}';
  v_loose constant boolean := coalesce(v_read.kept #>> '{options,typeValidation}', 'strict') <> 'strict'
    or coalesce(p_parameters ->> 'looseTypeValidation', 'false') <> 'false'
    or coalesce(p_parameters #>> '{options,looseTypeValidation}', 'false') <> 'false';
  v_ignore constant boolean := coalesce(v_read.kept #>> '{options,caseSensitive}', 'true') <> 'true'
    or coalesce(p_parameters #>> '{options,ignoreCase}', 'false') <> 'false';
  v_text text;
begin
  for v_condition in
    select c.item, (c.place - 1)::text as place
    from jsonb_array_elements(
      case jsonb_typeof(v_read.kept -> 'conditions') when 'array' then v_read.kept -> 'conditions' end
    )
      with ordinality as c (item, place)
  loop
    v_text := private.n8n_condition(
      v_condition.item -> 'leftValue', v_condition.item #>> '{operator,type}',
      v_condition.item #>> '{operator,operation}', v_condition.item -> 'rightValue', v_ignore, v_loose, false, p_places
    );
    if v_text is null then
      v_problems := v_problems || private.n8n_problem(
        p_path || array['conditions', v_condition.place],
        'the condition has no counterpart of the same meaning; write it anew'
      );
    end if;
    v_texts := v_texts || v_text;
  end loop;
  if jsonb_typeof(v_read.kept -> 'conditions') is distinct from 'array' then
    v_problems := v_problems || private.n8n_problem(p_path, 'there is no list of conditions');
  end if;
  return jsonb_build_object('problems', v_problems) || case
    when v_problems <> '[]' then '{}'
    when v_texts = '{}' then jsonb_build_object('when', coalesce(v_read.kept ->> 'combinator', 'and') <> 'or')
    else jsonb_build_object('when', array_to_string(
      v_texts, case v_read.kept ->> 'combinator' when 'or' then ' || ' else ' && ' end
    ))
  end;
end
$$;

-- Translates the conditions of version 1, which stand in one list for each type.
create or replace function private.n8n_first_conditions(
  p_conditions jsonb,
  p_any boolean,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_item jsonb := '{"=": {"becomes": "own"}}';
  v_rules constant jsonb := jsonb_build_object('*', jsonb_build_object(
    'value1', v_item, 'value2', v_item, 'operation', '{"=": {"becomes": "literal"}}'::jsonb
  ));
  v_read constant record := private.n8n_read(
    p_conditions, jsonb_build_object('string', v_rules, 'number', v_rules, 'boolean', v_rules), p_path, p_places
  );
  v_problems jsonb := v_read.problems;
  v_condition record;
  v_texts text[] := '{}';
  v_text text;
begin
  for v_condition in
    select t.key as type, c.item, (c.place - 1)::text as place
    from jsonb_each(case jsonb_typeof(v_read.kept) when 'object' then v_read.kept end) as t
    cross join jsonb_array_elements(case jsonb_typeof(t.value) when 'array' then t.value end)
      with ordinality as c (item, place)
  loop
    v_text := private.n8n_condition(
      v_condition.item -> 'value1', v_condition.type,
      coalesce(v_condition.item ->> 'operation', case v_condition.type when 'number' then 'smaller' else 'equal' end),
      coalesce(
        v_condition.item -> 'value2',
        case v_condition.type when 'string' then '""' when 'number' then '0' else 'false' end::jsonb
      ),
      false, false, true, p_places
    );
    if v_text is null then
      v_problems := v_problems || private.n8n_problem(
        p_path || array[v_condition.type, v_condition.place],
        'the condition has no counterpart of the same meaning; write it anew'
      );
    end if;
    v_texts := v_texts || v_text;
  end loop;
  return jsonb_build_object('problems', v_problems) || case
    when v_problems <> '[]' then '{}'
    when v_texts = '{}' then jsonb_build_object('when', not p_any)
    else jsonb_build_object('when', array_to_string(v_texts, case when p_any then ' || ' else ' && ' end))
  end;
end
$$;

-- The conditions of the rules of a switch: [{"when"}, …], or problems.
create or replace function private.n8n_switch_rules(
  p_version numeric,
  p_parameters jsonb,
  p_path text[],
  p_places jsonb,
  out rules jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_list constant text[] := case when p_version < 3 then '{rules,rules}' else '{rules,values}' end;
  v_known constant jsonb := case
    when p_version < 3 then '{"rules": {"*": {
      "value2": {"=": {"becomes": "own"}}, "operation": {"=": {"becomes": "literal"}},
      "output": {"=": {"becomes": "own"}}
    }}}'
    else '{"values": {"*": {
      "conditions": {"=": {"becomes": "own"}}, "renameOutput": {"=": {"becomes": "none"}},
      "outputKey": {"=": {"becomes": "none"}}
    }}}'
  end::jsonb;
  v_read constant record := private.n8n_read(
    coalesce(p_parameters -> 'rules', '{}'), v_known, p_path || '{rules}'::text[], p_places
  );
  v_rule record;
  v_one jsonb;
begin
  rules := '[]';
  problems := v_read.problems;
  for v_rule in
    select r.rule, (r.place - 1)::text as place
    from jsonb_path_query(v_read.kept, 'lax $.*[*]') with ordinality as r (rule, place)
  loop
    v_one := case
      when p_version >= 3 then private.n8n_conditions(
        coalesce(v_rule.rule -> 'conditions', '{}'), p_parameters,
        p_path || v_list || array[v_rule.place, 'conditions'], p_places
      )
      else private.n8n_first_conditions(
        jsonb_build_object(coalesce(p_parameters ->> 'dataType', 'number'), jsonb_build_array(jsonb_build_object(
          'value1', p_parameters -> 'value1', 'value2', v_rule.rule -> 'value2',
          'operation', coalesce(v_rule.rule -> 'operation', '"equal"')
        ))), false, p_path || v_list || array[v_rule.place], p_places
      )
    end;
    problems := problems || (v_one -> 'problems');
    rules := rules || jsonb_build_array(jsonb_build_object('when', v_one -> 'when') || case
      when p_version < 3 and v_rule.rule ->> 'output' ~ '^[0-3]$'
        then jsonb_build_object('port', v_rule.rule ->> 'output')
      when p_version < 3 then '{"port": "0"}'
      else '{}'
    end);
    if p_version < 3 and v_rule.rule ->> 'output' !~ '^[0-3]$' then
      problems := problems || private.n8n_problem(
        p_path || v_list || array[v_rule.place, 'output'], 'the output has to be a number from 0 to 3'
      );
    end if;
  end loop;
end
$$;
