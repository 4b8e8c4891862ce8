-- kind: code
-- Filters on numbers and lists. SQL null means that the filter does not apply to the value. Writes
-- and locks nothing.

create or replace function engine.filter_number(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) = 'number' then p_value
    when jsonb_typeof(p_value) = 'boolean' then to_jsonb((p_value #>> '{}')::boolean::int)
    -- At most 300 digits and an exponent of two digits, so that the number has a bounded length.
    when t.value ~ E'^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]{1,2})?$' and length(t.value) <= 300
      then to_jsonb(t.value::numeric)
  end
  from (values (btrim(engine.scalar_text(p_value), e' \t\r\n'))) as t (value)
$$;

create or replace function engine.filter_round(p_value jsonb, p_digits int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_digits between -300 and 300 then to_jsonb(round((engine.filter_number(p_value) #>> '{}')::numeric, p_digits))
  end
$$;

-- The least or (p_last) the greatest of numbers, or of texts; JSON null for an empty list.
create or replace function engine.filter_extreme(p_value jsonb, p_last boolean)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when count(*) = 0 then 'null'
    when count(i.number) = count(*) then to_jsonb(case when p_last then max(i.number) else min(i.number) end)
    when count(i.text) = count(*) then to_jsonb(case when p_last then max(i.text) else min(i.text) end)
  end
  from (
    select
      case when jsonb_typeof(e.item) = 'number' then (e.item #>> '{}')::numeric end as number,
      case when jsonb_typeof(e.item) = 'string' then (e.item #>> '{}') collate "C" end as text
    from jsonb_array_elements(engine.list_of(p_value)) as e (item)
  ) as i
$$;

create or replace function engine.filter_sum(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when coalesce(bool_and(jsonb_typeof(i.item) = 'number'), true)
      then to_jsonb(coalesce(sum(case when jsonb_typeof(i.item) = 'number' then (i.item #>> '{}')::numeric end), 0))
  end
  from jsonb_array_elements(engine.list_of(p_value)) as i (item)
$$;

create or replace function engine.filter_length(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case jsonb_typeof(p_value)
    when 'null' then 0
    when 'array' then jsonb_array_length(p_value)
    when 'object' then (select count(*)::int from jsonb_object_keys(p_value))
    when 'string' then length(p_value #>> '{}')
  end)
$$;

create or replace function engine.filter_keys(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) = 'object' then
    (select coalesce(jsonb_agg(k.key), '[]') from jsonb_object_keys(p_value) as k (key))
  end
$$;

-- Each value once, at its first place. Sorts instead of hashing, because values with equal hashes
-- can be constructed.
create or replace function engine.filter_unique(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(u.item order by u.place), '[]')
  from (
    select i.item, i.place, row_number() over (partition by i.item order by i.place) as number
    from jsonb_array_elements(engine.list_of(p_value)) with ordinality as i (item, place)
  ) as u
  where u.number = 1
$$;

-- Sorts by the items themselves, or by one key of them; p_direction is asc or desc. Equal items
-- keep their order. The order is that of jsonb, but texts are ordered by code point: jsonb itself
-- uses the locale of the database.
create or replace function engine.filter_sort(p_value jsonb, p_key text, p_direction text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_direction in ('asc', 'desc') then coalesce(jsonb_agg(s.item order by s.rank), '[]') end
  from (
    select i.item, row_number() over (
      order by
        case when p_direction = 'asc' then t.kind end,
        case when p_direction = 'asc' then t.text end,
        case when p_direction = 'asc' then k.key end,
        case when p_direction = 'desc' then t.kind end desc nulls last,
        case when p_direction = 'desc' then t.text end desc nulls last,
        case when p_direction = 'desc' then k.key end desc nulls last,
        i.place
    ) as rank
    from jsonb_array_elements(engine.list_of(p_value)) with ordinality as i (item, place)
    cross join lateral (values (case when p_key is null then i.item else i.item -> p_key end)) as k (key)
    -- kind 0 sorts before all texts, 1 is a text, 2 sorts after all texts.
    cross join lateral (values (
      case
        when k.key in ('null', '[]') then 0
        when jsonb_typeof(k.key) = 'string' then 1
        when k.key is not null then 2
      end,
      case when jsonb_typeof(k.key) = 'string' then (k.key #>> '{}') collate "C" end
    )) as t (kind, text)
  ) as s
$$;

create or replace function engine.filter_flatten(p_value jsonb, p_depth int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_value jsonb := engine.list_of(p_value);
begin
  if p_depth not between 1 and 64 then
    return null;
  end if;
  for v_level in 1 .. p_depth loop
    exit when not jsonb_path_exists(v_value, 'strict $[*] ? (@.type() == "array")');
    v_value := jsonb_path_query_array(v_value, 'lax $[*][*]'); -- in lax mode an item that is no array is kept
  end loop;
  return v_value;
end
$$;
