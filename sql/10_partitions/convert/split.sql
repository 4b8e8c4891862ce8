-- kind: code
-- Cuts the old table of a conversion into partitions, in steps that each end with a commit. Writes
-- partitions.conversions, whose row each step locks, and the copy; locks on the tables are in
-- copy.sql and exchange.sql.

create or replace procedure partitions.split(parent regclass default null)
  language plpgsql
as $$
declare
  v_parent regclass;
begin
  for v_parent in select c.parent from partitions.open_conversions($1) as c loop
    while partitions.split_step(v_parent) loop
      commit;
    end loop;
    commit;
  end loop;
end
$$;
comment on procedure partitions.split(regclass) is
  'Cuts what partitions.convert() has attached as one historic partition into periods, for one table or all: makes the partitions, copies the rows in batches of one transaction each while a trigger repeats changes in the copy, compares both, exchanges them in a moment and drops the old table. Needs disk space for both. Progress is in partitions.conversions; if it is interrupted, call it again. Cannot run within a transaction. Errors: NOT_FOUND (nothing to split), CONFLICT (locks were not available: try again later). Example: call partitions.split(''public.readings'')';

-- Lists the tables with a conversion to continue; raises NOT_FOUND when the given one has none.
create or replace function partitions.open_conversions(p_parent regclass)
  returns table (parent regclass)
  language plpgsql
  stable
  security definer -- definer because the scheduler splits tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select c.parent
    from partitions.conversions as c
    where (p_parent is null or c.parent = p_parent)
      and c.state not in ('checking', 'checked', 'done')
      and not pg_is_in_recovery()
    order by c.started_at;
  if not found and p_parent is not null and not exists (
    select from partitions.conversions as c where c.parent = p_parent and c.state = 'done'
  ) then
    perform private.raise_error('NOT_FOUND', format('%s has nothing to split.', p_parent),
      'partitions.convert() prepares a table.');
  end if;
end
$$;

-- Does the next step of a conversion, under the lock of its row; returns false when there is none.
create or replace function partitions.split_step(p_parent regclass)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because a DBA splits tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_conversion partitions.conversions;
begin
  select c.* into v_conversion from partitions.conversions as c where c.parent = p_parent for update;
  case coalesce(v_conversion.state, 'done')
    when 'attached' then v_conversion := partitions.make_copy(v_conversion);
    when 'preparing' then v_conversion := partitions.make_batch(v_conversion);
    when 'copying' then v_conversion := partitions.copy_batch(v_conversion);
    when 'copied' then v_conversion := partitions.compare(v_conversion);
    when 'equal' then v_conversion := partitions.exchange(v_conversion);
    when 'switched' then v_conversion := partitions.finish_conversion(v_conversion);
    else return false;
  end case;
  update partitions.conversions as c
  set state = v_conversion.state,
    historic = v_conversion.historic,
    copy = v_conversion.copy,
    filenode = v_conversion.filenode,
    blocks = v_conversion.blocks,
    copied_blocks = v_conversion.copied_blocks,
    changed_at = engine.now()
  where c.parent = p_parent;
  return v_conversion.state <> 'done';
end
$$;

-- Creates the table that holds the new partitions.
create or replace function partitions.make_copy(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_managed constant partitions.managed_tables := partitions.require_managed(p_conversion.parent);
begin
  perform partitions.execute_with_lock_timeout(partitions.copy_statements(v_managed, p_conversion.key));
  select partitions.qualified(c.oid, partitions.copy_name(c.relname)) into v_conversion.copy
  from pg_class as c
  where c.oid = p_conversion.parent;
  v_conversion.state := 'preparing';
  return v_conversion;
end
$$;

-- Creates one partition of the copy; when all exist, creates the triggers that repeat changes in
-- it.
create or replace function partitions.make_batch(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_managed constant partitions.managed_tables := partitions.require_managed(p_conversion.parent);
  v_batch constant tstzrange := (
    select piece
    from unnest(tstzmultirange(tstzrange(p_conversion.lower, p_conversion.upper))
      - partitions.covered(p_conversion.copy)) as hole
    cross join lateral partitions.split(v_managed.granularity, hole) as piece
    order by piece
    limit 1
  );
begin
  if v_batch is not null then
    perform partitions.execute_with_lock_timeout(partitions.batch_statements(v_managed, p_conversion, v_batch));
    return v_conversion;
  end if;
  perform partitions.execute_with_lock_timeout(partitions.catch_up_statements(p_conversion));
  v_conversion.state := 'copying';
  return v_conversion;
end
$$;

-- Copies about a megabyte of the old table. Rows written since copying began are in the copy
-- already, by the triggers.
create or replace function partitions.copy_batch(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_filenode constant oid := pg_relation_filenode(p_conversion.historic);
begin
  if v_conversion.filenode is distinct from v_filenode then
    v_conversion.filenode := v_filenode;
    v_conversion.copied_blocks := 0;
    v_conversion.blocks := pg_relation_size(v_conversion.historic) / current_setting('block_size')::int;
  end if;
  if v_conversion.copied_blocks < v_conversion.blocks then
    perform partitions.execute_with_lock_timeout(
      partitions.copy_statement(v_conversion, least(v_conversion.copied_blocks + 128, v_conversion.blocks)));
    v_conversion.copied_blocks := least(v_conversion.copied_blocks + 128, v_conversion.blocks);
  else
    v_conversion.state := 'copied';
  end if;
  return v_conversion;
end
$$;

-- Compares old table and copy; when they differ, empties the copy and copies again. The triggers
-- keep equal what is equal.
create or replace function partitions.compare(p_conversion partitions.conversions)
  returns partitions.conversions
  language plpgsql
  volatile
as $$
declare
  v_conversion partitions.conversions := p_conversion;
  v_analyze constant text := format('analyze %s', p_conversion.copy);
  v_truncate constant text := format('truncate %s', p_conversion.copy);
begin
  if partitions.is_equal_copy(p_conversion) then
    execute v_analyze;
    v_conversion.state := 'equal';
  else
    raise warning 'The copy of % differs; it is made anew. Was it written with triggers disabled?',
      p_conversion.historic;
    -- Writers of the old table wait for this short statement.
    perform partitions.execute_with_lock_timeout(v_truncate);
    v_conversion.filenode := null;
    v_conversion.state := 'copying';
  end if;
  return v_conversion;
end
$$;
