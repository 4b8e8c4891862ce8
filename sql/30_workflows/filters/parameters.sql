-- kind: code
-- The names of the filters, their parameters, and the problems of arguments that are literals.
-- Writes and locks nothing.

-- The parameters of each filter, by its name. each: an expression that is evaluated for each item,
-- which is @ in it; value: one in which @ is the value.
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
    ('title', '{}', 0), ('contains', '{any}', 1), ('starts_with', '{text}', 1), ('ends_with', '{text}', 1),
    ('match', '{pattern,text}', 1), ('parse_json', '{}', 0), ('uuid_from', '{text}', 0),
    ('number', '{}', 0), ('round', '{integer}', 0), ('format_number', '{integer,text,text}', 0),
    ('min', '{each}', 0), ('max', '{each}', 0), ('sum', '{each}', 0), ('avg', '{each}', 0), ('count', '{each}', 0),
    ('map', '{each}', 1), ('where', '{each}', 1), ('sort_by', '{each,text}', 1),
    ('group_by', '{each,each}', 1),
    ('index_by', '{each}', 1), ('object', '{each,each}', 2), ('zip', '{any}', 1),
    ('merge', '{any}', 0),
    ('entries', '{}', 0), ('values', '{}', 0), ('then', '{any,any}', 1), ('calc', '{value}', 1),
    ('date', '{zone,text}', 1), ('local_date', '{zone}', 1), ('parse_date', '{text,zone}', 2),
    ('start_of', '{unit,zone}', 2), ('add', '{integer,unit,zone}', 3), ('diff', '{any,unit,zone}', 3),
    ('default', '{any}', 1), ('json', '{}', 0), ('length', '{}', 0), ('keys', '{}', 0), ('first', '{}', 0),
    ('last', '{}', 0), ('unique', '{each}', 0), ('sort', '{text,text}', 0),
    ('flatten', '{integer}', 0), ('type', '{}', 0)
$$;

-- The problem of a literal argument; null when there is none. Arguments that are paths are known
-- only at run time.
create or replace function engine.argument_problem(p_value jsonb, p_parameter text)
  returns text
  language sql
  stable
as $$
  select case
    when p_parameter = 'pattern' then engine.pattern_problem(p_value)
    when p_value is null or p_parameter in ('any', 'each', 'value') then null
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
          case when p.parameter in ('each', 'value') then '@…' else p.parameter end
            || case when p.place > f.required then '?' else '' end, ', ' order by p.place
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
