-- kind: code
-- The merge node, with the inputs `main` and `second`, each of which may have several live values.
-- Writes and locks nothing.

create or replace function engine.run_merge(p_properties jsonb, p_inputs jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_mode constant text := coalesce(p_properties ->> 'mode', 'choose');
  v_values constant jsonb := coalesce(p_inputs -> 'main', '[]') || coalesce(p_inputs -> 'second', '[]');
  v_left jsonb;
  v_right jsonb;
begin
  if v_mode = 'choose' then
    return coalesce(v_values -> case p_properties ->> 'choose' when 'last' then -1 else 0 end, 'null');
  end if;
  v_left := engine.input_items(p_inputs, 'main');
  v_right := engine.input_items(p_inputs, 'second');
  if v_mode = 'append' then
    return v_left || v_right;
  elsif jsonb_path_exists(v_left || v_right, 'strict $[*] ? (@.type() != "object")') then
    perform engine.node_failed('NOT_OBJECTS', format('merging by %s needs objects in the lists', v_mode));
  elsif v_mode = 'position' then
    return engine.merge_by_position(v_left, v_right, coalesce(p_properties ->> 'join', 'outer'));
  end if;
  if jsonb_array_length(v_left)::bigint * jsonb_array_length(v_right) > engine.max_pairs()
    -- Refuse a join before it is built when its result cannot fit into an output of 1 MiB.
    or engine.pair_bytes(
      v_left, v_right, p_properties ->> 'by', coalesce(p_properties ->> 'bySecond', p_properties ->> 'by')
    ) > engine.max_pair_bytes()
  then
    perform engine.node_failed('TOO_LARGE', 'the lists are too long to be merged by fields');
  end if;
  return engine.merge_by_fields(
    v_left,
    v_right,
    p_properties ->> 'by',
    coalesce(p_properties ->> 'bySecond', p_properties ->> 'by'),
    coalesce(p_properties ->> 'join', 'inner')
  );
end
$$;

-- All values of an input as one list: lists are concatenated, any other value is one item.
create or replace function engine.input_items(p_inputs jsonb, p_input text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_path_query_array(p_inputs -> p_input, 'lax $[*][*]'), '[]')
$$;

-- Joins the items of both sides that have the same place.
create or replace function engine.merge_by_position(p_left jsonb, p_right jsonb, p_join text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(coalesce(p_left -> n, '{}') || coalesce(p_right -> n, '{}') order by n), '[]')
  from generate_series(0, case p_join
    when 'inner' then least(jsonb_array_length(p_left), jsonb_array_length(p_right))
    when 'left' then jsonb_array_length(p_left)
    else greatest(jsonb_array_length(p_left), jsonb_array_length(p_right))
  end - 1) as n
$$;

-- Joins the items of both sides by a key, as SQL does: items with equal keys give all pairs, items
-- without the key none.
create or replace function engine.merge_by_fields(
  p_left jsonb,
  p_right jsonb,
  p_left_key text,
  p_right_key text,
  p_join text
)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(
    jsonb_agg(coalesce(l.item, '{}') || coalesce(r.item, '{}') order by l.place nulls last, r.place), '[]'
  )
  from jsonb_array_elements(p_left) with ordinality as l (item, place)
  full join jsonb_array_elements(p_right) with ordinality as r (item, place)
    on l.item -> p_left_key = r.item -> p_right_key
  where case p_join
    when 'outer' then true
    when 'left' then l.place is not null
    else l.place is not null and r.place is not null
  end
$$;

-- The bytes of all pairs of a join, computed from sums per key without building a pair. A key that
-- both sides have counts twice here, so the number is at most twice the size of the result.
create or replace function engine.pair_bytes(p_left jsonb, p_right jsonb, p_left_key text, p_right_key text)
  returns numeric
  language sql
  immutable
  parallel safe
as $$
  with l as (
    select i.item -> p_left_key as key, count(*) as items, sum(pg_column_size(i.item)) as bytes
    from jsonb_array_elements(p_left) as i (item)
    group by 1
  ),
  r as (
    select i.item -> p_right_key as key, count(*) as items, sum(pg_column_size(i.item)) as bytes
    from jsonb_array_elements(p_right) as i (item)
    group by 1
  )
  select coalesce(sum(l.bytes * r.items + r.bytes * l.items), 0)
  from l
  join r on r.key = l.key
$$;
