-- kind: code
-- The filters by name: their parameters, and the one function that calls them. Writes and locks
-- nothing.

-- The parameters of each filter, by its name.
create or replace function engine.filter_parameters()
  returns table (name text, parameters text[], required int)
  language sql
  immutable
  parallel safe
as $$
  values
    ('upper', '{}'::text[], 0), ('lower', '{}', 0), ('trim', '{}', 0), ('replace', '{text,text}', 2),
    ('split', '{text}', 1), ('join', '{text}', 0), ('slice', '{integer,integer}', 1), ('pad', '{integer,text,text}', 1),
    ('urlencode', '{}', 0), ('base64', '{text}', 0), ('hash', '{text}', 0),
    ('hmac', '{algorithm,secret,encoding}', 2), ('constant_time_equals', '{any}', 1),
    ('number', '{}', 0), ('round', '{integer}', 0), ('min', '{}', 0), ('max', '{}', 0), ('sum', '{}', 0),
    ('date', '{zone,text}', 1), ('add', '{integer,unit,zone}', 3), ('diff', '{any,unit,zone}', 3),
    ('default', '{any}', 1), ('json', '{}', 0), ('length', '{}', 0), ('keys', '{}', 0), ('first', '{}', 0),
    ('last', '{}', 0), ('unique', '{}', 0), ('sort', '{text,text}', 0), ('flatten', '{integer}', 0), ('type', '{}', 0)
$$;

-- The problem of a literal argument; null when there is none. Arguments that are paths are known
-- only at run time.
create or replace function engine.argument_problem(p_value jsonb, p_parameter text)
  returns text
  language sql
  stable
as $$
  select case
    when p_value is null or p_parameter = 'any' then null
    when p_parameter = 'algorithm' and p_value not in ('"sha1"', '"sha256"', '"sha384"', '"sha512"')
      then 'an algorithm is sha1, sha256, sha384 or sha512'
    when p_parameter = 'encoding' and p_value not in ('"hex"', '"base64"', '"base64url"')
      then 'an encoding is hex, base64 or base64url'
    when p_parameter = 'integer' then
      case
        when jsonb_typeof(p_value) <> 'number' or p_value #>> '{}' !~ '^-?[0-9]{1,9}$' then 'a whole number is needed'
      end
    when jsonb_typeof(p_value) <> 'string' then
      case when p_parameter <> 'text' or p_value <> 'null' then 'a text in quotes is needed' end
    when p_parameter = 'zone' and not engine.is_time_zone(p_value #>> '{}')
      then format('there is no time zone %s; write one such as Europe/Berlin or UTC', p_value)
    when p_parameter = 'unit' and p_value #>> '{}' not in (
      'milliseconds', 'seconds', 'minutes', 'hours', 'days', 'weeks', 'months', 'years'
    ) then 'a unit is milliseconds, seconds, minutes, hours, days, weeks, months or years'
  end
$$;

-- The problem of an argument as it was parsed: secret variables stand only where one is meant, and
-- what a worker applies has its other arguments from the definition.
create or replace function engine.parsed_argument_problem(p_filter text, p_argument jsonb, p_parameter text)
  returns text
  language sql
  stable
as $$
  select case
    when p_parameter = 'secret' and not p_argument ? 'secret' then 'a secret variable is needed: $.secrets.name'
    when p_argument ? 'secret' and p_parameter <> 'secret' and p_filter <> 'constant_time_equals'
      then 'this is no place for a secret variable'
    when p_parameter in ('algorithm', 'encoding') and not p_argument ? 'value' then 'a text in quotes is needed'
    else engine.argument_problem(p_argument -> 'value', p_parameter)
  end
$$;

-- The problem of a filter: an unknown name, or a wrong argument; null when there is none.
create or replace function engine.filter_problem(p_name text, p_arguments jsonb)
  returns text
  language sql
  stable
as $$
  select case
    when f.name is null then format(
      'there is no filter %s; there are %s',
      p_name,
      (select string_agg(k.name, ', ') from engine.filter_parameters() as k)
    )
    when jsonb_array_length(p_arguments) not between f.required and cardinality(f.parameters) then format(
      '%s is written %1$s%s', p_name,
      (
        select format('(%s)', string_agg(
          p.parameter || case when p.place > f.required then '?' else '' end, ', ' order by p.place
        ))
        from unnest(f.parameters) with ordinality as p (parameter, place)
      )
    )
    else (
      select min(format('%s: %s', p_name, p.problem)) filter (where p.problem is not null)
      from jsonb_array_elements(p_arguments) with ordinality as a (argument, place)
      cross join lateral engine.parsed_argument_problem(p_name, a.argument, f.parameters[a.place]) as p (problem)
    )
  end
  from (values (p_name)) as wanted (name)
  left join engine.filter_parameters() as f on f.name = wanted.name
$$;

-- An argument as a whole number; null when it is none.
create or replace function engine.argument_int(p_arguments jsonb, p_place int)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select case when p_arguments ->> p_place ~ '^-?[0-9]{1,9}$' then (p_arguments ->> p_place)::int end
$$;

-- Applies one filter. Small filters are computed in place: a call of a SQL function that PostgreSQL
-- cannot inline costs six times as much. JSON null passes unchanged through all filters but
-- default, json, length, type and constant_time_equals. Returns SQL null when the filter does not apply to the value.
create or replace function engine.apply_filter(p_name text, p_value jsonb, p_arguments jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_value = 'null' and p_name not in ('default', 'json', 'length', 'type', 'constant_time_equals') then
    return p_value;
  end if;
  return case p_name
    when 'default' then case when p_value = 'null' then p_arguments -> 0 else p_value end
    when 'upper' then to_jsonb(upper(engine.scalar_text(p_value) collate engine.unicode))
    when 'lower' then to_jsonb(lower(engine.scalar_text(p_value) collate engine.unicode))
    when 'trim' then to_jsonb(btrim(engine.scalar_text(p_value), e' \t\r\n\f\v'))
    when 'replace' then engine.filter_replace(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'split' then engine.filter_split(p_value, p_arguments ->> 0)
    when 'join' then engine.filter_join(p_value, coalesce(p_arguments ->> 0, ','))
    when 'slice' then engine.filter_slice(
      p_value, engine.argument_int(p_arguments, 0), engine.argument_int(p_arguments, 1))
    when 'pad' then engine.filter_pad(
      p_value, engine.argument_int(p_arguments, 0),
      coalesce(p_arguments ->> 1, ' '), coalesce(p_arguments ->> 2, 'left'))
    when 'urlencode' then engine.filter_urlencode(p_value)
    when 'base64' then engine.filter_base64(p_value, coalesce(p_arguments ->> 0, 'encode'))
    when 'hash' then engine.filter_hash(p_value, coalesce(p_arguments ->> 0, 'sha256'))
    when 'constant_time_equals' then engine.filter_constant_time_equals(p_value, p_arguments -> 0)
    when 'number' then engine.filter_number(p_value)
    when 'round' then engine.filter_round(p_value, coalesce(engine.argument_int(p_arguments, 0), 0))
    when 'min' then engine.filter_extreme(p_value, false)
    when 'max' then engine.filter_extreme(p_value, true)
    when 'sum' then engine.filter_sum(p_value)
    when 'date' then engine.filter_date(p_value, p_arguments ->> 0, p_arguments ->> 1)
    when 'add' then engine.filter_add(
      p_value, engine.argument_int(p_arguments, 0), p_arguments ->> 1, p_arguments ->> 2)
    when 'diff' then engine.filter_diff(p_value, p_arguments -> 0, p_arguments ->> 1, p_arguments ->> 2)
    when 'json' then to_jsonb(p_value::text)
    when 'length' then engine.filter_length(p_value)
    when 'keys' then engine.filter_keys(p_value)
    when 'first' then coalesce(engine.list_of(p_value) -> 0, 'null')
    when 'last' then coalesce(engine.list_of(p_value) -> -1, 'null')
    when 'unique' then engine.filter_unique(p_value)
    when 'sort' then engine.filter_sort(p_value, p_arguments ->> 0, coalesce(p_arguments ->> 1, 'asc'))
    when 'flatten' then engine.filter_flatten(p_value, coalesce(engine.argument_int(p_arguments, 0), 1))
    when 'type' then to_jsonb(jsonb_typeof(p_value))
  end;
end
$$;

-- The result of a path: its one item, an array when there are several or the path asks for many,
-- null for none.
create or replace function engine.result_value(p_found jsonb, p_many boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_many or jsonb_array_length(p_found) > 1 then p_found else coalesce(p_found -> 0, 'null') end
$$;

-- The arguments of a filter whose expression has paths among them, each {"value": …} or {"path":
-- its number, "many": …}.
create or replace function engine.filter_arguments(p_arguments jsonb, p_paths jsonpath[], p_variables jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(
    case
      when a.argument ? 'value' then a.argument -> 'value'
      else engine.result_value(
        jsonb_path_query_array('null', p_paths[(a.argument ->> 'path')::int], p_variables, true),
        (a.argument ->> 'many')::boolean
      )
    end order by a.place
  ), '[]')
  from jsonb_array_elements(p_arguments) with ordinality as a (argument, place)
$$;

-- Applies the filters of an expression in order. p_variables holds the sources when an argument is
-- a path.
create or replace function engine.apply_filters(
  p_value jsonb,
  p_part engine.expression_part,
  p_variables jsonb,
  p_place text[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value jsonb := p_value;
  v_filtered jsonb;
  v_arguments jsonb;
begin
  for v_step in 0 .. jsonb_array_length(p_part.filters) - 1 loop
    v_arguments := p_part.filters -> v_step -> 'arguments';
    if p_part.argument_paths is not null then
      v_arguments := engine.filter_arguments(v_arguments, p_part.argument_paths, p_variables);
    end if;
    v_filtered := engine.apply_filter(p_part.filters -> v_step ->> 'name', v_value, v_arguments);
    if v_filtered is null then
      return engine.expression_failed(
        'EXPRESSION_FILTER',
        format('%s(%s) cannot be applied to %s', p_part.filters -> v_step ->> 'name',
          left(trim(both '[]' from v_arguments::text), 100), left(v_value::text, 100)),
        p_place,
        p_part.position
      );
    elsif pg_column_size(v_filtered) > engine.max_value_bytes() then
      return engine.result_too_large(p_place, p_part.position);
    end if;
    v_value := v_filtered;
  end loop;
  return v_value;
end
$$;
