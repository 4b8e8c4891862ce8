-- kind: code
-- Makes an archive from a detached partition: the same table, moved to schema partitions, nothing
-- copied; also creates empty archive tables. Writes partitions.archives. Locks the moved table,
-- access exclusive, and the tables to which the foreign keys refer that it drops.

-- Returns an expression for the time in a partition key, whatever its type.
create or replace function partitions.key_time(p_key_kind text, p_column text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case p_key_kind
    when 'uuidv7' then format('engine.uuid_time(%I)', p_column)
    when 'date' then format('(%I::timestamp at time zone ''UTC'')', p_column)
    else format('%I', p_column)
  end
$$;

-- Returns a CHECK that lets ATTACH skip its scan, once it is validated.
create or replace function partitions.bounds_check(p_parent regclass, p_lower timestamptz, p_upper timestamptz)
  returns text
  language sql
  stable
as $$
  select format('check (%s)', concat_ws(' and ',
    format('%I is not null', a.attname),
    case when isfinite(p_lower) then format('%I >= %L', a.attname, partitions.bound(kind, p_lower)) end,
    case when isfinite(p_upper) then format('%I < %L', a.attname, partitions.bound(kind, p_upper)) end
  ))
  from pg_partitioned_table as t
  join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
  cross join partitions.key_kind(p_parent) as kind
  where t.partrelid = p_parent
$$;

-- Moves a detached table to schema partitions, without its foreign keys: so no statement on other
-- tables locks it any more.
create or replace function partitions.move_to_archive(p_parent regclass, p_name text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_table constant regclass := partitions.qualified(p_parent, p_name);
  v_constraint record;
begin
  for v_constraint in
    select n.nspname as schema, k.conname as name
    from pg_constraint as k
    join pg_class as c on c.oid = k.conrelid
    join pg_namespace as n on n.oid = c.relnamespace
    where k.conrelid = v_table
      and k.conparentid = 0
      and (
        k.contype = 'f'
        -- DETACH CONCURRENTLY adds the bounds as a CHECK; drop it.
        or k.contype = 'c' and not exists (
          select from pg_constraint as p where p.conrelid = p_parent and p.contype = 'c' and p.conname = k.conname
        )
      )
  loop
    execute format('alter table %I.%I drop constraint %I', v_constraint.schema, p_name, v_constraint.name);
  end loop;
  perform partitions.move_table(v_table, 'partitions');
end
$$;

create or replace function partitions.move_table(p_table regclass, p_schema text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement constant text := format('alter table %s set schema %I', p_table, p_schema);
begin
  execute v_statement;
end
$$;

-- Makes the archive of a detached partition and records it.
create or replace function partitions.create_archive_table(
  p_parent regclass,
  p_name text,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns void
  language plpgsql
  volatile
as $$
begin
  perform partitions.move_to_archive(p_parent, p_name);
  perform partitions.bind_archive(p_parent, p_name, p_lower, p_upper);
  perform partitions.close_table(format('partitions.%I', p_name)::regclass);
  perform partitions.enter_archive(p_parent, p_lower, p_upper, 'partition', p_name);
end
$$;

-- Adds the CHECK of an archive's bounds. It is not valid at first: validating reads the table, and
-- writers of its former parent wait here.
create or replace function partitions.bind_archive(
  p_parent regclass,
  p_name text,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_statement constant text := format('alter table partitions.%I add constraint archived_bounds_check %s not valid',
    p_name, partitions.bounds_check(p_parent, p_lower, p_upper));
begin
  execute v_statement;
end
$$;

-- Records a table as an archive that is not sealed yet.
create or replace function partitions.enter_archive(
  p_parent regclass,
  p_lower timestamptz,
  p_upper timestamptz,
  p_content text,
  p_name text
)
  returns void
  language sql
  volatile
as $$
  insert into partitions.archives (parent, lower, upper, content, name, location, archived_at)
  values (p_parent, p_lower, p_upper, p_content, p_name, format('partitions.%I', p_name), engine.now())
  on conflict on constraint archives_pkey do update
  set upper = excluded.upper,
    name = excluded.name,
    location = excluded.location,
    state = 'archived',
    row_count = null,
    sha256 = null,
    archived_at = excluded.archived_at,
    kept_until = null
$$;

-- Lists the columns of a table that are not generated, quoted, in the order of their names.
create or replace function partitions.columns(p_table regclass)
  returns text
  language sql
  stable
as $$
  select string_agg(quote_ident(a.attname), ', ' order by a.attname)
  from pg_attribute as a
  where a.attrelid = p_table
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = ''
$$;

-- Creates an empty table in schema partitions with the shape of a partition of the parent.
create or replace function partitions.create_archive(p_parent regclass, p_name text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_table constant text := partitions.qualified(p_parent, p_name);
  v_statements constant text := partitions.table_like(partitions.require_managed(p_parent), p_name);
begin
  if to_regclass(v_table) is not null or to_regclass(format('partitions.%I', p_name)) is not null then
    perform private.raise_error('CONFLICT',
      format('A table %s exists already, in schema partitions or beside %s.', p_name, p_parent),
      'Rename it or drop it.');
  end if;
  execute v_statements;
  perform partitions.move_table(v_table::regclass, 'partitions');
end
$$;
