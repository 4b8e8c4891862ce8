-- kind: code
-- Ends a conversion: replaces the old table by its new partitions. Writes partitions.conversions
-- (through split_step()). Holds the table's maintenance lock (advisory), then locks the table, its
-- copy and what foreign keys join, in one LOCK TABLE, access exclusive.

-- Acquires the maintenance lock, then exchanges in one transaction; returns the conversion as
-- `switched`.
create or replace function partitions.exchange(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
begin
  perform partitions.execute_with_lock_timeout(
    format('select pg_advisory_xact_lock(%s)', partitions.lock_key(p_conversion.parent)));
  perform partitions.execute_with_lock_timeout(format(
    'select partitions.exchange_now(c) from partitions.conversions as c where c.parent = %L::regclass',
    p_conversion.parent));
  v_conversion.copy := null;
  v_conversion.state := 'switched';
  return v_conversion;
end
$$;

-- Returns the statements of the exchange; the first one takes all locks.
create or replace function partitions.exchange_statements(p_conversion partitions.conversions)
  returns setof text
  language sql
  stable
as $$
  select format('lock table %s in access exclusive mode', string_agg(t.name, ', '))
  from (
    select p_conversion.parent::text
    union
    select p_conversion.copy::text
    union
    select case when k.conrelid = p_conversion.parent then k.confrelid else k.conrelid end::regclass::text
    from pg_constraint as k
    where k.contype = 'f'
      and p_conversion.parent in (k.conrelid, k.confrelid)
      and k.conparentid = 0
  ) as t (name)
  union all
  select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
  from pg_constraint as k
  where k.confrelid = p_conversion.parent
    and k.contype = 'f'
    and k.conparentid = 0
  union all
  select format('alter table %s detach partition %s', p_conversion.parent, p_conversion.historic)
  union all
  select piece.statement
  from partitions.of(p_conversion.copy) as o
  cross join lateral (
    values
      (format('alter table %s detach partition %s', p_conversion.copy, o.partition)),
      (format('alter table %s attach partition %s %s', p_conversion.parent, o.partition,
        partitions.values_clause(partitions.key_kind(p_conversion.parent), tstzrange(o.lower, o.upper))))
  ) as piece (statement)
  union all
  select format('drop table %s', p_conversion.copy)
$$;

-- Exchanges the old table for the partitions, all or nothing. Writers wait from the lock to the
-- commit; no rows are read.
create or replace function partitions.exchange_now(p_conversion partitions.conversions)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_referring constant text[] := array(select partitions.referring_key_statements(p_conversion.parent));
begin
  perform partitions.perform_all(array(select partitions.exchange_statements(p_conversion)));
  perform partitions.perform_all(v_referring);
end
$$;

-- Does what the exchange left out while writers waited, one statement per call: validates foreign
-- keys of other tables, drops the checks that made reading the partitions unnecessary, then drops
-- the old table, whose rows are all copied.
create or replace function partitions.finish_conversion(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_next constant text := (
    select format('alter table %s validate constraint %I', k.conrelid::regclass, k.conname)
    from pg_constraint as k
    where k.confrelid = p_conversion.parent
      and k.conparentid = 0
      and k.contype = 'f'
      and not k.convalidated
    union all
    select format('alter table %s drop constraint %I', k.conrelid::regclass, k.conname)
    from pg_inherits as i
    join pg_constraint as k on k.conrelid = i.inhrelid and k.conname = partitions.bound_check()
    where i.inhparent = p_conversion.parent
    limit 1
  );
begin
  if v_next is not null then
    perform partitions.execute_with_lock_timeout(v_next);
    return v_conversion;
  end if;
  perform partitions.execute_with_lock_timeout(format('drop table %s', p_conversion.historic));
  v_conversion.historic := null;
  v_conversion.state := 'done';
  return v_conversion;
end
$$;

grant execute on procedure partitions.split(regclass) to flowgres_dba, flowgres_maintenance;

grant execute on function
  partitions.open_conversions(regclass),
  partitions.split_step(regclass)
  to flowgres_dba, flowgres_maintenance;
