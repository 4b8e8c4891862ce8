-- kind: code
-- Finds the expressions in the properties of a node by the schema of its type. Writes and locks
-- nothing.

-- The default properties of a type, from its schema.
create or replace function engine.default_properties(p_schema jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_object_agg(p.key, p.value -> 'default') filter (where p.value ? 'default'), '{}')
  from jsonb_each(coalesce(p_schema -> 'properties', '{}')) as p
$$;

-- Every text in a value that may hold an expression: its place, and the format that the schema
-- gives it.
create or replace function engine.texts_in(p_value jsonb, p_schema jsonb)
  returns table (place text[], content text, format text)
  language sql
  immutable
  parallel safe
as $$
  with recursive walk as (
    select '{}'::text[] as place, p_value as value, p_schema as schema
    union all
    select w.place || c.key, c.value, engine.child_schema(w.schema, c.key)
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
  select w.place, w.value #>> '{}', w.schema ->> 'format'
  from walk as w
  where jsonb_typeof(w.value) = 'string'
    and (w.schema ? 'format' or strpos(w.value #>> '{}', '{{') > 0)
$$;

-- The parts of a text of that format; no row when it holds no expression.
create or replace function engine.text_parts(p_content text, p_format text)
  returns table (kind text, literal text, expression text, start_at int, error text)
  language plpgsql
  immutable
as $$
begin
  if p_format in ('predicate', 'each', 'path') then
    return query select
      case p_format when 'path' then 'value' else p_format end,
      null::text,
      p_content,
      1,
      case when strpos(p_content, '{{') > 0 then 'write the path without {{ and }}' end;
  elsif p_format is distinct from 'static' and strpos(p_content, '{{') > 0 then
    return query
      select
        case
          when count(*) over () = 1 and t.expression is not null then 'value'
          when count(t.expression) over () = 0 and count(t.error) over () = 0 then 'literal'
          else 'text'
        end,
        t.literal, t.expression, t.start_at, t.error
      from engine.split_template(p_content) as t;
  end if;
end
$$;

-- Every expression of a node, part by part. A text of kind `literal` holds no expression, only
-- escaped braces.
create or replace function engine.parse_properties(p_properties jsonb, p_schema jsonb)
  returns table (
    place text[],
    kind text,
    part int,
    literal text,
    expression text,
    start_at int,
    path text,
    sources text[],
    variables text[],
    inputs text[],
    many boolean,
    regex boolean,
    filters jsonb,
    argument_paths text[],
    by_name boolean,
    cost text,
    weight int,
    problem text
  )
  language sql
  immutable
as $$
  select
    t.place, p.kind, p.part::int, p.literal, p.expression,
    p.start_at + coalesce(e.problem_at, 1) - 1,
    e.path, e.sources, e.variables, e.inputs, e.many, e.regex, e.filters, e.argument_paths,
    e.by_name, e.cost, e.weight,
    coalesce(p.error, e.problem)
  from engine.texts_in(p_properties, p_schema) as t
  cross join lateral engine.text_parts(t.content, t.format) with ordinality as p (
    kind, literal, expression, start_at, error, part
  )
  left join lateral engine.parse_expression(p.expression) as e on p.expression is not null and p.error is null
$$;
