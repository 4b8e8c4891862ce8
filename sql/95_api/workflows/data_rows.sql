-- kind: code
-- Reads and writes rows of a data table, as the node dataTable does. Runs as the owner with the
-- table's organization as a condition, so that filters can use the index. Writes public.data_rows;
-- locks the rows that it writes, then one slot of the table's size.

create or replace function public.find_data_rows(
  data_table uuid,
  filter jsonb default '{}',
  updated_before timestamptz default null,
  after uuid default null,
  row_limit int default 100
)
  returns setof public.data_rows
  language plpgsql
  stable
  security definer -- definer because of what stands above; the organization is the request's own
  set search_path = pg_catalog, pg_temp
  rows 100
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:read');
begin
  return query
  select r.*
  from private.list_data_rows(v_table, coalesce(filter, '{}'), updated_before, after, row_limit) as r
  order by r.id
  limit row_limit;
end
$$;
comment on function public.find_data_rows(uuid, jsonb, timestamptz, uuid, int) is
  'The rows of a data table that fit a filter, such as {"status": "open", "total": {"gte": 100}}, and were last written before a time, in the order in which they were inserted; after is the id of the last row of the page before. A value in the filter means equality; the operators are ne, gt, gte, lt, lte and in. At most 1,000 rows. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID_ARGUMENT. Example: select key, data from find_data_rows(''0190…'', ''{"status": "open"}'');';

-- Returns a data table of the request's organization. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.
create or replace function private.data_table_of(p_id uuid, p_scope text)
  returns public.data_tables
  language plpgsql
  stable
as $$
declare
  v_table public.data_tables;
begin
  select t.* into v_table from public.data_tables as t where t.id = p_id;
  perform private.require_access(v_table.organization_id, p_scope, 'data table');
  return v_table;
end
$$;

-- Returns rows as the result of a command.
create or replace function private.data_change_of(p_rows public.data_rows[])
  returns public.data_change
  language sql
  stable
as $$
  select row(
    coalesce(cardinality(p_rows), 0),
    coalesce((select jsonb_agg(private.data_row_json(r::public.data_rows)) from unnest(p_rows) as r), '[]')
  )::public.data_change
$$;

create or replace function public.insert_data_rows(data_table uuid, rows jsonb)
  returns public.data_change
  language plpgsql
  volatile
  security definer -- definer because only commands write rows
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:write');
begin
  return private.data_change_of(private.insert_data_rows(v_table, rows));
end
$$;
comment on function public.insert_data_rows(uuid, jsonb) is
  'Inserts rows, an object or a list of at most 1,000, all or none. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (a key that exists), TOO_LARGE, LIMIT_REACHED. Example: select count from insert_data_rows(''0190…'', ''[{"email": "ada@example.com"}]'');';

create or replace function public.upsert_data_rows(data_table uuid, rows jsonb)
  returns public.data_change
  language plpgsql
  volatile
  security definer -- definer because only commands write rows
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:write');
begin
  return private.data_change_of(private.upsert_data_rows(v_table, rows));
end
$$;
comment on function public.upsert_data_rows(uuid, jsonb) is
  'Inserts rows; where the key exists, sets the given properties and leaves the others. The table needs a key. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, INVALID_ARGUMENT, TOO_LARGE, LIMIT_REACHED. Example: select rows from upsert_data_rows(''0190…'', ''{"email": "ada@example.com", "name": "Ada"}'');';

create or replace function public.update_data_rows(
  data_table uuid,
  filter jsonb,
  "values" jsonb,
  updated_before timestamptz default null
)
  returns public.data_change
  language plpgsql
  volatile
  security definer -- definer because only commands write rows
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:write');
begin
  return row(
    cardinality(private.update_data_rows(v_table, filter, "values", updated_before)), null
  )::public.data_change;
end
$$;
comment on function public.update_data_rows(uuid, jsonb, jsonb, timestamptz) is
  'Sets properties of the rows that fit a filter, {} for all, and returns how many; at most 10,000 at a time. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, INVALID_ARGUMENT, CONFLICT, TOO_LARGE, LIMIT_REACHED. Example: select count from update_data_rows(''0190…'', ''{"status": "open"}'', ''{"status": "late"}'');';

create or replace function public.delete_data_rows(
  data_table uuid,
  filter jsonb,
  updated_before timestamptz default null
)
  returns public.data_change
  language plpgsql
  volatile
  security definer -- definer because only commands write rows
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:write');
begin
  return row(private.delete_data_rows(v_table, filter, updated_before), null)::public.data_change;
end
$$;
comment on function public.delete_data_rows(uuid, jsonb, timestamptz) is
  'Deletes the rows that fit a filter, {} for all, and returns how many; at most 10,000 at a time. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID_ARGUMENT. Example: select count from delete_data_rows(''0190…'', ''{}'', now() - interval ''30 days'');';

create or replace function public.increment_data_row(
  data_table uuid,
  key jsonb,
  property text,
  amount double precision default 1
)
  returns public.data_change
  language plpgsql
  volatile
  security definer -- definer because only commands write rows
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_table constant public.data_tables := private.data_table_of(data_table, 'runs:write');
begin
  return private.data_change_of(
    array[private.increment_data_row(v_table, key, property, coalesce(amount, 1)::numeric)]
  );
end
$$;
comment on function public.increment_data_row(uuid, jsonb, text, double precision) is
  'Adds to a number of the row with a key, given as JSON; a row or property that does not exist begins with 0. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, INVALID_ARGUMENT, LIMIT_REACHED. Example: select rows from increment_data_row(''0190…'', ''"ada@example.com"'', ''visits'');';

grant execute on function
  public.find_data_rows(uuid, jsonb, timestamptz, uuid, int),
  public.insert_data_rows(uuid, jsonb),
  public.upsert_data_rows(uuid, jsonb),
  public.update_data_rows(uuid, jsonb, jsonb, timestamptz),
  public.delete_data_rows(uuid, jsonb, timestamptz),
  public.increment_data_row(uuid, jsonb, text, double precision)
  to flowgres_user, flowgres_dba;
