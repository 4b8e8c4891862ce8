-- kind: code
-- Secret variables in expressions, `$.secrets.<name>`: where they may stand, and what the worker
-- gets in their place. The database has no secret, so an expression that names one gives a secret
-- text: the parts from which the worker builds the text just before the node is executed. Writes
-- and locks nothing.

-- Evaluates a text that names secret variables. Returns {"secretText": […]}; each part is a text;
-- {"secret": name}; or {"of": text, "filters": […]}, where arguments are {"value"} or {"secret"}.
create or replace function engine.evaluate_secret(
  p_expression engine.expression,
  p_strict boolean,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_part engine.expression_part;
  v_texts jsonb[] := '{}';
  v_size int := 0;
begin
  foreach v_part in array p_expression.parts loop
    v_texts := v_texts || case
      when v_part.literal is not null then to_jsonb(v_part.literal)
      when starts_with(v_part.sources[1], 'secrets.') then jsonb_build_object('secret', substr(v_part.sources[1], 9))
      when engine.secret_filter_place(v_part.filters) is not null
        then engine.secret_filters(v_part, p_expression.place, p_strict, p_values, p_outputs)
      else to_jsonb(engine.text_of(
        engine.part_value(v_part, p_expression.place, p_strict, p_values, p_outputs)
      ))
    end;
    v_size := v_size + pg_column_size(v_texts[cardinality(v_texts)]);
    if v_size > engine.max_value_bytes() then
      perform engine.result_too_large(p_expression.place, v_part.position);
    end if;
  end loop;
  return jsonb_build_object('secretText', to_jsonb(v_texts));
end
$$;

-- The value before the first filter that needs a secret, and the filters from there on.
create or replace function engine.secret_filters(
  p_part engine.expression_part,
  p_place text[],
  p_strict boolean,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_first constant int := engine.secret_filter_place(p_part.filters);
  v_part engine.expression_part := p_part;
  v_filters jsonb := '[]';
  v_variables jsonb := '{}';
  v_filter jsonb;
  v_value jsonb;
begin
  v_part.filters := (
    select jsonb_agg(f.filter order by f.place)
    from jsonb_array_elements(p_part.filters) with ordinality as f (filter, place)
    where f.place < v_first
  );
  if v_part.argument_paths is null then
    v_part.filters := engine.plain_filters(v_part.filters);
  elsif v_part.by_name then
    v_variables := engine.source_variables(p_part, p_place, p_values, p_outputs);
  end if;
  v_value := engine.part_value(v_part, p_place, p_strict, p_values, p_outputs);
  if engine.scalar_text(v_value) is null then
    perform engine.expression_failed(
      'EXPRESSION_FILTER',
      format('%s is of a text, not of %s', p_part.filters -> (v_first - 1) ->> 'name', jsonb_typeof(v_value)),
      p_place, p_part.position
    );
  end if;
  for v_filter in
    select f.filter
    from jsonb_array_elements(p_part.filters) with ordinality as f (filter, place)
    where f.place >= v_first
    order by f.place
  loop
    v_filters := v_filters || jsonb_build_object(
      'name', v_filter -> 'name',
      'arguments', engine.secret_arguments(
        v_filter -> 'arguments', p_part.argument_paths, v_variables, p_strict, p_place, p_part.position
      )
    );
  end loop;
  return jsonb_build_object('of', engine.scalar_text(v_value), 'filters', v_filters);
end
$$;

create or replace function engine.secret_arguments(
  p_arguments jsonb,
  p_paths jsonpath[],
  p_variables jsonb,
  p_strict boolean,
  p_place text[],
  p_position int
)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(
    case
      when a.argument ? 'secret' then a.argument
      else jsonb_build_object(
        'value', engine.argument_value(a.argument, null, p_paths, p_variables, p_strict, p_place, p_position)
      )
    end order by a.place
  ), '[]')
  from jsonb_array_elements(p_arguments) with ordinality as a (argument, place)
$$;

-- The 1-based place of the first filter that only a worker can apply; null when there is none.
create or replace function engine.secret_filter_place(p_filters jsonb)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select min(f.place)::int
  from jsonb_array_elements(p_filters) with ordinality as f (filter, place)
  where f.filter ->> 'name' = 'hmac'
    or jsonb_path_exists(f.filter, '$.arguments[*].secret')
$$;

-- Sources without those that are secret variables.
create or replace function engine.readable_sources(p_sources text[])
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array(
    select s.source
    from unnest(p_sources) with ordinality as s (source, place)
    where not starts_with(s.source, 'secrets.')
    order by s.place
  )
$$;

create or replace function engine.names_secret(p_sources text[])
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select coalesce(bool_or(starts_with(s.source, 'secrets.')), false) from unnest(p_sources) as s (source)
$$;

-- Why an expression may not use its secret variables so; null when it may, or names none. p_pieces
-- and p_sources are those of the path before the filters.
create or replace function engine.secret_use_problem(p_pieces text[], p_sources text[], p_filters jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when engine.names_secret(p_sources) and (cardinality(p_pieces) > 1 or p_filters is not null)
      then 'a secret variable stands alone, {{ $.secrets.name }}, or is an argument of hmac or constant_time_equals'
    when exists (
      select
      from jsonb_array_elements(p_filters) with ordinality as f (filter, place)
      where f.place > engine.secret_filter_place(p_filters)
        and f.filter ->> 'name' <> 'constant_time_equals'
    ) or jsonb_array_length(p_filters) > engine.secret_filter_place(p_filters) + 1
      then 'after a filter with a secret variable only one constant_time_equals may follow'
  end
$$;
