-- kind: code
-- Counts the rows and bytes of data tables, and refuses growth beyond the limits. Triggers of
-- public.data_rows count each statement as a whole, so that no way of writing is left out. Writes
-- private.data_table_sizes; locks one slot of each table that was written, after its rows.

create or replace function private.count_data_rows()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because nobody writes the sizes
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_change record;
begin
  for v_change in execute format(
    case TG_OP
      when 'INSERT' then 'select d.organization_id, d.table_id,
          count(*) as rows, sum(private.data_row_bytes(d.data)) as bytes
        from new_rows as d group by 1, 2 order by 1, 2'
      when 'DELETE' then 'select d.organization_id, d.table_id,
          -count(*) as rows, -sum(private.data_row_bytes(d.data)) as bytes
        from old_rows as d group by 1, 2 order by 1, 2'
      else 'select c.organization_id, c.table_id, 0::bigint as rows, sum(c.bytes) as bytes
        from (
          select organization_id, table_id, private.data_row_bytes(data) as bytes from new_rows
          union all
          select organization_id, table_id, -private.data_row_bytes(data) from old_rows
        ) as c
        group by 1, 2 having sum(c.bytes) <> 0 order by 1, 2'
    end
  ) loop
    perform private.add_data_size(v_change.organization_id, v_change.table_id, v_change.rows, v_change.bytes::bigint);
  end loop;
  return null;
end
$$;

-- Returns what a row counts for: its text, and what PostgreSQL stores beside it.
create or replace function private.data_row_bytes(p_data jsonb)
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select octet_length(p_data::text) + 100
$$;

-- Adds to the size of a table; does nothing when the table was deleted with its rows.
create or replace function private.add_data_size(p_organization_id uuid, p_table_id uuid, p_rows bigint, p_bytes bigint)
  returns void
  language plpgsql
  volatile
as $$
begin
  insert into private.data_table_sizes as s (organization_id, table_id, slot, rows, bytes)
  select t.organization_id, t.id, pg_backend_pid() % 8, p_rows, p_bytes
  from public.data_tables as t
  where t.organization_id = p_organization_id and t.id = p_table_id
  on conflict on constraint data_table_sizes_pkey do update
  set rows = s.rows + excluded.rows, bytes = s.bytes + excluded.bytes;
  if p_rows > 0 then
    perform private.refuse_rows(p_organization_id, p_table_id);
  end if;
  if p_bytes > 0 then
    perform private.refuse_bytes(p_organization_id);
  end if;
end
$$;

-- Raises LIMIT_REACHED when a table has too many rows. Transactions that are not committed do not
-- count, so that writers at the same time may go beyond the limit by what they write.
create or replace function private.refuse_rows(p_organization_id uuid, p_table_id uuid)
  returns void
  language plpgsql
  stable
as $$
begin
  if (
    select sum(s.rows)
    from private.data_table_sizes as s
    where s.organization_id = p_organization_id and s.table_id = p_table_id
  ) > engine.max_data_rows() then
    perform private.raise_error(
      'LIMIT_REACHED', format('A data table has at most %s rows.', engine.max_data_rows()),
      'Delete rows that are not needed, or use another table.',
      jsonb_build_object('metric', 'data_rows', 'limit', engine.max_data_rows())
    );
  end if;
end
$$;

create or replace function private.refuse_bytes(p_organization_id uuid)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_limit constant bigint := private.limit_of(p_organization_id, 'storage_gb');
  v_admission private.admission;
begin
  if private.stored_bytes(p_organization_id) > v_limit * 1000000000 then
    v_admission.organization_id := p_organization_id;
    v_admission.metric := 'storage_gb';
    v_admission."limit" := v_limit;
    v_admission.used := v_limit;
    perform private.raise_json_error(private.limit_error(v_admission));
  end if;
end
$$;
comment on function private.refuse_bytes(uuid) is
  'Raises LIMIT_REACHED when the organization stores more than storage_gb of its plan allows.';

create or replace function private.stored_bytes(p_organization_id uuid)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(s.bytes), 0)::bigint
  from private.data_table_sizes as s
  where s.organization_id = p_organization_id
$$;

create or replace function private.count_storage_gb(
  p_organization_id uuid,
  p_time_range tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select private.stored_bytes(p_organization_id) / 1000000000
$$;
comment on function private.count_storage_gb(uuid, tstzrange, uuid) is
  'Returns the full GB (10^9 bytes) that the rows of an organization''s data tables take.';

create or replace trigger _500_count_inserted after insert on public.data_rows
  referencing new table as new_rows
  for each statement execute function private.count_data_rows();
create or replace trigger _500_count_updated after update on public.data_rows
  referencing new table as new_rows old table as old_rows
  for each statement execute function private.count_data_rows();
create or replace trigger _500_count_deleted after delete on public.data_rows
  referencing old table as old_rows
  for each statement execute function private.count_data_rows();
