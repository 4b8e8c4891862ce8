-- kind: code
-- Counts and hashes the rows of an archive, with the same result for a table and a file, and seals
-- archives with it. Writes partitions.archives and locks the rows it seals; skips those that
-- another session seals.

-- Counts and hashes the rows of a query. The hash is a chain: each row's text, in UTF-8, is
-- appended to the hash so far (empty at first) and hashed again.
create or replace function partitions.contents_of(p_query text, out row_count bigint, out sha256 text)
  language plpgsql
  volatile
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set intervalstyle = 'postgres'
  set extra_float_digits = 1
  set bytea_output = 'hex'
as $$
declare
  v_row text;
  v_hash bytea := '';
begin
  row_count := 0;
  for v_row in execute p_query loop
    row_count := row_count + 1;
    v_hash := sha256(v_hash || convert_to(v_row, 'UTF8'));
  end loop;
  sha256 := encode(v_hash, 'hex');
end
$$;

-- Returns an ORDER BY list that is the same in every database: the primary key, unless it depends
-- on a collation.
create or replace function partitions.row_order(p_table regclass)
  returns text
  language sql
  stable
as $$
  select coalesce(
    (
      select string_agg(quote_ident(a.attname), ', ' order by k.place)
      from pg_index as i
      cross join lateral unnest(i.indkey::int[]) with ordinality as k (attnum, place)
      join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
      where i.indrelid = p_table
        and i.indisprimary
      having bool_and(a.attcollation = 0)
    ),
    format('row(%s)::text collate "C"', partitions.columns(p_table))
  )
$$;

create or replace function partitions.contents(archive regclass, out row_count bigint, out sha256 text)
  language sql
  volatile
as $$
  select c.row_count, c.sha256
  from partitions.contents_of(format('select row(%s)::text from %s order by %s',
    partitions.columns(archive), archive, partitions.row_order(archive))) as c
$$;
comment on function partitions.contents(regclass) is
  'Returns the number of rows of a table and a SHA-256 of them: for each row, in the order of the primary key, its text with the columns in the order of their names is appended to the hash so far and hashed again. Reads the whole table. Example: select * from partitions.contents(''partitions.workflow_events_y2025m01'')';

-- Returns the table of an archive, by its name in schema partitions; null when it does not exist,
-- and for a file. Does not use the location: that of a file is a path, for which to_regclass()
-- raises an error, and the planner may evaluate that before a condition on the kind.
create or replace function partitions.table_of(p_archive partitions.archives)
  returns regclass
  language sql
  stable
as $$
  select case when p_archive.kind = 'table' then to_regclass(format('partitions.%I', p_archive.name)) end
$$;

create or replace function partitions.seal_archives()
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because the scheduler and DBAs seal archives without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_archive partitions.archives;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  for v_archive in
    select a.*
    from partitions.archives as a
    where a.kind = 'table'
      and a.state = 'archived'
      and a.sha256 is null
      and partitions.table_of(a) is not null
    order by a.lower, a.parent::text
    for update skip locked
  loop
    perform partitions.seal_archive(v_archive);
    return next (
      v_archive.parent, v_archive.name, 'seal', v_archive.lower, v_archive.upper, true, null
    )::partitions.action;
  end loop;
end
$$;
comment on function partitions.seal_archives() is
  'Reads each archived table that has not been sealed yet: checks that all rows are within the bounds, so that a restore needs no scan, and records their number and hash. Reads and writes of others go on. Returns one row `seal` for each. Example: select * from partitions.seal_archives()';

-- Validates the bounds of an archived table and records the number and hash of its rows; the caller
-- holds its row.
create or replace function partitions.seal_archive(p_archive partitions.archives)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_archive.content = 'partition' then
    execute format('alter table partitions.%I validate constraint archived_bounds_check', p_archive.name);
  end if;
  update partitions.archives as a
  set row_count = c.row_count,
    sha256 = c.sha256
  from partitions.contents(partitions.table_of(p_archive)) as c
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = p_archive.kind;
end
$$;

grant execute on function partitions.seal_archives() to flowgres_dba;
