-- kind: code
-- What the built-in nodes of lists compute from their resolved properties. Each function depends on its arguments
-- alone; an error that it raises is a failure of the node. Grouping sorts: values with equal hashes can be
-- constructed. Writes and locks nothing.

-- The output of a built-in node that is none of those in run_pure().
create or replace function engine.run_list_node(p_type text, p_properties jsonb, p_prev jsonb, p_inputs jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_items jsonb;
begin
  case p_type
    when 'compare@1' then
      return engine.run_compare(p_inputs, engine.texts_of(p_properties -> 'by'));
    when 'dateTime@1' then
      return engine.named_output(engine.run_date_time(p_properties), p_prev, p_properties ->> 'as');
    when 'convert@1' then
      return engine.named_output(engine.run_convert(p_properties), p_prev, p_properties ->> 'as');
    when 'renameKeys@1' then
      return engine.run_rename_keys(p_properties);
    else
      null;
  end case;
  v_items := engine.items_of(p_properties -> 'items', p_type = 'splitOut@1');
  return case p_type
    when 'splitOut@1' then engine.run_split_out(v_items, p_properties)
    when 'aggregate@1' then engine.run_aggregate(v_items, p_properties)
    when 'summarize@1' then engine.run_summarize(v_items, p_properties)
    when 'sort@1' then engine.run_sort(v_items, coalesce(p_properties -> 'by', '[{}]'))
    when 'limit@1' then engine.run_limit(v_items, p_properties)
    when 'removeDuplicates@1' then engine.run_remove_duplicates(v_items, engine.texts_of(p_properties -> 'by'))
  end;
end
$$;

-- The list of a node; null counts as an empty one. p_one: an object counts as a list of one.
create or replace function engine.items_of(p_items jsonb, p_one boolean)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_items = 'null' then
    return '[]';
  elsif p_one and jsonb_typeof(p_items) = 'object' then
    return jsonb_build_array(p_items);
  elsif jsonb_typeof(p_items) <> 'array' then
    perform engine.node_failed('NOT_A_LIST', format('items is not a list: %s', left(p_items::text, 100)));
  end if;
  return p_items;
end
$$;

create or replace function engine.texts_of(p_list jsonb)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select array(
    select t.text from jsonb_array_elements_text(p_list) with ordinality as t (text, place) order by t.place
  )
$$;

-- The value at a field: a key, else keys with dots between them; JSON null when there is none.
create or replace function engine.field_value(p_item jsonb, p_field text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(p_item -> p_field, p_item #> string_to_array(p_field, '.'), 'null')
$$;

-- The values at several fields as a list.
create or replace function engine.field_values(p_item jsonb, p_fields text[])
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(engine.field_value(p_item, f.field) order by f.place), '[]')
  from unnest(p_fields) with ordinality as f (field, place)
$$;

-- The output of a node that adds a value to its input under a name, or gives it alone.
create or replace function engine.named_output(p_value jsonb, p_prev jsonb, p_name text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_name is null then p_value
    else case when jsonb_typeof(p_prev) = 'object' then p_prev else '{}' end || jsonb_build_object(p_name, p_value)
  end
$$;

-- The items of the list that each object has at `field`, with the fields to keep of the object beside them.
create or replace function engine.run_split_out(p_items jsonb, p_properties jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(
    case
      when p_properties ? 'keep' or p_properties ? 'as' then k.kept || case
        when jsonb_typeof(e.item) = 'object' and not p_properties ? 'as' then e.item
        else jsonb_build_object(coalesce(p_properties ->> 'as', p_properties ->> 'field'), e.item)
      end
      else e.item
    end order by i.place, e.place
  ), '[]')
  from jsonb_array_elements(p_items) with ordinality as i (item, place)
  cross join lateral (
    select coalesce(jsonb_object_agg(f.field, engine.field_value(i.item, f.field)), '{}') as kept
    from jsonb_array_elements_text(p_properties -> 'keep') as f (field)
  ) as k
  cross join lateral jsonb_array_elements(
    case engine.field_value(i.item, p_properties ->> 'field')
      when 'null' then '[]' else engine.list_of(engine.field_value(i.item, p_properties ->> 'field'))
    end
  ) with ordinality as e (item, place)
$$;

-- One object: a list of the values of each field, and the whole list under the name in `all`.
create or replace function engine.run_aggregate(p_items jsonb, p_properties jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when p_properties ? 'all' then jsonb_build_object(p_properties ->> 'all', p_items) else '{}' end
    || coalesce(jsonb_object_agg(f.field, (
      select coalesce(jsonb_agg(engine.field_value(i.item, f.field) order by i.place), '[]')
      from jsonb_array_elements(p_items) with ordinality as i (item, place)
    )), '{}')
  from jsonb_array_elements_text(coalesce(p_properties -> 'fields', '[]')) as f (field)
  having count(f.field) > 0 or p_properties ? 'all'
$$;

-- Sorts by one field after the other, the last one first: equal items keep their order. An entry without a field sorts
-- by the items themselves.
create or replace function engine.run_sort(p_items jsonb, p_by jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_items jsonb := p_items;
  v_field text;
begin
  for v_place in reverse jsonb_array_length(p_by) - 1 .. 0 loop
    v_field := p_by -> v_place ->> 'field';
    v_items := engine.filter_sort_by(
      v_items,
      case when v_field is null then v_items else engine.column_of(v_items, v_field) end,
      coalesce(p_by -> v_place ->> 'direction', 'asc')
    );
  end loop;
  return v_items;
end
$$;

-- The values at a field of all items, in their order.
create or replace function engine.column_of(p_items jsonb, p_field text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select coalesce(jsonb_agg(engine.field_value(i.item, p_field) order by i.place), '[]')
  from jsonb_array_elements(p_items) with ordinality as i (item, place)
$$;

create or replace function engine.run_limit(p_items jsonb, p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_count constant jsonb := p_properties -> 'count';
begin
  if jsonb_typeof(v_count) <> 'number' or v_count::numeric < 0 or v_count::numeric > 1e9 then
    perform engine.node_failed(
      'VALIDATION_FAILED', format('count is not a number from 0 on: %s', left(v_count::text, 100))
    );
  end if;
  return case
    when v_count::numeric < 1 then '[]'
    when p_properties ->> 'keep' = 'last' then engine.filter_slice(p_items, - v_count::int, null)
    else engine.filter_slice(p_items, 0, v_count::int)
  end;
end
$$;

create or replace function engine.run_remove_duplicates(p_items jsonb, p_fields text[])
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select engine.filter_unique_by(p_items, case
    when p_fields = '{}' then p_items
    else (
      select coalesce(jsonb_agg(engine.field_values(i.item, p_fields) order by i.place), '[]')
      from jsonb_array_elements(p_items) with ordinality as i (item, place)
    )
  end)
$$;
