-- kind: code
-- The node convert: JSON, CSV, base64 and URL-encoded text. Writes and locks nothing.

create or replace function engine.run_convert(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_to constant text := p_properties ->> 'to';
  v_value constant jsonb := p_properties -> 'value';
  v_result jsonb;
begin
  v_result := case v_to
    when 'json' then to_jsonb(v_value::text)
    when 'fromJson' then case when jsonb_typeof(v_value) = 'string' then engine.parse_json(v_value #>> '{}') end
    when 'csv' then engine.to_csv(engine.items_of(v_value, true), p_properties)
    when 'fromCsv' then engine.from_csv(engine.scalar_text(v_value), p_properties)
    when 'base64' then engine.filter_base64(v_value, 'encode')
    when 'fromBase64' then engine.filter_base64(v_value, 'decode')
    when 'urlEncoded' then engine.to_url_encoded(v_value)
    when 'fromUrlEncoded' then engine.from_url_encoded(engine.scalar_text(v_value))
  end;
  if v_result is null then
    perform engine.node_failed('CONVERSION_FAILED', format(
      '%s cannot be made of %s', v_to, left(v_value::text, 100)
    ));
  end if;
  return v_result;
end
$$;

-- Lines of RFC 4180 with \r\n at their ends. The columns are those of `columns`, else the keys of all objects in the
-- order of jsonb: short ones first. Lists are lines as they are.
create or replace function engine.to_csv(p_items jsonb, p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_delimiter constant text := coalesce(p_properties ->> 'delimiter', ',');
  v_columns jsonb := p_properties -> 'columns';
  v_lines text[] := '{}';
  v_item jsonb;
begin
  if v_columns is null then
    select coalesce(jsonb_agg(k.key order by length(k.key), k.key collate "C"), '[]') into v_columns
    from (
      select distinct o.key
      from jsonb_array_elements(p_items) as i (item)
      cross join lateral jsonb_object_keys(
        case when jsonb_typeof(i.item) = 'object' then i.item else '{}' end
      ) as o (key)
    ) as k;
  end if;
  if coalesce(p_properties -> 'header', 'true') = 'true' and v_columns <> '[]' then
    v_lines := array[engine.csv_line(v_columns, v_delimiter)];
  end if;
  for v_place in 0 .. jsonb_array_length(p_items) - 1 loop
    v_item := p_items -> v_place;
    if jsonb_typeof(v_item) = 'object' then
      v_item := engine.field_values(v_item, engine.texts_of(v_columns));
    elsif jsonb_typeof(v_item) <> 'array' then
      perform engine.node_failed('NOT_OBJECTS', 'CSV is made of objects or lists');
    end if;
    v_lines[cardinality(v_lines) + 1] := engine.csv_line(v_item, v_delimiter);
  end loop;
  return to_jsonb(array_to_string(v_lines, e'\r\n') || case when v_lines = '{}' then '' else e'\r\n' end);
end
$$;

create or replace function engine.csv_line(p_values jsonb, p_delimiter text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select string_agg(
    case
      when strpos(t.text, p_delimiter) > 0 or t.text ~ e'["\r\n]' then '"' || replace(t.text, '"', '""') || '"'
      else t.text
    end,
    p_delimiter order by v.place
  )
  from jsonb_array_elements(p_values) with ordinality as v (value, place)
  cross join lateral (values (engine.text_of(v.value))) as t (text)
$$;

-- Reads CSV by RFC 4180: quoted texts may have delimiters and line ends, "" is a quote. SQL null when a quote is not
-- closed or text follows after it. With a header each line is an object, empty texts and those beyond the header left
-- out; without one a list.
create or replace function engine.from_csv(p_text text, p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_delimiter constant text := coalesce(p_properties ->> 'delimiter', ',');
  v_text constant text := ltrim(p_text, chr(65279)); -- without the mark of its encoding
  v_pattern constant text := format(
    E'(?:"((?:[^"]|"")*)"|([^"%1$s\\r\\n][^%1$s\\r\\n]*|))(%2$s|\\r\\n|\\n|\\r|$)', v_delimiter,
    case v_delimiter when '|' then E'\\|' else v_delimiter end
  );
  v_lines jsonb;
  v_read bigint;
begin
  with field as (
    select
      coalesce(replace(m.match[1], '""', '"'), m.match[2]) as text, m.match[3] as ending, m.place,
      count(*) filter (where m.match[3] ~ E'[\\r\\n]') over (
        order by m.place rows between unbounded preceding and 1 preceding
      ) as line,
      length(m.match[2]) + length(m.match[3]) as plain, length(m.match[1]) + 2 + length(m.match[3]) as quoted,
      -- The end of the text is found a second time, after what ends there.
      count(*) filter (where m.match[3] = '') over (
        order by m.place rows between unbounded preceding and 1 preceding
      ) as ends
    from regexp_matches(v_text, v_pattern, 'g') with ordinality as m (match, place)
  ),
  line as (
    select jsonb_agg(f.text order by f.place) as texts, f.line, sum(coalesce(f.plain, f.quoted)) as length
    from field as f
    where f.ends = 0
    group by f.line
  )
  select
    coalesce(jsonb_agg(l.texts order by l.line) filter (where l.texts <> '[""]'), '[]'), coalesce(sum(l.length), 0)
  into v_lines, v_read
  from line as l;
  if v_read <> length(v_text) then
    return null;
  elsif coalesce(p_properties -> 'header', 'true') = 'false' and not p_properties ? 'columns' then
    return v_lines;
  end if;
  return engine.csv_objects(
    case when p_properties -> 'header' = 'false' then v_lines else v_lines - 0 end,
    coalesce(p_properties -> 'columns', v_lines -> 0, '[]'),
    coalesce(p_properties -> 'numbers' = 'true', false)
  );
end
$$;

-- The lines as objects; with p_numbers, texts that are plain numbers become numbers, but for those with zeros in front.
create or replace function engine.csv_objects(p_lines jsonb, p_columns jsonb, p_numbers boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(o.object order by l.place), '[]')
  from jsonb_array_elements(p_lines) with ordinality as l (texts, place)
  cross join lateral (
    select coalesce(jsonb_object_agg(
      c.name,
      case
        when p_numbers and length(t.text) <= 300 and t.text ~ E'^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$'
          then to_jsonb(t.text::numeric)
        else to_jsonb(t.text)
      end
    ) filter (where t.text <> ''), '{}') as object
    from jsonb_array_elements_text(p_columns) with ordinality as c (name, place)
    join jsonb_array_elements_text(l.texts) with ordinality as t (text, place) on t.place = c.place
  ) as o
$$;

-- An object as name=value&…, a list as several values of a name; a text encoded as it is.
create or replace function engine.to_url_encoded(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case jsonb_typeof(p_value)
    when 'object' then (
      select to_jsonb(coalesce(string_agg(
        (engine.filter_urlencode(to_jsonb(e.key)) #>> '{}') || '='
          || (engine.filter_urlencode(to_jsonb(engine.text_of(v.value))) #>> '{}'),
        '&' order by e.place, v.place
      ), ''))
      from jsonb_each(p_value) with ordinality as e (key, value, place)
      cross join lateral jsonb_array_elements(engine.list_of(e.value)) with ordinality as v (value, place)
    )
    else engine.filter_urlencode(p_value)
  end
$$;

-- The names and values of a query or a form; a name that comes several times has a list. SQL null when a text is no
-- percent-encoded UTF-8.
create or replace function engine.from_url_encoded(p_text text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  return (
    select coalesce(jsonb_object_agg(
      g.name, case when jsonb_array_length(g.texts) = 1 then g.texts -> 0 else g.texts end
    ), '{}')
    from (
      select engine.url_decoded(split_part(p.pair, '=', 1)) as name, jsonb_agg(
        engine.url_decoded(substr(p.pair, length(split_part(p.pair, '=', 1)) + 2)) order by p.place
      ) as texts
      from unnest(string_to_array(p_text, '&')) with ordinality as p (pair, place)
      where p.pair <> ''
      group by 1
    ) as g
  );
exception
  when data_exception or untranslatable_character or character_not_in_repertoire then
    return null;
end
$$;

create or replace function engine.url_decoded(p_text text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select convert_from(coalesce(string_agg(
    case when m.match[1] ~ '^%.' then decode(substr(m.match[1], 2), 'hex') else convert_to(m.match[1], 'UTF8') end,
    ''::bytea order by m.place
  ), ''), 'UTF8')
  from regexp_matches(replace(p_text, '+', ' '), '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') with ordinality as m (match, place)
$$;
