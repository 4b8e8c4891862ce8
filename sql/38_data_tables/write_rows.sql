-- kind: code
-- Inserts rows into a data table, or changes those whose keys exist. Writes public.data_rows, and
-- by its triggers private.data_table_sizes. Locks the rows that it writes, sorted by key, then one
-- slot of the table's size.

-- Inserts rows, all or none. Raises CONFLICT for a key that exists.
create or replace function private.insert_data_rows(p_table public.data_tables, p_rows jsonb)
  returns public.data_rows[]
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_rows constant jsonb[] := private.rows_to_write(p_table, p_rows);
  v_written public.data_rows[];
begin
  perform private.check_data_rows(p_table, v_rows);
  with written as (
    insert into public.data_rows as r (organization_id, table_id, id, key, data, created_at, updated_at)
    select
      p_table.organization_id, p_table.id, engine.uuid_v7(v_now + d.place * interval '1 microsecond'),
      private.data_key(d.data -> p_table.key), d.data, v_now, v_now
    from unnest(v_rows) with ordinality as d (data, place)
    order by private.data_key(d.data -> p_table.key)
    on conflict on constraint data_rows_key_key do nothing
    returning r.*
  )
  select array_agg(w.*::public.data_rows order by w.id) into v_written from written as w;
  if cardinality(v_written) is distinct from cardinality(v_rows) then
    perform private.key_conflict(p_table);
  end if;
  return v_written;
end
$$;

-- Inserts rows; where the key exists, sets the given properties of the row and leaves the others.
create or replace function private.upsert_data_rows(p_table public.data_tables, p_rows jsonb)
  returns public.data_rows[]
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_rows constant jsonb[] := private.rows_to_write(p_table, p_rows);
  v_written public.data_rows[];
begin
  perform private.require_key(p_table);
  with written as (
    insert into public.data_rows as r (organization_id, table_id, id, key, data, created_at, updated_at)
    select
      p_table.organization_id, p_table.id, engine.uuid_v7(v_now + d.place * interval '1 microsecond'),
      private.data_key(d.data -> p_table.key), d.data, v_now, v_now
    from unnest(v_rows) with ordinality as d (data, place)
    order by private.data_key(d.data -> p_table.key)
    on conflict on constraint data_rows_key_key do update
    set data = r.data || excluded.data, updated_at = v_now
    returning r.*
  )
  select array_agg(w.*::public.data_rows order by w.id) into v_written from written as w;
  perform private.check_data_rows(p_table, array(select w.data from unnest(v_written) as w));
  return v_written;
end
$$;

-- Returns what a caller has given, an object or a list of objects, as rows with keys. Raises
-- VALIDATION_FAILED, TOO_LARGE.
create or replace function private.rows_to_write(p_table public.data_tables, p_rows jsonb)
  returns jsonb[]
  language plpgsql
  immutable
as $$
declare
  v_rows constant jsonb[] := case jsonb_typeof(p_rows)
    when 'array' then array(select jsonb_array_elements(p_rows))
    when 'object' then array[p_rows]
  end;
begin
  if coalesce(cardinality(v_rows), 0) not between 1 and engine.max_data_batch() then
    perform private.raise_error(
      'VALIDATION_FAILED', format('Give 1 to %s rows: an object, or a list of objects.', engine.max_data_batch()),
      null, '{"field": "rows"}'
    );
  end if;
  if exists (select from unnest(v_rows) as d (data) where jsonb_typeof(d.data) <> 'object') then
    perform private.raise_error('VALIDATION_FAILED', 'A row is an object.', null, '{"field": "rows"}');
  elsif exists (
    select
    from unnest(v_rows) as d (data)
    where private.data_key(d.data -> p_table.key) is not null
    group by private.data_key(d.data -> p_table.key)
    having count(*) > 1
  ) then
    perform private.raise_error(
      'VALIDATION_FAILED', 'Two of the rows have the same key.', null, jsonb_build_object('field', p_table.key)
    );
  end if;
  return v_rows;
end
$$;

-- Checks rows as they are to be stored: their key, their size and the schema of the table. Raises
-- VALIDATION_FAILED with the place of the first row that does not fit.
create or replace function private.check_data_rows(p_table public.data_tables, p_rows jsonb[])
  returns void
  language plpgsql
  immutable
as $$
declare
  v_problem text;
begin
  for v_place in 1 .. coalesce(cardinality(p_rows), 0) loop
    v_problem := case
      when jsonb_typeof(p_rows[v_place]) is distinct from 'object' then 'must be an object'
      when p_table.key is not null and private.data_key(p_rows[v_place] -> p_table.key) is null
        then format('needs %s, its key: a text, a number or a truth value', p_table.key)
      when p_table.schema <> '{}' then private.schema_problem(p_rows[v_place], p_table.schema)
    end;
    if v_problem is not null then
      perform private.raise_error(
        'VALIDATION_FAILED', format('Row %s of the data table %s: %s.', v_place, p_table.name, v_problem), null,
        jsonb_build_object('row', v_place, 'problem', v_problem)
      );
    end if;
    perform engine.refuse_value(p_rows[v_place], 'A row of a data table', engine.max_data_row_bytes());
  end loop;
end
$$;

-- Returns the first problem of a value with a schema; null when there is none.
create or replace function private.schema_problem(p_value jsonb, p_schema jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  if engine.is_expensive_input(p_value, p_schema) then
    return 'has too many values to be compared with the schema';
  end if;
  return (
    select concat_ws(' ', nullif(p.pointer, ''), p.message)
    from engine.schema_problems(p_value, p_schema, p_most => 1) as p
    limit 1
  );
end
$$;

create or replace function private.key_conflict(p_table public.data_tables)
  returns void
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'CONFLICT', format('The data table %s has a row with this key already.', p_table.name),
    'Use upsert, which changes the row that exists.', jsonb_build_object('field', p_table.key)
  );
end
$$;
