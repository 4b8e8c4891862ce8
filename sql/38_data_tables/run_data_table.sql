-- kind: code
-- The node dataTable: one operation on a data table of the organization of the run. A local step
-- calls it, so that what it writes is committed with the success of the step. Writes and locks what
-- the operation does.

create or replace function engine.run_data_table(p_organization_id uuid, p_properties jsonb, p_prev jsonb)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_table constant public.data_tables := private.data_table_named(p_organization_id, p_properties ->> 'table');
  v_filter constant jsonb := coalesce(nullif(p_properties -> 'filter', 'null'), '{}');
  v_rows constant jsonb := coalesce(p_properties -> 'rows', p_prev);
  v_before timestamptz;
begin
  begin
    v_before := p_properties ->> 'updatedBefore';
  exception
    when invalid_datetime_format or datetime_field_overflow then
      perform engine.node_failed('INVALID_ARGUMENT', 'updatedBefore is no time');
  end;
  return case p_properties ->> 'operation'
    when 'get' then private.data_row_by_key(v_table, p_properties -> 'key')
    when 'list' then private.data_page(
      v_table, v_filter, v_before, p_properties ->> 'after', coalesce((p_properties ->> 'limit')::int, 100)
    )
    when 'insert' then private.written_json(private.insert_data_rows(v_table, v_rows), v_rows)
    when 'upsert' then private.written_json(private.upsert_data_rows(v_table, v_rows), v_rows)
    when 'update' then jsonb_build_object(
      'count', cardinality(private.update_data_rows(
        v_table, private.node_filter(v_table, p_properties), p_properties -> 'values', v_before
      ))
    )
    when 'delete' then jsonb_build_object(
      'count', private.delete_data_rows(v_table, private.node_filter(v_table, p_properties), v_before)
    )
    when 'increment' then private.data_row_json(private.increment_data_row(
      v_table, p_properties -> 'key', p_properties ->> 'property', coalesce((p_properties ->> 'by')::numeric, 1)
    ))
  end;
end
$$;

-- Returns the filter of update and delete: the node's, and its key where it names one. Raises
-- INVALID_ARGUMENT without any, so that a missing value does not mean all rows.
create or replace function private.node_filter(p_table public.data_tables, p_properties jsonb)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  if p_properties ? 'key' then
    perform private.require_key(p_table);
    if private.data_key(p_properties -> 'key') is null then
      perform private.raise_error('INVALID_ARGUMENT', 'The key is no text, number or truth value.');
    end if;
    return coalesce(p_properties -> 'filter', '{}') || jsonb_build_object(p_table.key, p_properties -> 'key');
  elsif p_properties ? 'filter' then
    return p_properties -> 'filter';
  end if;
  perform private.raise_error('INVALID_ARGUMENT', 'Name the rows: by key or by filter; {} means all.');
  return null;
end
$$;

-- Returns {"rows", "after"}: after is the id to go on with, null at the end.
create or replace function private.data_page(
  p_table public.data_tables,
  p_filter jsonb,
  p_updated_before timestamptz,
  p_after text,
  p_limit int
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_rows public.data_rows[];
begin
  if p_after !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    perform private.raise_error('INVALID_ARGUMENT', 'after is the id of a row.');
  end if;
  v_rows := array(
    select r from private.list_data_rows(p_table, p_filter, p_updated_before, p_after::uuid, p_limit) as r
  );
  return jsonb_build_object(
    'rows', coalesce(
      (
        select jsonb_agg(private.data_row_json(r::public.data_rows) order by r.id)
        from unnest(v_rows[:p_limit]) as r
      ),
      '[]'
    ),
    'after', case when cardinality(v_rows) > p_limit then (v_rows[p_limit]).id end
  );
end
$$;

-- Returns one row for one row, and a list for a list.
create or replace function private.written_json(p_written public.data_rows[], p_given jsonb)
  returns jsonb
  language sql
  stable
as $$
  select case jsonb_typeof(p_given)
    when 'array' then (select jsonb_agg(private.data_row_json(r::public.data_rows)) from unnest(p_written) as r)
    else private.data_row_json(p_written[1])
  end
$$;
