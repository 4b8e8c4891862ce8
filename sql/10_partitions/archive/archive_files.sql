-- kind: code
-- The database's part of `flowgres archive` and `flowgres restore`; only the client reads and
-- writes files. Writes partitions.archives. Locks: the maintenance lock of the table (advisory) in
-- open_archive(), rows of partitions.archives in close_archive().

-- Creates an empty table in schema partitions with the given columns, for the rows of a file;
-- returns its name, or null when the rows are here already. Waits for the maintenance lock of the
-- table.
create or replace function partitions.open_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_content text,
  p_name text,
  p_columns text[],
  p_sha256 text
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
  v_column text;
begin
  perform pg_advisory_xact_lock(partitions.lock_key(p_parent));
  select a.* into v_archive
  from partitions.archives as a
  where a.parent = p_parent
    and a.lower = p_lower
    and a.content = p_content
    and a.kind = 'table';
  if v_archive.sha256 = p_sha256
    and (v_archive.state = 'archived' or p_content = 'late' or partitions.find(p_parent, p_lower) is not null)
  then
    return null;
  elsif v_archive.state = 'archived' then
    perform private.raise_error('CONFLICT',
      format('%s is an archive of the same time with other rows.', v_archive.location),
      'Restore that one, or drop it: select * from partitions.drop_archive(…)');
  end if;
  if p_content = 'partition' and partitions.find(p_parent, p_lower) is not null then
    perform private.raise_error('CONFLICT',
      format('%s is there for the time of %s.', partitions.find(p_parent, p_lower), p_name),
      'If that one is empty, drop it.');
  end if;
  foreach v_column in array p_columns loop
    if not exists (select from pg_attribute as a where a.attrelid = p_parent and a.attname = v_column) then
      perform private.raise_error('CONFLICT', format('%s has no column %s.', p_parent, v_column),
        'The file is of another release: add the column for the time of the restore.');
    end if;
  end loop;
  perform partitions.create_archive(p_parent, p_name);
  for v_column in
    select a.attname
    from pg_attribute as a
    where a.attrelid = format('partitions.%I', p_name)::regclass
      and a.attnum > 0
      and not a.attisdropped
      and a.attname <> all (p_columns)
  loop
    execute format('alter table partitions.%I drop column %I', p_name, v_column);
  end loop;
  return format('partitions.%I', p_name);
end
$$;

-- Records the loaded table as an archive; raises CONFLICT unless its rows have the hash of the
-- file.
create or replace function partitions.close_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_upper timestamptz,
  p_content text,
  p_name text,
  p_sha256 text
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
begin
  if p_content = 'partition' then
    perform partitions.bind_archive(p_parent, p_name, p_lower, p_upper);
  end if;
  perform partitions.enter_archive(p_parent, p_lower, p_upper, p_content, p_name);
  select a.* into v_archive from partitions.lock_archive(p_parent, p_lower, p_content) as a;
  perform partitions.seal_archive(v_archive);
  select a.* into v_archive from partitions.lock_archive(p_parent, p_lower, p_content) as a;
  if v_archive.sha256 <> p_sha256 then
    perform private.raise_error('CONFLICT', format('The rows of %s are not those that were archived.', p_name),
      'The file was changed, or is of another release of Flowgres.');
  end if;
exception
  when check_violation then
    perform private.raise_error('CONFLICT', format('Rows of %s are out of its bounds.', p_name),
      'The manifest was changed.');
end
$$;

-- Records a file that was written and read back.
create or replace function partitions.enter_file(p_file jsonb)
  returns void
  language sql
  volatile
as $$
  insert into partitions.archives
  select f.*
  from jsonb_populate_record(null::partitions.archives, p_file || '{"state": "archived"}') as f
  on conflict on constraint archives_pkey do update
  set upper = excluded.upper,
    name = excluded.name,
    location = excluded.location,
    row_count = excluded.row_count,
    sha256 = excluded.sha256,
    bytes = excluded.bytes,
    archived_at = excluded.archived_at
$$;
