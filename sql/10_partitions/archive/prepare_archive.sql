-- kind: code
-- Prepares an archived table for its restore: checks that it is unchanged, and rebuilds it when the
-- parent's shape has changed. Writes partitions.archives, whose row it locks; a rebuild copies the
-- rows and drops the old table.

-- Locks and returns the row of an archived table, so that only one session restores it; null when
-- it is restored already.
create or replace function partitions.lock_archive(p_parent regclass, p_lower timestamptz, p_content text)
  returns partitions.archives
  language sql
  volatile
as $$
  select a.*
  from partitions.archives as a
  where a.parent = p_parent
    and a.lower = p_lower
    and a.content = p_content
    and a.kind = 'table'
    and a.state = 'archived'
  for update
$$;

-- Raises CONFLICT when a sealed archive has changed; rebuilds it when it is outdated.
create or replace function partitions.prepare_archive(p_parent regclass, p_lower timestamptz, p_content text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.lock_archive(p_parent, p_lower, p_content);
  v_contents record;
begin
  if v_archive.sha256 is not null then
    select c.* into v_contents from partitions.contents(partitions.table_of(v_archive)) as c;
    if (v_contents.row_count, v_contents.sha256) <> (v_archive.row_count, v_archive.sha256) then
      perform private.raise_error('CONFLICT',
        format('%s has changed since it was sealed: it has %s rows instead of %s, or others.',
          v_archive.location, v_contents.row_count, v_archive.row_count),
        'Find out who changed it. Set its row_count and sha256 in partitions.archives to null to accept it as it is.');
    end if;
  end if;
  if v_archive.content = 'partition' and partitions.is_outdated(v_archive) then
    perform partitions.rebuild_archive(v_archive);
  end if;
end
$$;

-- Says whether the parent has other columns, checks or indexes than the archived table.
create or replace function partitions.is_outdated(p_archive partitions.archives)
  returns boolean
  language sql
  stable
as $$
  with shape as (
    select t.oid as table, format('column %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
      a.attcollation, a.attnotnull) as part
    from pg_class as t
    join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    union all
    select k.conrelid, format('check %s %s', k.conname, pg_get_constraintdef(k.oid))
    from pg_constraint as k
    where k.contype = 'c'
      and k.conname <> 'archived_bounds_check'
    union all
    select x.indrelid, format('index %s', case when x.indrelid = p_archive.parent
      then partitions.index_name(p.relname, p_archive.name, i.relname) else i.relname end)
    from pg_index as x
    join pg_class as i on i.oid = x.indexrelid
    join pg_class as p on p.oid = p_archive.parent
  )
  select exists (
    select
    from (select s.part from shape as s where s.table = p_archive.parent) as wanted
    full join (select s.part from shape as s where s.table = partitions.table_of(p_archive)) as present
      on present.part = wanted.part
    where wanted.part is null
      or present.part is null
  )
$$;

-- Copies the rows to a table with the parent's present shape; new columns get their defaults.
create or replace function partitions.rebuild_archive(p_archive partitions.archives)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_old constant regclass := partitions.table_of(p_archive);
  v_columns constant text := partitions.columns(v_old);
  v_kept text;
begin
  select string_agg(quote_ident(a.attname), ', ' order by a.attname) into v_kept
  from pg_attribute as a
  where a.attrelid = p_archive.parent
    and a.attname in (select o.attname from pg_attribute as o where o.attrelid = v_old and o.attnum > 0)
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = '';
  if v_kept is distinct from v_columns then
    perform private.raise_error('CONFLICT',
      format('%s has columns that %s has no more: it has %s.', p_archive.location, p_archive.parent, v_columns),
      'Drop them from the archived table, or add them to the parent.');
  end if;
  perform partitions.copy_archive(p_archive, v_old, v_columns);
end
$$;

-- Replaces the archived table by a copy, which is not sealed.
create or replace function partitions.copy_archive(p_archive partitions.archives, p_old regclass, p_columns text)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_new constant text := partitions.qualified(p_archive.parent, p_archive.name);
  v_create constant text := partitions.table_like(partitions.require_managed(p_archive.parent), p_archive.name);
  v_copy constant text := format('insert into %s (%s) select %2$s from %s', v_new, p_columns, p_old);
begin
  execute v_create;
  execute v_copy;
  execute format('drop table partitions.%I', p_archive.name);
  perform partitions.move_table(v_new::regclass, 'partitions');
  perform partitions.bind_archive(p_archive.parent, p_archive.name, p_archive.lower, p_archive.upper);
  update partitions.archives as a set row_count = null, sha256 = null
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = 'table';
end
$$;
