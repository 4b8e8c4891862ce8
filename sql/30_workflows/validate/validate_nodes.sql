-- kind: code
-- Finds problems of single nodes. p_index is the 0-based place in `nodes`. Reads engine.node_types; writes and locks
-- nothing.

-- Keys and numbers that JavaScript would misread, at any depth. Tests first whether there are any, because visiting
-- every value of the definition is slow.
create or replace function engine.key_problems(p_definition jsonb)
  returns setof public.workflow_problem
  language plpgsql
  immutable
as $$
begin
  if p_definition::text !~ '"(__proto__|constructor|prototype)": '
    and not jsonb_path_exists(p_definition, '$.** ? (@ > 1e308 || @ < -1e308)', '{}', true)
  then
    return;
  end if;
  return query
    with recursive walk as (
      select '{}'::text[] as place, p_definition as value
      union all
      select w.place || c.key, c.value
      from walk as w
      cross join lateral (
        select e.key, e.value
        from jsonb_each(case when jsonb_typeof(w.value) = 'object' then w.value else '{}' end) as e
        union all
        select (e.place - 1)::text, e.value
        from jsonb_array_elements(case when jsonb_typeof(w.value) = 'array' then w.value else '[]' end)
          with ordinality as e (value, place)
      ) as c
    )
    select p.*
    from walk as w
    cross join lateral (
      values
        ('RESERVED_KEY', 'this key has a meaning in JavaScript and cannot be used',
          w.place[cardinality(w.place)] in ('__proto__', 'constructor', 'prototype')),
        ('NUMBER_OUT_OF_RANGE', 'a number lies between -1e308 and 1e308',
          jsonb_typeof(w.value) = 'number' and abs((w.value #>> '{}')::numeric) > 1e308)
    ) as found (code, message, is_so)
    cross join lateral engine.problem(w.place, found.code, found.message) as p
    where found.is_so
    limit 100;
end
$$;

-- The problem of the sources of an expression: nodes must be upstream, inputs must belong to the node.
create or replace function engine.reference_problem(
  p_sources text[],
  p_inputs text[],
  p_type engine.node_types,
  p_ids text[],
  p_upstream varbit
)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_name text;
  v_node int;
begin
  foreach v_name in array coalesce(p_sources, '{}') loop
    continue when not starts_with(v_name, 'nodes.');
    v_node := array_position(p_ids, substr(v_name, 7));
    if v_node is null then
      return format('there is no node %s', substr(v_name, 7));
    elsif get_bit(p_upstream, v_node - 1) = 0 then
      return format('node %s does not run before this one', substr(v_name, 7));
    end if;
  end loop;
  foreach v_name in array coalesce(p_inputs, '{}') loop
    if v_name <> all (p_type.inputs) then
      return format('the node has no input %s; it has %s', v_name, array_to_string(p_type.inputs, ', '));
    end if;
  end loop;
  return null;
end
$$;

-- The problems and notices of the expressions of one node.
create or replace function engine.expression_problems(
  p_properties jsonb,
  p_type engine.node_types,
  p_place text[],
  p_ids text[],
  p_upstream varbit,
  p_shapes jsonb
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_part record;
  v_problem text;
  v_notice record;
begin
  for v_part in select * from engine.parse_properties(p_properties, p_type.properties) loop
    if v_part.problem is not null then
      return next engine.problem(
        p_place || v_part.place, 'INVALID_EXPRESSION', format('%s (at character %s)', v_part.problem, v_part.start_at)
      );
      continue;
    end if;
    v_problem := engine.reference_problem(v_part.sources, v_part.inputs, p_type, p_ids, p_upstream);
    if v_problem is not null then
      return next engine.problem(
        p_place || v_part.place, 'UNKNOWN_REFERENCE', format('%s (at character %s)', v_problem, v_part.start_at)
      );
    elsif engine.names_secret(v_part.sources) and (
      p_type.kind <> 'effect'
      or p_type.properties #> array['properties', v_part.place[1], 'secret'] is distinct from 'true'
    ) then
      return next engine.problem(p_place || v_part.place, 'SECRET_NOT_ALLOWED',
        'a secret variable has its place in headers, query and body of httpRequest, and nowhere else');
    elsif v_part.cost = 'unbounded' and p_type.properties -> 'properties' -> v_part.place[1] ? 'deferred' then
      return next engine.problem(p_place || v_part.place, 'EXPENSIVE_EXPRESSION',
        'what is evaluated for each child run must be cheap: compute it in a node of the child, or before');
    elsif v_part.expression is not null then
      v_notice := engine.expression_notice(v_part.expression, p_shapes);
      if v_notice.code is not null then
        return next engine.notice(
          p_place || v_part.place, v_notice.code,
          format('%s (at character %s)', v_notice.message, v_part.start_at + v_notice.at - 1)
        );
      end if;
    end if;
  end loop;
end
$$;

-- The problem of properties of a built-in type that a schema cannot express; null when there is none.
create or replace function engine.combination_problem(p_type text, p_properties jsonb)
  returns text
  language sql
  stable
as $$
  select case p_type
    when 'merge' then case
      when p_properties ->> 'mode' = 'fields' and not p_properties ? 'by' then 'mode fields needs by, the key to match'
    end
    when 'switch' then case
      when jsonb_path_exists(p_properties, '$.rules[*] ? (exists(@.equals))') and not p_properties ? 'value'
        then 'rules with equals need value, which they are compared with'
      when not jsonb_path_exists(p_properties, '$.rules[*] ? (exists(@.equals))') and p_properties ? 'value'
        then 'value is compared with nothing: no rule has equals'
    end
    when 'transform' then case
      when p_properties ? 'template' and p_properties ? 'path' then 'template and path exclude each other'
    end
    when 'wait' then case
      when (
        select count(*) from jsonb_object_keys(p_properties) as k (key)
        where k.key in ('seconds', 'until', 'signal', 'webhook', 'approval')
      ) > 1 then 'seconds, until, signal, webhook and approval exclude each other'
      when p_properties ? 'timezone' and not p_properties ? 'until' then 'timezone is of until, which is missing'
      -- A time zone that an expression gives is known only at run time.
      when p_properties ->> 'timezone' !~ E'\\{\\{' and not engine.is_time_zone(p_properties ->> 'timezone')
        then format('%L is not a time zone; Europe/Berlin and UTC are', p_properties ->> 'timezone')
      when p_properties ? 'timeoutSeconds' and p_properties ?| '{seconds,until}'
        then 'a wait for a time has no timeoutSeconds'
    end
    when 'scheduleTrigger' then engine.schedule_problem(p_properties)
    when 'webhookTrigger' then engine.webhook_problem(p_properties)
  end
$$;

-- All problems and notices of one node.
create or replace function engine.node_problems(
  p_definition jsonb,
  p_index int,
  p_ids text[],
  p_upstream varbit,
  p_shapes jsonb
)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_node constant jsonb := p_definition -> 'nodes' -> p_index;
  v_type constant engine.node_types := engine.node_type(v_node ->> 'type');
  v_properties constant jsonb := coalesce(v_node -> 'properties', '{}');
  v_place constant text[] := array['nodes', p_index::text];
  v_problem text;
begin
  if v_type.name is null then
    return next engine.type_problem(v_node, v_place);
    return;
  end if;

  return query select * from engine.schema_problems(
    v_properties, v_type.properties, v_place || '{properties}'::text[], v_type.kind <> 'trigger', 'INVALID_PROPERTY'
  );
  if not found then
    if v_type.name = 'subworkflowTrigger' and v_properties ? 'input' then
      return query select * from engine.input_schema_problems(
        v_properties -> 'input', v_place || '{properties,input}'::text[]
      );
    end if;
    v_problem := engine.combination_problem(v_type.name, v_properties);
    if v_problem is not null then
      return next engine.problem(v_place || '{properties}'::text[], 'INVALID_PROPERTY', v_problem);
    end if;
    if v_type.name = 'webhookTrigger' then
      return query select * from engine.webhook_problems(v_node, v_place);
    end if;
  end if;
  if v_type.kind <> 'trigger' then
    return query select * from engine.expression_problems(
      v_properties, v_type, v_place || '{properties}'::text[], p_ids, p_upstream,
      p_shapes - 'prev' || coalesce(jsonb_build_object('prev', p_shapes #> array['prev', v_node ->> 'id']), '{}')
    );
  end if;

  if v_node ->> 'onError' = 'errorOutput' and not jsonb_path_exists(
    p_definition, '$.connections[*] ? (@.source == $id && @.sourceOutput == "error")',
    jsonb_build_object('id', v_node -> 'id')
  ) then
    return next engine.problem(
      v_place || '{onError}'::text[], 'ERROR_OUTPUT_UNCONNECTED', 'errorOutput needs a connection at the port error'
    );
  end if;
end
$$;
