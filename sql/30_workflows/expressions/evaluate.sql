-- kind: code
-- Evaluates expressions that are not plain: with several sources, filters, texts around them,
-- conditions for each item, and all expressions of strict nodes. Like those of resolve.sql, these
-- functions run no query and depend on their arguments alone. Writes and locks nothing.

create or replace function engine.evaluate_expression(
  p_expression engine.expression,
  p_properties jsonb,
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
  v_texts text[] := '{}';
  v_size int := 0;
  v_value jsonb;
begin
  if p_expression.kind = 'each' then
    return engine.evaluate_each(p_expression, p_properties, p_strict, p_values, p_outputs);
  elsif p_expression.kind = 'secret' then
    return engine.evaluate_secret(p_expression, p_strict, p_values, p_outputs);
  end if;

  foreach v_part in array p_expression.parts loop
    if v_part.literal is not null then
      v_texts := v_texts || v_part.literal;
      continue;
    end if;
    v_value := engine.part_value(v_part, p_expression.place, p_strict, p_values, p_outputs);
    if p_expression.kind = 'value' then
      return v_value;
    elsif p_expression.kind = 'predicate' then
      return engine.truth(jsonb_build_array(v_value), p_strict, p_expression.place, v_part.position);
    end if;
    v_texts := v_texts || engine.text_of(v_value);
    v_size := v_size + octet_length(v_texts[cardinality(v_texts)]);
    if v_size > engine.max_value_bytes() then
      perform engine.expression_failed(
        'EXPRESSION_TOO_LARGE', 'a text has at most ' || private.size_text(engine.max_value_bytes()),
        p_expression.place, v_part.position
      );
    end if;
  end loop;
  return to_jsonb(array_to_string(v_texts, ''));
end
$$;

-- The sources of a part, each as a jsonpath variable. Adds their sizes up first, so that a source
-- that is too large is not copied.
create or replace function engine.source_variables(
  p_part engine.expression_part,
  p_property text[],
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_variables jsonb := '{}';
  v_value jsonb;
  v_size int := 0;
begin
  for v_place in 1 .. cardinality(p_part.sources) loop
    v_value := engine.source_value(
      split_part(p_part.sources[v_place], '.', 1), p_part.source_nodes[v_place], p_values, p_outputs
    );
    v_size := v_size + pg_column_size(v_value);
    if v_size > coalesce(p_part.inline_input, p_part.max_input) then
      perform engine.beyond_input(v_size, p_part.max_input, p_property, p_part.position);
    end if;
    v_variables := v_variables || jsonb_build_object(p_part.sources[v_place], v_value);
  end loop;
  return v_variables;
end
$$;

-- Evaluates one part of an expression.
create or replace function engine.part_value(
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
  v_variables jsonb := '{}';
  v_target jsonb := 'null';
  v_value jsonb;
begin
  if cardinality(p_part.sources) = 1 and not p_part.by_name then
    v_target := engine.source_value(
      split_part(p_part.sources[1], '.', 1), p_part.source_nodes[1], p_values, p_outputs
    );
  else
    v_variables := engine.source_variables(p_part, p_place, p_values, p_outputs);
  end if;
  if pg_column_size(v_target) + pg_column_size(v_variables) > coalesce(p_part.inline_input, p_part.max_input) then
    perform engine.beyond_input(
      pg_column_size(v_target) + pg_column_size(v_variables), p_part.max_input, p_place, p_part.position
    );
  end if;

  if p_strict then
    v_value := engine.query_strictly(v_target, p_part.path, v_variables, p_place, p_part.position);
  elsif engine.compares_times(p_part.path) then
    v_value := engine.query_times(v_target, p_part.path, v_variables);
  else
    v_value := jsonb_path_query_array(v_target, p_part.path, v_variables, true);
  end if;
  v_value := engine.result_value(v_value, p_part.many);
  if p_part.filters is not null then
    v_value := engine.apply_filters(
      v_value, p_part.filters, p_part.argument_paths, v_variables, p_strict, p_place, p_part.position
    );
  end if;
  if jsonb_typeof(v_value) = 'number' and not engine.is_bounded(v_value) then
    perform engine.number_too_large(p_place, p_part.position);
  elsif pg_column_size(v_value) > engine.max_value_bytes() then
    perform engine.result_too_large(p_place, p_part.position);
  end if;
  return v_value;
end
$$;

-- Evaluates a condition for each item of the property `items` beside it: an array of true and
-- false.
create or replace function engine.evaluate_each(
  p_expression engine.expression,
  p_properties jsonb,
  p_strict boolean,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_items constant jsonb := p_properties #> (trim_array(p_expression.place, 1) || '{items}'::text[]);
  v_part constant engine.expression_part := p_expression.parts[1];
  -- In a path with a single source, `$` is that source.
  v_source constant text := case
    when cardinality(v_part.sources) = 1 and not v_part.by_name then v_part.sources[1]
  end;
  v_variables jsonb;
  v_values jsonb[] := p_values; -- of one item
  v_compares_times constant boolean := engine.compares_times(v_part.path);
  v_found jsonb;
  v_truths text[] := '{}';
begin
  v_values[6] := null;
  v_values[7] := null;
  v_variables := engine.source_variables(v_part, p_expression.place, v_values, p_outputs);
  if jsonb_typeof(v_items) <> 'array' then
    return '[]'; -- the node itself fails for it
  elsif pg_column_size(v_items) > v_part.inline_input
    -- For each item the sources other than the item are read again.
    or (v_source is distinct from 'item' and jsonb_array_length(v_items)::bigint * pg_column_size(v_variables)
      > case p_expression.cost when 'linear' then 32 else 1024 end * v_part.inline_input::bigint)
  then
    perform engine.beyond_input(0, 0, p_expression.place, v_part.position);
  end if;
  for v_index in 0 .. jsonb_array_length(v_items) - 1 loop
    if v_part.filters is not null or p_strict or v_compares_times then
      v_values[6] := v_items -> v_index;
      v_values[7] := v_index::text::jsonb;
      v_found := jsonb_build_array(engine.part_value(v_part, p_expression.place, p_strict, v_values, p_outputs));
    elsif pg_column_size(v_items -> v_index) + pg_column_size(v_variables) > v_part.max_input then
      perform engine.input_too_large(v_part.max_input, p_expression.place, v_part.position);
    elsif v_source is not null then
      v_found := jsonb_path_query_array(
        case v_source
          when 'item' then v_items -> v_index
          when 'index' then to_jsonb(v_index)
          else v_variables -> v_source
        end,
        v_part.path, '{}', true
      );
    else
      v_found := jsonb_path_query_array(
        'null', v_part.path, v_variables || jsonb_build_object('item', v_items -> v_index, 'index', v_index), true
      );
    end if;
    v_truths[v_index + 1] := case v_found
      when '[true]' then 'true'
      when '[false]' then 'false'
      else engine.truth(v_found, p_strict, p_expression.place, v_part.position)::text
    end;
  end loop;
  return ('[' || array_to_string(v_truths, ',') || ']')::jsonb;
end
$$;
