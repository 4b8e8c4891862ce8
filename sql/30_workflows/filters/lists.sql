-- kind: code
-- Filters on lists that go by what an expression has given for each item: p_keys has as many items as p_items. SQL null
-- means that the filter does not apply. Where items are grouped, an aggregate with an order makes PostgreSQL sort:
-- values with equal hashes can be constructed. Writes and locks nothing.

create or replace function engine.filter_where(p_items jsonb, p_truths jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(i.item order by i.place), '[]')
  from rows from (jsonb_array_elements(p_items), jsonb_array_elements(p_truths))
    with ordinality as i (item, truth, place)
  where i.truth = 'true'
$$;

create or replace function engine.without_nulls(p_items jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_path_query_array(p_items, 'strict $[*] ? (@ != null)')
$$;

-- The mean of numbers, nulls left out; JSON null when there are none.
create or replace function engine.filter_avg(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when coalesce(bool_and(jsonb_typeof(i.item) in ('number', 'null')), true) then coalesce(to_jsonb(trim_scale(
      avg(case when jsonb_typeof(i.item) = 'number' then (i.item #>> '{}')::numeric end)
    )), 'null')
  end
  from jsonb_array_elements(engine.list_of(p_value)) as i (item)
$$;

-- The first item of each key.
create or replace function engine.filter_unique_by(p_items jsonb, p_keys jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(u.item order by u.place), '[]')
  from (
    select i.item, i.place, row_number() over (partition by i.key order by i.place) as number
    from rows from (jsonb_array_elements(p_items), jsonb_array_elements(p_keys))
      with ordinality as i (item, key, place)
  ) as u
  where u.number = 1
$$;

-- Items with equal keys keep their order; those whose key is null stand at the end in both directions. Keys of several
-- types are ordered as by sort.
create or replace function engine.filter_sort_by(p_items jsonb, p_keys jsonb, p_direction text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_direction in ('asc', 'desc') then coalesce(jsonb_agg(s.item order by s.rank), '[]') end
  from (
    select i.item, row_number() over (
      order by
        i.key = 'null',
        case when p_direction = 'asc' then t.kind end,
        case when p_direction = 'asc' then t.text end,
        case when p_direction = 'asc' then i.key end,
        case when p_direction = 'desc' then t.kind end desc,
        case when p_direction = 'desc' then t.text end desc nulls last,
        case when p_direction = 'desc' then i.key end desc,
        i.place
    ) as rank
    from rows from (jsonb_array_elements(p_items), jsonb_array_elements(p_keys))
      with ordinality as i (item, key, place)
    cross join lateral (values (
      case when i.key = '[]' then 0 when jsonb_typeof(i.key) = 'string' then 1 else 2 end,
      case when jsonb_typeof(i.key) = 'string' then (i.key #>> '{}') collate "C" end
    )) as t (kind, text)
  ) as s
$$;

-- [{"key", "items"}, …] in the order in which the keys come first.
create or replace function engine.filter_group_by(p_keys jsonb, p_values jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(jsonb_build_object('key', g.key, 'items', g.items) order by g.place), '[]')
  from (
    select i.key, jsonb_agg(i.value order by i.place) as items, min(i.place) as place
    from rows from (jsonb_array_elements(p_keys), jsonb_array_elements(p_values))
      with ordinality as i (key, value, place)
    group by i.key
  ) as g
$$;

-- An object of the values by their keys, which are texts, numbers or truth values; the last value of a key counts, a
-- null key none.
create or replace function engine.filter_object(p_keys jsonb, p_values jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when coalesce(bool_and(jsonb_typeof(i.key) not in ('array', 'object')), true) then coalesce(
      jsonb_object_agg(coalesce(engine.scalar_text(i.key), ''), i.value order by i.place)
        filter (where i.key <> 'null' and jsonb_typeof(i.key) not in ('array', 'object')),
      '{}'
    )
  end
  from rows from (jsonb_array_elements(p_keys), jsonb_array_elements(p_values))
    with ordinality as i (key, value, place)
$$;

-- Pairs of the items at the same place, as many as the shorter list has.
create or replace function engine.filter_zip(p_items jsonb, p_others jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(jsonb_build_array(i.item, i.other) order by i.place), '[]')
  from rows from (jsonb_array_elements(p_items), jsonb_array_elements(p_others))
    with ordinality as i (item, other, place)
  where i.item is not null and i.other is not null
$$;

-- One object of two, or of all objects of a list. Of keys that are in several, the last one counts.
create or replace function engine.filter_merge(p_value jsonb, p_other jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when coalesce(bool_and(jsonb_typeof(i.item) = 'object'), true) then coalesce((
      select jsonb_object_agg(e.key, e.value order by o.place)
      from jsonb_array_elements(l.items) with ordinality as o (item, place)
      cross join lateral jsonb_each(case when jsonb_typeof(o.item) = 'object' then o.item else '{}' end) as e
    ), '{}')
  end
  from (values (
    engine.list_of(p_value) || case when p_other is null then '[]' else engine.list_of(p_other) end
  )) as l (items)
  left join lateral jsonb_array_elements(l.items) as i (item) on true
  group by l.items
$$;

-- The members of an object as a list.
create or replace function engine.filter_entries(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) = 'object' then (
    select coalesce(jsonb_agg(jsonb_build_object('key', e.key, 'value', e.value)), '[]') from jsonb_each(p_value) as e
  ) end
$$;
