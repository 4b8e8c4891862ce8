-- kind: code
-- Parses the arguments of filters. A parsed argument is {"value": …}; {"path": its number, "many",
-- "filters"?}; {"members": [arguments], "keys"?: [texts]}, a list or an object that holds paths; or
-- {"secret": the name of a secret variable}. Writes and locks nothing.

-- Parses one argument. p_paths: how many paths stand before it. p_item: @ is the item, or the value.
create or replace function engine.parse_argument(p_tokens text[], p_gaps text[], p_paths int, p_item boolean)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  v_text constant text := array_to_string(p_tokens, '');
  v_parsed engine.parsed_argument;
begin
  v_parsed.problem_at := 1;
  case
    when v_text ~ E'^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$' and length(v_text) <= 300 then
      v_parsed.argument := jsonb_build_object('value', v_text::numeric);
    when v_text in ('true', 'false', 'null') then
      v_parsed.argument := jsonb_build_object('value', v_text::jsonb);
    when left(v_text, 1) = '"' and cardinality(p_tokens) = 1 then
      v_parsed.argument := jsonb_build_object('value', engine.token_text(v_text));
      if length(v_text) < 2 or engine.token_text(v_text) is null then
        v_parsed.problem := 'not a valid text';
      end if;
    when p_tokens[1] in ('[', '{') then
      return engine.parse_members(p_tokens, p_gaps, p_paths, p_item);
    when p_tokens && '{$,@,|}' then
      return engine.parse_chain(p_tokens, p_gaps, p_paths, p_item);
    else
      v_parsed.problem := 'an argument is a number, a text in quotes, true, false, null, a list, an object, or a path '
        'that begins with $';
  end case;
  return v_parsed;
end
$$;

-- Parses a path with the filters after it, which is an argument.
create or replace function engine.parse_chain(p_tokens text[], p_gaps text[], p_paths int, p_item boolean)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  v_pipes constant int[] := engine.pipe_places(p_tokens);
  v_last constant int := coalesce(v_pipes[1] - 1, cardinality(p_tokens));
  v_main record := engine.rewrite_path(p_tokens[1 : v_last], p_gaps[1 : v_last], p_item);
  v_tokens text[] := p_tokens[1 : v_last];
  v_filters engine.parsed_argument;
  v_cost record;
  v_place int;
  v_parsed engine.parsed_argument;
begin
  v_parsed.problem := v_main.problem;
  v_parsed.problem_at := v_main.problem_at;
  if v_main.problem is not null then
    return v_parsed;
  end if;
  if engine.names_secret(v_main.sources) then
    v_parsed.argument := jsonb_build_object('secret', substr(v_main.sources[1], 9));
    v_parsed.sources := v_main.sources;
    if cardinality(v_main.pieces) > 1 or v_pipes <> '{}' then
      v_parsed.problem := 'a secret variable stands alone: $.secrets.name';
    end if;
    return v_parsed;
  end if;
  v_parsed.argument := jsonb_build_object('path', p_paths + 1, 'many', v_main.many);
  v_parsed.paths := array[engine.path_text(v_main.pieces, true)];
  v_parsed.sources := v_main.sources;
  v_parsed.variables := v_main.variables;
  v_parsed.inputs := v_main.inputs;
  v_parsed.regex := v_main.regex;
  -- A source that is read inside of a filter or a subscript is read again for each item there.
  v_parsed.repeats := exists (
    select
    from unnest(v_tokens, (engine.bracket_depths(v_tokens)).depths) as t (token, depth)
    where t.token = '$' and t.depth > 0
  );
  foreach v_place in array engine.item_places(v_tokens) loop
    v_tokens[v_place] := '$';
  end loop;
  v_cost := engine.path_cost(v_tokens, p_item);
  v_parsed.cost := v_cost.cost;
  v_parsed.weight := v_cost.weight;
  if v_pipes <> '{}' then
    v_filters := engine.parse_filters(p_tokens, p_gaps, v_pipes, p_paths + 1);
    v_cost := engine.chain_cost(v_parsed.cost, v_parsed.weight, v_filters.argument);
    v_parsed.cost := v_cost.cost;
    v_parsed.weight := v_cost.weight;
    v_parsed.argument := v_parsed.argument || jsonb_build_object('filters', v_filters.argument);
    v_parsed := engine.with_parsed(v_parsed, v_filters);
    v_parsed.problem := coalesce(v_filters.problem, case
      when engine.secret_filter_place(v_filters.argument) is not null
        then 'a filter with a secret variable stands in no argument'
    end);
    v_parsed.problem_at := coalesce(v_filters.problem_at, 1);
  end if;
  return v_parsed;
end
$$;

-- Parses a list or an object of arguments. One of literals only becomes a value.
create or replace function engine.parse_members(p_tokens text[], p_gaps text[], p_paths int, p_item boolean)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  v_is_object constant boolean := p_tokens[1] = '{';
  v_count constant int := cardinality(p_tokens);
  v_bound record;
  v_first int;
  v_member engine.parsed_argument;
  v_members jsonb := '[]';
  v_keys jsonb := '[]';
  v_value jsonb;
  v_parsed engine.parsed_argument;
begin
  v_parsed.problem_at := v_count;
  if engine.closing_place(p_tokens, 1) is distinct from v_count then
    v_parsed.problem := format('%s is not closed, or something follows after it', p_tokens[1]);
    return v_parsed;
  end if;
  for v_bound in select * from engine.argument_bounds(p_tokens[2 : v_count - 1]) loop
    v_first := v_bound.first_place + 1;
    if v_is_object then
      v_parsed.problem_at := v_first;
      if left(p_tokens[v_first], 1) is distinct from '"' or engine.token_text(p_tokens[v_first]) is null
        or p_tokens[v_first + 1] is distinct from ':'
      then
        v_parsed.problem := 'an object is written {"key": value, …}';
        return v_parsed;
      end if;
      v_keys := v_keys || to_jsonb(engine.token_text(p_tokens[v_first]));
      v_first := v_first + 2;
    end if;
    v_member := engine.parse_argument(
      p_tokens[v_first : v_bound.last_place + 1], p_gaps[v_first : v_bound.last_place + 1],
      p_paths + coalesce(cardinality(v_parsed.paths), 0), p_item
    );
    if v_member.problem is not null or v_member.argument ? 'secret' then
      v_parsed.problem := coalesce(v_member.problem, 'a secret variable stands alone: $.secrets.name');
      v_parsed.problem_at := least(v_first + v_member.problem_at - 1, v_count);
      return v_parsed;
    end if;
    v_members := v_members || jsonb_build_array(v_member.argument);
    v_parsed := engine.with_parsed(v_parsed, v_member);
  end loop;
  v_parsed.problem_at := 1;
  if v_parsed.paths is not null then
    v_parsed.argument := jsonb_build_object('members', v_members)
      || case when v_is_object then jsonb_build_object('keys', v_keys) else '{}' end;
    return v_parsed;
  end if;
  -- Without a path the evaluation reads nothing.
  v_value := engine.argument_value(
    jsonb_build_object('members', v_members)
      || case when v_is_object then jsonb_build_object('keys', v_keys) else '{}' end,
    null, null, null, false, '{}', 1
  );
  v_parsed.argument := jsonb_build_object('value', v_value);
  return v_parsed;
end
$$;

-- Adds what another argument reads and costs.
create or replace function engine.with_parsed(p_parsed engine.parsed_argument, p_other engine.parsed_argument)
  returns engine.parsed_argument
  language plpgsql
  immutable
as $$
begin
  p_parsed.paths := nullif(p_parsed.paths || p_other.paths, '{}');
  p_parsed.sources := p_parsed.sources || p_other.sources;
  p_parsed.variables := p_parsed.variables || p_other.variables;
  p_parsed.inputs := p_parsed.inputs || p_other.inputs;
  p_parsed.cost := engine.worse_cost(p_parsed.cost, p_other.cost);
  p_parsed.weight := coalesce(p_parsed.weight, 0) + coalesce(p_other.weight, 0);
  p_parsed.regex := coalesce(p_parsed.regex, false) or coalesce(p_other.regex, false);
  p_parsed.repeats := coalesce(p_parsed.repeats, false) or coalesce(p_other.repeats, false);
  return p_parsed;
end
$$;

-- The place of the bracket that closes the one at p_open; null when there is none.
create or replace function engine.closing_place(p_tokens text[], p_open int)
  returns int
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_depth int := 0;
begin
  for v_place in p_open .. cardinality(p_tokens) loop
    v_depth := v_depth + (p_tokens[v_place] in ('(', '[', '{'))::int - (p_tokens[v_place] in (')', ']', '}'))::int;
    if v_depth = 0 then
      return v_place;
    end if;
  end loop;
  return null;
end
$$;

-- The first and last place of each argument of a filter: commas separate them.
create or replace function engine.argument_bounds(p_tokens text[])
  returns table (first_place int, last_place int)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_depth int := 0;
begin
  first_place := 1;
  for v_place in 1 .. cardinality(p_tokens) loop
    if p_tokens[v_place] = ',' and v_depth = 0 then
      last_place := v_place - 1;
      return next;
      first_place := v_place + 1;
    elsif p_tokens[v_place] in ('(', '[', '{') then
      v_depth := v_depth + 1;
    elsif p_tokens[v_place] in (')', ']', '}') then
      v_depth := v_depth - 1;
    end if;
  end loop;
  if cardinality(p_tokens) > 0 then
    last_place := cardinality(p_tokens);
    return next;
  end if;
end
$$;
