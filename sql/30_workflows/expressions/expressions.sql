-- kind: code
-- Parses a whole expression, `path | filter(argument, …) | …`, when a workflow is validated or
-- compiled. Writes and locks nothing.

-- Parses an expression. `problem` says what is wrong with it, `problem_at` at which 1-based
-- character; else both are null.
create or replace function engine.parse_expression(
  p_text text,
  out path text,
  out sources text[],
  out variables text[],
  out inputs text[],
  out many boolean,
  out regex boolean,
  out filters jsonb,
  out argument_paths text[],
  out by_name boolean,
  out cost text,
  out weight int,
  out problem text,
  out problem_at int
)
  language plpgsql
  stable
as $$
declare
  v_tokens record;
  v_pipes int[];
  v_last int;
  v_main record;
  v_filters engine.parsed_argument;
  v_cost record;
begin
  problem_at := 1;
  problem := case
    when length(p_text) > 4096 then 'an expression has at most 4,096 characters'
    when p_text ~ e'[\\x01-\\x08\\x0e-\\x1f]' then 'an expression has no control characters'
  end;
  if problem is not null then
    return;
  end if;

  v_tokens := engine.significant_tokens(p_text);
  if cardinality(v_tokens.tokens) > 1000 then
    problem := 'an expression has at most 1,000 parts';
    return;
  end if;
  v_pipes := engine.pipe_places(v_tokens.tokens);
  v_last := coalesce(v_pipes[1] - 1, cardinality(v_tokens.tokens));
  v_main := engine.rewrite_path(v_tokens.tokens[1 : v_last], v_tokens.gaps[1 : v_last]);
  v_filters := engine.parse_filters(v_tokens.tokens, v_tokens.gaps, v_pipes, 0);
  problem := coalesce(
    v_main.problem, v_filters.problem,
    engine.secret_use_problem(v_main.pieces, v_main.sources, v_filters.argument)
  );
  if problem is not null then
    problem_at := coalesce(
      v_tokens.starts[case when v_main.problem is null then v_filters.problem_at else v_main.problem_at end], 1
    );
    return;
  end if;

  many := v_main.many;
  regex := v_main.regex or coalesce(v_filters.regex, false);
  v_cost := engine.path_cost(v_tokens.tokens[1 : v_last]);
  v_cost := engine.chain_cost(
    engine.worse_cost(v_cost.cost, v_filters.cost), v_cost.weight + coalesce(v_filters.weight, 0), v_filters.argument
  );
  cost := v_cost.cost;
  weight := v_cost.weight;
  filters := v_filters.argument;
  argument_paths := v_filters.paths;
  sources := array(select distinct s from unnest(v_main.sources || v_filters.sources) as s order by s);
  variables := array(
    select distinct v from unnest(v_main.variables || v_filters.variables) as v where v is not null order by v
  );
  inputs := array(select distinct i from unnest(v_main.inputs || v_filters.inputs) as i where i is not null order by i);
  by_name := cardinality(engine.readable_sources(sources)) > 1
    or cardinality(engine.readable_sources(v_filters.sources)) > 0;
  path := engine.path_text(v_main.pieces, by_name);
  problem := coalesce(
    engine.jsonpath_problem(path), (select min(engine.jsonpath_problem(a)) from unnest(argument_paths) as a)
  );
end
$$;

-- The error that PostgreSQL raises for a path; null when it accepts the path.
create or replace function engine.jsonpath_problem(p_path text)
  returns text
  language plpgsql
  immutable
as $$
begin
  perform p_path::jsonpath;
  return null;
exception
  when syntax_error or data_exception or program_limit_exceeded or feature_not_supported then
    return regexp_replace(sqlerrm, ' of jsonpath input', '');
end
$$;
