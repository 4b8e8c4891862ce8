-- kind: code
-- Compiles the expressions in the properties of a node. Writes and locks nothing.

-- Returns the properties with literal texts unescaped, their expressions, and the variables and
-- sources that these read.
create or replace function engine.compile_properties(
  p_properties jsonb,
  p_schema jsonb,
  p_strict boolean,
  p_ids text[],
  out properties jsonb,
  out expressions engine.expression[],
  out variables text[],
  out sources text[]
)
  language plpgsql
  immutable
as $$
declare
  v_text record;
begin
  properties := p_properties;
  for v_text in
    select
      p.place, p.kind, string_agg(p.literal, '' order by p.part) as literal,
      array_agg(
        engine.compile_part(
          p.literal, p.path, p.sources, p.many, p.regex, p.filters, p.argument_paths, p.by_name, p.start_at, p_ids
        ) order by p.part
      ) as parts,
      string_agg(array_to_string(p.sources, ' '), ' ') as reads,
      string_agg(array_to_string(p.variables, ' '), ' ') as variables,
      case max(case p.cost when 'linear' then 0 when 'quadratic' then 1 when 'unbounded' then 2 end)
        when 2 then 'unbounded' when 1 then 'quadratic' else 'linear'
      end as cost,
      least(coalesce(sum(p.weight), 0), 1000000)::int as weight
    from engine.parse_properties(p_properties, p_schema) as p
    group by p.place, p.kind
    order by p.kind = 'each', p.place -- conditions for each item are evaluated after the items
  loop
    if v_text.kind = 'literal' then
      properties := jsonb_set(properties, v_text.place, to_jsonb(v_text.literal));
      continue;
    end if;
    expressions := expressions || engine.compile_expression(
      v_text.place,
      case when v_text.reads ~ '(^| )secrets[.]' then 'secret' else v_text.kind end,
      v_text.parts, v_text.cost, v_text.weight, p_strict
    );
    variables := variables || string_to_array(v_text.variables, ' ');
    sources := sources || string_to_array(v_text.reads, ' ');
  end loop;
end
$$;

-- Reduces filters with literal arguments to the form that apply_filter takes, to save that work at
-- run time.
create or replace function engine.plain_filters(p_filters jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_agg(
    case
      when f.filter ? 'each' then f.filter
      else jsonb_build_object(
        'name', f.filter -> 'name', 'arguments', jsonb_path_query_array(f.filter -> 'arguments', 'strict $[*].value')
      )
    end order by f.place
  )
  from jsonb_array_elements(p_filters) with ordinality as f (filter, place)
$$;

-- Compiles one part of an expression; p_ids are the ids of the nodes in the order of the compiled
-- nodes.
create or replace function engine.compile_part(
  p_literal text,
  p_path text,
  p_sources text[],
  p_many boolean,
  p_regex boolean,
  p_filters jsonb,
  p_argument_paths text[],
  p_by_name boolean,
  p_start_at int,
  p_ids text[]
)
  returns engine.expression_part
  language sql
  immutable
as $$
  select row(
    p_literal,
    r.sources,
    array(
      select coalesce(array_position(p_ids, substr(s.source, 7)), 0)
      from unnest(r.sources) with ordinality as s (source, place)
      order by s.place
    ),
    p_path::jsonpath,
    p_many,
    case
      when p_argument_paths is null and engine.secret_filter_place(p_filters) is null
        then engine.plain_filters(p_filters)
      else p_filters
    end,
    p_argument_paths::jsonpath[],
    case when p_regex then engine.max_regex_input() else engine.max_expression_input() end,
    p_start_at,
    null,
    p_by_name
  )::engine.expression_part
  -- Of a secret variable that stands alone its name stays, as the only source.
  from (
    select case
      when p_filters is null and engine.names_secret(p_sources) then p_sources
      when p_sources is not null then engine.readable_sources(p_sources)
    end as sources
  ) as r
$$;

-- Compiles the expression at one place. A plain expression has its path in fields of its own, so
-- that the engine evaluates it without a function call.
create or replace function engine.compile_expression(
  p_place text[],
  p_kind text,
  p_parts engine.expression_part[],
  p_cost text,
  p_weight int,
  p_strict boolean
)
  returns engine.expression
  language plpgsql
  immutable
as $$
declare
  v_part constant engine.expression_part := p_parts[1];
  v_expression engine.expression;
begin
  v_expression.place := p_place;
  v_expression.kind := p_kind;
  v_expression.cost := p_cost;
  v_expression.weight := p_weight;
  if p_kind in ('value', 'predicate')
    and not p_strict and not v_part.many and v_part.filters is null and cardinality(v_part.sources) = 1
    and not engine.compares_times(v_part.path)
  then
    v_expression.source := split_part(v_part.sources[1], '.', 1);
    v_expression.source_node := v_part.source_nodes[1];
    v_expression.path := v_part.path;
    v_expression.max_input := v_part.max_input;
    v_expression.position := v_part.position;
  else
    v_expression.parts := p_parts;
  end if;
  return v_expression;
end
$$;
