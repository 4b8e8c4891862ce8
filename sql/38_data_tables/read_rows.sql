-- kind: code
-- Reads rows of a data table. Runs with the rights of the owner: callers pass a table of the
-- organization that they act for. Writes and locks nothing.

-- Returns the ids of rows that fit a filter and were last written before a time, behind the row
-- p_after_id, in the order of their ids.
create or replace function private.data_row_ids(
  p_table public.data_tables,
  p_filter jsonb,
  p_updated_before timestamptz,
  p_after_id uuid,
  p_limit int
)
  returns uuid[]
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan -- conditions that were not given cost nothing
as $$
declare
  v_equals jsonb;
  v_comparisons jsonb;
begin
  perform private.check_filter(p_filter);
  v_equals := private.filter_equals(p_filter);
  v_comparisons := private.filter_comparisons(p_filter);
  if v_equals = '{}' then
    return array(
      select r.id
      from public.data_rows as r
      where r.organization_id = p_table.organization_id
        and r.table_id = p_table.id
        and r.id > coalesce(p_after_id, '00000000-0000-0000-0000-000000000000')
        and (p_updated_before is null or r.updated_at < p_updated_before)
        and (v_comparisons = '[]' or private.fulfils(r.data, v_comparisons))
      order by r.organization_id, r.table_id, r.id
      limit p_limit
    );
  end if;
  return array(
    select r.id
    from public.data_rows as r
    where private.data_document(r.table_id, r.data) @> private.data_document(p_table.id, v_equals)
      and r.organization_id = p_table.organization_id
      and r.table_id = p_table.id
      and r.id > coalesce(p_after_id, '00000000-0000-0000-0000-000000000000')
      and (p_updated_before is null or r.updated_at < p_updated_before)
      and (v_comparisons = '[]' or private.fulfils(r.data, v_comparisons))
    order by r.id
    limit p_limit
  );
end
$$;

-- Returns a row as nodes see it.
create or replace function private.data_row_json(p_row public.data_rows)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'id', p_row.id,
    'key', p_row.key,
    'data', p_row.data,
    'createdAt', engine.iso_time(p_row.created_at),
    'updatedAt', engine.iso_time(p_row.updated_at)
  )
$$;

-- Returns the text by which a row with this key is found; null when the value can be no key.
create or replace function private.data_key(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) in ('string', 'number', 'boolean')
      and length(p_value #>> '{}') <= engine.max_key_length()
      then p_value #>> '{}'
  end
$$;

-- Returns the row with a key, as nodes see it; null when there is none.
create or replace function private.data_row_by_key(p_table public.data_tables, p_key jsonb)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  perform private.require_key(p_table);
  return (
    select private.data_row_json(r)
    from public.data_rows as r
    where r.organization_id = p_table.organization_id
      and r.table_id = p_table.id
      and r.key = private.data_key(p_key)
  );
end
$$;

create or replace function private.require_key(p_table public.data_tables)
  returns void
  language plpgsql
  immutable
as $$
begin
  if p_table.key is null then
    perform private.raise_error(
      'INVALID_ARGUMENT', format('The data table %s has no key.', p_table.name),
      'Create a table with a key: create_data_table(name, schema, key).'
    );
  end if;
end
$$;

-- Returns rows behind p_after_id, one more than p_limit where there are more.
create or replace function private.list_data_rows(
  p_table public.data_tables,
  p_filter jsonb,
  p_updated_before timestamptz,
  p_after_id uuid,
  p_limit int
)
  returns setof public.data_rows
  language plpgsql
  stable
as $$
declare
  v_ids uuid[];
begin
  if p_limit not between 1 and engine.max_data_batch() then
    perform private.raise_error(
      'INVALID_ARGUMENT', format('A list has 1 to %s rows at a time.', engine.max_data_batch())
    );
  end if;
  v_ids := private.data_row_ids(p_table, p_filter, p_updated_before, p_after_id, p_limit + 1);
  return query
  select r.*
  from public.data_rows as r
  where r.organization_id = p_table.organization_id and r.table_id = p_table.id and r.id = any (v_ids)
  order by r.id;
end
$$;
