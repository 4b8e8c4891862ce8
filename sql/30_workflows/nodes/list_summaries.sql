-- kind: code
-- The nodes summarize, compare, renameKeys and dateTime; list_nodes.sql calls them. Writes and locks nothing.

-- One object for each group, in the order in which the groups come first: its fields, and the values.
create or replace function engine.run_summarize(p_items jsonb, p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_by constant text[] := engine.texts_of(coalesce(p_properties -> 'by', '[]'));
  v_keys jsonb;
  v_groups jsonb;
  v_row jsonb;
  v_rows jsonb[] := '{}';
begin
  select coalesce(jsonb_agg(engine.field_values(i.item, v_by) order by i.place), '[]') into v_keys
  from jsonb_array_elements(p_items) with ordinality as i (item, place);
  v_groups := engine.filter_group_by(v_keys, p_items);
  if v_by = '{}' and v_groups = '[]' then
    v_groups := '[{"key": [], "items": []}]'; -- without groups there is one, also of no items
  end if;
  for v_group in 0 .. jsonb_array_length(v_groups) - 1 loop
    v_row := '{}';
    for v_place in 1 .. cardinality(v_by) loop
      v_row := v_row || jsonb_build_object(v_by[v_place], v_groups -> v_group -> 'key' -> (v_place - 1));
    end loop;
    for v_place in 0 .. jsonb_array_length(p_properties -> 'values') - 1 loop
      v_row := v_row || engine.summary_value(v_groups -> v_group -> 'items', p_properties -> 'values' -> v_place);
    end loop;
    v_rows := v_rows || v_row;
  end loop;
  return to_jsonb(v_rows);
end
$$;

-- One value of a group under its name: `as`, else such as sum_amount.
create or replace function engine.summary_value(p_items jsonb, p_value jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_function constant text := p_value ->> 'function';
  v_field constant text := p_value ->> 'field';
  v_column constant jsonb := case when v_field is null then p_items else engine.column_of(p_items, v_field) end;
  v_result jsonb;
begin
  v_result := case v_function
    when 'sum' then engine.filter_sum(engine.without_nulls(v_column))
    when 'avg' then engine.filter_avg(v_column)
    when 'min' then engine.filter_extreme(engine.without_nulls(v_column), false)
    when 'max' then engine.filter_extreme(engine.without_nulls(v_column), true)
    when 'count' then to_jsonb(jsonb_array_length(engine.without_nulls(v_column)))
    when 'first' then coalesce(v_column -> 0, 'null')
    when 'last' then coalesce(v_column -> -1, 'null')
    when 'list' then v_column
  end;
  if v_result is null then
    perform engine.node_failed('NOT_NUMBERS', format(
      '%s of %s needs numbers%s', v_function, coalesce(v_field, 'the items'),
      case when v_function in ('min', 'max') then ', or texts only' else '' end
    ));
  elsif jsonb_typeof(v_result) = 'number' and not engine.is_bounded(v_result) then
    perform engine.node_failed('TOO_LARGE', format('The %s of %s is too large a number.', v_function, v_field));
  end if;
  return jsonb_build_object(
    coalesce(p_value ->> 'as', v_function || coalesce('_' || v_field, '')), v_result
  );
end
$$;

-- What differs between the list at main and the one at second, whose items are matched by their fields. Of several
-- items with the same fields the first counts.
create or replace function engine.run_compare(p_inputs jsonb, p_fields text[])
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  with pair as (
    select b.item as before, a.item as after, coalesce(b.place, 1e9) as place, a.place as after_place
    from (
      select distinct on (k.key) k.key, i.item, i.place
      from jsonb_array_elements(engine.input_items(p_inputs, 'main')) with ordinality as i (item, place)
      cross join lateral (values (engine.field_values(i.item, p_fields))) as k (key)
      order by k.key, i.place
    ) as b
    full join (
      select distinct on (k.key) k.key, i.item, i.place
      from jsonb_array_elements(engine.input_items(p_inputs, 'second')) with ordinality as i (item, place)
      cross join lateral (values (engine.field_values(i.item, p_fields))) as k (key)
      order by k.key, i.place
    ) as a on a.key = b.key
  )
  select jsonb_build_object(
    'added', coalesce(jsonb_agg(p.after order by p.after_place) filter (where p.before is null), '[]'),
    'removed', coalesce(jsonb_agg(p.before order by p.place) filter (where p.after is null), '[]'),
    'changed', coalesce(
      jsonb_agg(jsonb_build_object('before', p.before, 'after', p.after) order by p.place)
        filter (where p.before <> p.after),
      '[]'
    ),
    'same', coalesce(jsonb_agg(p.before order by p.place) filter (where p.before = p.after), '[]')
  )
  from pair as p
$$;

create or replace function engine.run_rename_keys(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_items constant jsonb := engine.items_of(p_properties -> 'items', true);
  v_is_one constant boolean := jsonb_typeof(p_properties -> 'items') = 'object';
  v_renamed jsonb[] := '{}';
begin
  for v_place in 0 .. jsonb_array_length(v_items) - 1 loop
    if jsonb_typeof(v_items -> v_place) <> 'object' then
      perform engine.node_failed('NOT_OBJECTS', 'renameKeys needs objects in the list');
    end if;
    v_renamed[v_place + 1] := engine.run_set(
      jsonb_build_object('rename', p_properties -> 'rename'), v_items -> v_place
    );
  end loop;
  return case when v_is_one then v_renamed[1] else to_jsonb(v_renamed) end;
end
$$;

-- Reads a date, takes the start of a unit, adds units, and writes it, in this order.
create or replace function engine.run_date_time(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_zone constant text := p_properties ->> 'timezone';
  v_date jsonb := case
    when p_properties ? 'read' then engine.filter_parse_date(p_properties -> 'value', p_properties ->> 'read', v_zone)
    else engine.filter_date(p_properties -> 'value', v_zone, null)
  end;
begin
  if p_properties ? 'startOf' then
    v_date := engine.filter_start_of(v_date, p_properties ->> 'startOf', v_zone);
  end if;
  if p_properties ? 'add' then
    v_date := engine.filter_add(
      v_date, engine.argument_int(jsonb_build_array(p_properties #> '{add,amount}'), 0),
      p_properties #>> '{add,unit}', v_zone
    );
  end if;
  v_date := engine.filter_date(v_date, v_zone, p_properties ->> 'write');
  if v_date is null then
    perform engine.node_failed('CONVERSION_FAILED', format(
      'no date, amount, zone or template: %s', left((p_properties - 'as')::text, 200)
    ));
  end if;
  return v_date;
end
$$;
