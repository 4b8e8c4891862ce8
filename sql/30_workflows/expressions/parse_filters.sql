-- kind: code
-- Parses the filters of an expression: `| name(argument, …)`, and what may follow right after one:
-- `| sum * 1.19` is `| sum | calc(@ * 1.19)`. Writes and locks nothing.

-- Parses the filters after a path, which p_pipes separate. p_paths: how many paths stand before
-- them. The argument of the result is the list of filters, each {"name", "arguments", "each"?,
-- "reads"?}: an argument is evaluated for each item, and reads a source.
create or replace function engine.parse_filters(p_tokens text[], p_gaps text[], p_pipes int[], p_paths int)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  v_first int;
  v_last int;
  v_name_last int; -- the last token of a filter, before what follows right after it
  v_one engine.parsed_argument;
  v_parsed engine.parsed_argument;
begin
  for v_pipe in 1 .. cardinality(p_pipes) loop
    v_first := p_pipes[v_pipe] + 1;
    v_last := coalesce(p_pipes[v_pipe + 1] - 1, cardinality(p_tokens));
    v_name_last := v_first - 1 + engine.filter_length_in(p_tokens[v_first : v_last]);
    v_one := engine.parse_filter(
      p_tokens[v_first : v_name_last], p_gaps[v_first : v_name_last],
      p_paths + coalesce(cardinality(v_parsed.paths), 0)
    );
    if v_one.problem is null and v_name_last < v_last then
      v_parsed.argument := coalesce(v_parsed.argument, '[]') || v_one.argument;
      v_parsed := engine.with_parsed(v_parsed, v_one);
      v_first := v_name_last + 1;
      v_one := engine.parse_continuation(
        p_tokens[v_first : v_last], p_gaps[v_first : v_last], p_paths + coalesce(cardinality(v_parsed.paths), 0)
      );
    end if;
    if v_one.problem is not null then
      v_parsed.problem := v_one.problem;
      v_parsed.problem_at := greatest(least(v_first + v_one.problem_at - 1, cardinality(p_tokens)), 1);
      return v_parsed;
    end if;
    v_parsed.argument := coalesce(v_parsed.argument, '[]') || v_one.argument;
    v_parsed := engine.with_parsed(v_parsed, v_one);
  end loop;
  return v_parsed;
end
$$;

-- The places of the `|` that stand outside of brackets.
create or replace function engine.pipe_places(p_tokens text[])
  returns int[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_depth int := 0;
  v_places int[] := '{}';
begin
  for v_place in 1 .. cardinality(p_tokens) loop
    case
      when p_tokens[v_place] in ('(', '[', '{') then v_depth := v_depth + 1;
      when p_tokens[v_place] in (')', ']', '}') then v_depth := v_depth - 1;
      when p_tokens[v_place] = '|' and v_depth = 0 then v_places := v_places || v_place;
      else null;
    end case;
  end loop;
  return v_places;
end
$$;

-- How many of the tokens between two pipes are the name of a filter and its arguments.
create or replace function engine.filter_length_in(p_tokens text[])
  returns int
  language sql
  immutable
  parallel safe
as $$
  select case
    when cardinality(p_tokens) < 2 then cardinality(p_tokens)
    when p_tokens[2] = '(' then coalesce(engine.closing_place(p_tokens, 2), cardinality(p_tokens))
    else 1
  end
$$;

-- Parses one filter with its arguments.
create or replace function engine.parse_filter(p_tokens text[], p_gaps text[], p_paths int)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  v_count constant int := cardinality(p_tokens);
  v_parameters text[];
  v_arguments jsonb := '[]';
  v_bound record;
  v_kind text;
  v_one engine.parsed_argument;
  v_parsed engine.parsed_argument;
begin
  v_parsed.problem_at := 1;
  v_parsed.problem := case
    when v_count = 0 then 'the name of a filter is missing after |'
    when v_count > 1 and p_tokens[v_count] <> ')'
      then 'a filter is written name or name(argument, …): ( is not closed'
  end;
  if v_parsed.problem is not null then
    v_parsed.problem_at := least(v_count, 2);
    return v_parsed;
  end if;
  select f.parameters into v_parameters from engine.filter_parameters() as f where f.name = p_tokens[1];
  for v_bound in select * from engine.argument_bounds(p_tokens[3 : v_count - 1]) loop
    v_kind := v_parameters[jsonb_array_length(v_arguments) + 1];
    v_one := engine.parse_argument(
      p_tokens[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_gaps[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_paths + coalesce(cardinality(v_parsed.paths), 0), coalesce(v_kind in ('each', 'value'), false)
    );
    if v_one.problem is not null then
      v_parsed.problem := v_one.problem;
      v_parsed.problem_at := v_bound.first_place + 1 + v_one.problem_at;
      return v_parsed;
    end if;
    v_arguments := v_arguments || jsonb_build_array(v_one.argument);
    v_parsed := engine.with_parsed(v_parsed, case when v_kind = 'each' then engine.each_cost(v_one) else v_one end);
  end loop;
  v_parsed.argument := jsonb_build_object('name', p_tokens[1], 'arguments', v_arguments) || case
    when v_arguments = '[]' or v_parameters[1] is null or v_parameters[1] not in ('each', 'value') then '{}'
    when cardinality(v_parsed.sources) > 0 then '{"each": true, "reads": true}'
    else '{"each": true}'
  end::jsonb;
  v_parsed.regex := coalesce(v_parsed.regex, false) or p_tokens[1] = 'match';
  v_parsed.problem := engine.filter_problem(p_tokens[1], v_arguments);
  return v_parsed;
end
$$;

-- Parses what follows right after a filter: an operator, a member or a subscript. It becomes the
-- filter calc, in which @ is the value.
create or replace function engine.parse_continuation(p_tokens text[], p_gaps text[], p_paths int)
  returns engine.parsed_argument
  language plpgsql
  stable
as $$
declare
  -- && and || take conditions, which a value alone is not.
  v_head constant text[] := case when p_tokens[1] in ('&&', '||') then '{@,==,true}'::text[] else '{@}' end;
  v_parsed engine.parsed_argument;
begin
  if p_tokens[1] <> all ('{+,-,*,/,%,==,!=,<>,<,<=,>,>=,&&,||,.,[,starts,like_regex,?}') then
    v_parsed.problem := 'a filter is written name or name(argument, …), after |';
    v_parsed.problem_at := 1;
    return v_parsed;
  end if;
  v_parsed := engine.parse_argument(
    v_head || p_tokens, array_fill(' '::text, array[cardinality(v_head)]) || p_gaps, p_paths, true
  );
  v_parsed.problem_at := greatest(v_parsed.problem_at - cardinality(v_head), 1);
  v_parsed.argument := jsonb_build_object(
    'name', 'calc', 'arguments', jsonb_build_array(v_parsed.argument), 'each', true
  );
  return v_parsed;
end
$$;

-- What an argument costs that is evaluated for each item. A source that it reads is read again for
-- each; if the argument itself reads one again for each item of another, the cost has no bound.
create or replace function engine.each_cost(p_parsed engine.parsed_argument)
  returns engine.parsed_argument
  language plpgsql
  immutable
as $$
begin
  if cardinality(p_parsed.sources) > 0 then
    p_parsed.cost := case
      when p_parsed.repeats then 'unbounded' else engine.worse_cost(p_parsed.cost, 'quadratic')
    end;
    p_parsed.repeats := true;
  end if;
  -- The calls for an item, which may have a few bytes only, count as much as 16 bytes each.
  p_parsed.weight := coalesce(p_parsed.weight, 0) + 16 * (1 + (
    select count(*)::int from jsonb_path_query(p_parsed.argument, 'strict $.** ? (exists(@.path) || exists(@.name))')
  ));
  return p_parsed;
end
$$;
