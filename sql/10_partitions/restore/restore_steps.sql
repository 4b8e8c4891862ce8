-- kind: code
-- The steps of a restore. Each can be repeated, and continues what an interrupted one has left.
-- Each locks its row of partitions.archives, which the last one updates. Linking locks the tables
-- that foreign keys refer to, attaching the parent, both in attempts of 200 ms; late rows are
-- inserted into the parent.

-- Adds the parent's foreign keys to the archived table, not validated: writers of the referred
-- tables wait for an instant.
create or replace function partitions.link_archive(p_parent regclass, p_lower timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.lock_archive(p_parent, p_lower, 'partition');
  v_statement text;
begin
  for v_statement in
    select format('alter table partitions.%I add constraint %I %s not valid',
      v_archive.name, k.conname, pg_get_constraintdef(k.oid))
    from pg_constraint as k
    where v_archive.name is not null
      and k.conrelid = p_parent
      and k.contype = 'f'
      and k.conparentid = 0
      and not exists (
        select from pg_constraint as o where o.conrelid = partitions.table_of(v_archive) and o.conname = k.conname
      )
  loop
    perform partitions.execute_with_lock_timeout(v_statement);
  end loop;
end
$$;

-- Validates foreign keys and bounds; others write meanwhile. Raises CONFLICT when rows refer to
-- rows that do not exist.
create or replace function partitions.validate_archive(p_parent regclass, p_lower timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.lock_archive(p_parent, p_lower, 'partition');
  v_constraint text;
begin
  for v_constraint in
    select k.conname
    from pg_constraint as k
    where v_archive.name is not null
      and k.conrelid = partitions.table_of(v_archive)
      and k.conparentid = 0
      and not k.convalidated
  loop
    execute format('alter table partitions.%I validate constraint %I', v_archive.name, v_constraint);
  end loop;
exception
  when foreign_key_violation or check_violation then
    perform private.raise_error('CONFLICT', format('%s cannot come back: %s.', v_archive.location, sqlerrm),
      'Its rows need others that are not there: restore those first.');
end
$$;

-- Marks an archive as restored, kept for p_keep.
create or replace function partitions.detach_archive(p_archive partitions.archives, p_keep interval)
  returns void
  language sql
  volatile
as $$
  update partitions.archives as a
  set state = 'restored',
    kept_until = engine.now() + p_keep
  where a.parent = p_archive.parent
    and a.lower = p_archive.lower
    and a.content = p_archive.content
    and a.kind = 'table'
$$;

-- Moves the archived table beside its parent and attaches it; validated checks make a scan
-- unnecessary.
create or replace function partitions.attach_archive(p_parent regclass, p_lower timestamptz, p_keep interval)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.lock_archive(p_parent, p_lower, 'partition');
  v_table constant text := partitions.qualified(p_parent, v_archive.name);
begin
  if v_archive.name is null then
    return;
  end if;
  perform partitions.execute_with_lock_timeout(concat_ws('; ',
    format('select partitions.move_table(%L, %L)', v_archive.location, c.relnamespace::regnamespace::name),
    format('alter table %s attach partition %s %s', p_parent, v_table,
      partitions.values_clause(partitions.key_kind(p_parent), tstzrange(v_archive.lower, v_archive.upper))),
    format('alter table %s drop constraint archived_bounds_check', v_table)
  ))
  from pg_class as c
  where c.oid = p_parent;
  perform partitions.detach_archive(v_archive, p_keep);
  perform partitions.advance_sequences(p_parent, v_table::regclass);
  return next (p_parent, v_archive.name, 'restore', v_archive.lower, v_archive.upper, true, null)::partitions.action;
end
$$;

-- Inserts late rows into the parent and drops their table.
create or replace function partitions.restore_late_events(p_parent regclass, p_lower timestamptz, p_keep interval)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_archive constant partitions.archives := partitions.lock_archive(p_parent, p_lower, 'late');
  v_insert constant text := (
    select format('insert into %s (%s) select %2$s from %s', p_parent, partitions.columns(late), late)
    from partitions.table_of(v_archive) as late
  );
begin
  if v_archive.name is null then
    return;
  end if;
  execute v_insert;
  perform partitions.advance_sequences(p_parent, partitions.table_of(v_archive));
  execute format('drop table partitions.%I', v_archive.name);
  perform partitions.detach_archive(v_archive, p_keep);
  return next (p_parent, v_archive.name, 'restore', v_archive.lower, v_archive.upper, true, null)::partitions.action;
exception
  when unique_violation or foreign_key_violation or undefined_column then
    perform private.raise_error('CONFLICT', format('%s cannot come back: %s.', v_archive.location, sqlerrm),
      'Its rows are there already, or need others that are not.');
end
$$;

-- Sets sequences above the restored rows, which may come from another database.
create or replace function partitions.advance_sequences(p_parent regclass, p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_sequence record;
  v_query text;
  v_highest bigint;
begin
  for v_sequence in
    select d.refobjid::regclass as oid, n.nspname as schema, s.relname as name, a.attname as column
    from pg_attrdef as e
    join pg_depend as d
      on d.classid = 'pg_attrdef'::regclass and d.objid = e.oid and d.refclassid = 'pg_class'::regclass
    join pg_class as s on s.oid = d.refobjid and s.relkind = 'S'
    join pg_namespace as n on n.oid = s.relnamespace
    join pg_attribute as a on a.attrelid = e.adrelid and a.attnum = e.adnum
    where e.adrelid = p_parent
  loop
    v_query := format('select max(%I) from %s', v_sequence.column, p_table);
    execute v_query into v_highest;
    if v_highest > coalesce(pg_sequence_last_value(v_sequence.oid), 0) then
      -- ALTER SEQUENCE locks the sequence, so nobody takes a number in between.
      execute format('alter sequence %I.%I no cycle', v_sequence.schema, v_sequence.name);
      perform setval(v_sequence.oid, greatest(v_highest, coalesce(pg_sequence_last_value(v_sequence.oid), 0)));
    end if;
  end loop;
end
$$;
