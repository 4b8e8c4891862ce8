-- kind: code
-- Changes and deletes rows of a data table that a filter finds, and counts with numbers in rows.
-- Writes public.data_rows, and by its triggers private.data_table_sizes. Locks the rows that it
-- writes, sorted by id, then one slot of the table's size.

-- Sets properties of the rows that fit, at most engine.max_data_changes() of them, and returns the
-- rows.
create or replace function private.update_data_rows(
  p_table public.data_tables,
  p_filter jsonb,
  p_values jsonb,
  p_updated_before timestamptz default null
)
  returns public.data_rows[]
  language plpgsql
  volatile
as $$
declare
  v_ids constant uuid[] := private.lock_data_rows(p_table, p_filter, p_updated_before);
  v_written public.data_rows[];
begin
  if jsonb_typeof(p_values) is distinct from 'object' then
    perform private.raise_error('VALIDATION_FAILED', 'What is set is an object.', null, '{"field": "values"}');
  end if;
  with written as (
    update public.data_rows as r
    set
      data = r.data || p_values,
      key = private.data_key((r.data || p_values) -> p_table.key),
      updated_at = engine.now()
    where r.organization_id = p_table.organization_id and r.table_id = p_table.id and r.id = any (v_ids)
    returning r.*
  )
  select array_agg(w.*::public.data_rows order by w.id) into v_written from written as w;
  perform private.check_data_rows(p_table, array(select w.data from unnest(v_written) as w));
  return coalesce(v_written, '{}');
exception
  when unique_violation then
    perform private.key_conflict(p_table);
    return null;
end
$$;

-- Deletes the rows that fit, at most engine.max_data_changes() of them, and returns how many.
create or replace function private.delete_data_rows(
  p_table public.data_tables,
  p_filter jsonb,
  p_updated_before timestamptz default null
)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_ids constant uuid[] := private.lock_data_rows(p_table, p_filter, p_updated_before);
begin
  delete from public.data_rows as r
  where r.organization_id = p_table.organization_id and r.table_id = p_table.id and r.id = any (v_ids);
  return cardinality(v_ids);
end
$$;

-- Locks the rows that fit, and looks at each again as it is after the wait for its lock: a row that
-- another transaction has changed or deleted meanwhile is left out.
create or replace function private.lock_data_rows(
  p_table public.data_tables,
  p_filter jsonb,
  p_updated_before timestamptz
)
  returns uuid[]
  language plpgsql
  volatile
as $$
declare
  v_ids constant uuid[] := private.data_row_ids(
    p_table, p_filter, p_updated_before, null, engine.max_data_changes()
  );
  v_equals constant jsonb := private.filter_equals(p_filter);
  v_comparisons constant jsonb := private.filter_comparisons(p_filter);
begin
  return array(
    select r.id
    from public.data_rows as r
    where r.organization_id = p_table.organization_id
      and r.table_id = p_table.id
      and r.id = any (v_ids)
      and r.data @> v_equals
      and (p_updated_before is null or r.updated_at < p_updated_before)
      and private.fulfils(r.data, v_comparisons)
    order by r.id
    for no key update
  );
end
$$;

-- Adds a number to a property of the row with a key, and returns the row. A property or a row that
-- does not exist begins with 0.
create or replace function private.increment_data_row(
  p_table public.data_tables,
  p_key jsonb,
  p_property text,
  p_by numeric
)
  returns public.data_rows
  language plpgsql
  volatile
as $$
declare
  v_row public.data_rows;
begin
  perform private.require_key(p_table);
  if length(p_property) not between 1 and 256 or p_property = p_table.key or private.data_key(p_key) is null then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'Counting needs the key of a row, and a property that is not the key.'
    );
  end if;
  insert into public.data_rows as r (organization_id, table_id, id, key, data, created_at, updated_at)
  values (
    p_table.organization_id, p_table.id, engine.uuid_v7(engine.now()), private.data_key(p_key),
    jsonb_build_object(p_table.key, p_key, p_property, p_by), engine.now(), engine.now()
  )
  on conflict on constraint data_rows_key_key do update
  set
    data = r.data || jsonb_build_object(p_property, case
      when coalesce(jsonb_typeof(r.data -> p_property), 'null') in ('number', 'null')
        then coalesce((r.data ->> p_property)::numeric, 0) + p_by
    end),
    updated_at = engine.now()
  returning r.* into v_row;
  if jsonb_typeof(v_row.data -> p_property) <> 'number' then
    perform private.raise_error(
      'VALIDATION_FAILED', format('%s of this row is no number.', left(p_property, 64)), null,
      jsonb_build_object('field', left(p_property, 64))
    );
  end if;
  perform private.check_data_rows(p_table, array[v_row.data]);
  return v_row;
end
$$;
