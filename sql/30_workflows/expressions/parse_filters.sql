-- kind: code
-- Parses the filters of an expression: `| name(argument, …)`. An argument is a literal or a path.
-- Writes and locks nothing.

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

-- Parses one argument: a literal, a path or a secret variable. p_paths: how many paths the arguments before it have.
create or replace function engine.parse_argument(
  p_tokens text[],
  p_gaps text[],
  p_paths int,
  out argument jsonb,
  out path_pieces text[],
  out sources text[],
  out variables text[],
  out inputs text[],
  out cost text,
  out weight int,
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_cost record;
  v_text constant text := array_to_string(p_tokens, '');
  v_path record;
begin
  problem_at := 1;
  case
    when v_text ~ E'^-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$' and length(v_text) <= 300 then
      argument := jsonb_build_object('value', v_text::numeric);
    when v_text in ('true', 'false', 'null') then
      argument := jsonb_build_object('value', v_text::jsonb);
    when left(v_text, 1) = '"' and cardinality(p_tokens) = 1 then
      argument := jsonb_build_object('value', engine.token_text(v_text));
      if length(v_text) < 2 or engine.token_text(v_text) is null then
        problem := 'not a valid text';
      end if;
    when p_tokens[1] = '$' then
      v_path := engine.rewrite_path(p_tokens, p_gaps);
      problem := v_path.problem;
      problem_at := v_path.problem_at;
      sources := v_path.sources;
      if engine.names_secret(sources) then
        argument := jsonb_build_object('secret', substr(sources[1], 9));
        if cardinality(v_path.pieces) > 1 then
          problem := 'a secret variable stands alone: $.secrets.name';
        end if;
        return;
      end if;
      argument := jsonb_build_object('path', p_paths + 1, 'many', v_path.many);
      path_pieces := v_path.pieces;
      variables := v_path.variables;
      inputs := v_path.inputs;
      v_cost := engine.path_cost(p_tokens);
      cost := v_cost.cost;
      weight := v_cost.weight;
    else
      problem := 'an argument is a number, a text in quotes, true, false, null, or a path that begins with $';
  end case;
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

-- Parses one filter with its arguments; p_tokens are the tokens between two pipes.
create or replace function engine.parse_filter(
  p_tokens text[],
  p_gaps text[],
  p_paths int,
  out filter jsonb,
  out paths jsonb,
  out sources text[],
  out variables text[],
  out inputs text[],
  out cost text,
  out weight int,
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_count constant int := cardinality(p_tokens);
  v_arguments jsonb := '[]';
  v_bound record;
  v_argument record;
begin
  problem_at := 1;
  paths := '[]';
  if v_count = 0 then
    problem := 'the name of a filter is missing after |';
  elsif v_count > 1 and (p_tokens[2] <> '(' or p_tokens[v_count] <> ')') then
    problem := 'a filter is written name or name(argument, …)';
    problem_at := 2;
  end if;
  if problem is not null then
    return;
  end if;

  for v_bound in select * from engine.argument_bounds(p_tokens[3 : v_count - 1]) loop
    v_argument := engine.parse_argument(
      p_tokens[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_gaps[v_bound.first_place + 2 : v_bound.last_place + 2],
      p_paths + jsonb_array_length(paths)
    );
    if v_argument.problem is not null then
      problem := v_argument.problem;
      problem_at := v_bound.first_place + 1 + v_argument.problem_at;
      return;
    end if;
    v_arguments := v_arguments || v_argument.argument;
    if v_argument.path_pieces is not null then
      paths := paths || to_jsonb(array[engine.path_text(v_argument.path_pieces, true)]);
    end if;
    sources := sources || v_argument.sources;
    variables := variables || v_argument.variables;
    inputs := inputs || v_argument.inputs;
    cost := engine.worse_cost(cost, v_argument.cost);
    weight := coalesce(weight, 0) + coalesce(v_argument.weight, 0);
  end loop;
  filter := jsonb_build_object('name', p_tokens[1], 'arguments', v_arguments);
  problem := engine.filter_problem(p_tokens[1], v_arguments);
end
$$;
