-- kind: code
-- Retires a group of partitions, all or nothing. Writes late events, partitions.retirements and
-- partitions.archives. Locks the tables and what foreign keys join by partitions.lock_to_detach(),
-- in attempts of 200 ms, until the transaction ends.

-- Returns the statements that detach a partition and drop, archive or keep it. A plain DROP of an
-- attached one locks less than a detach (none of the tables that it refers to), but is refused
-- where other tables refer to the parent.
create or replace function partitions.detach_statements(p_action partitions.action, p_attached boolean)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    case
      when p_attached and (p_action.action <> 'drop' or partitions.is_referenced(p_action.parent))
      then format('alter table %s detach partition %s', p_action.parent, name)
    end,
    case when p_action.action = 'drop' then format('drop table %s', name) end,
    case p_action.action
      when 'detach' then format('select partitions.move_to_archive(%L, %L)', p_action.parent, p_action.partition)
      when 'archive' then format('select partitions.create_archive_table(%L, %L, %L, %L)',
        p_action.parent, p_action.partition, p_action.lower, p_action.upper)
    end
  )
  from partitions.qualified(p_action.parent, p_action.partition) as name
$$;

-- Retires a group, or nothing of it. Clears late events before the first table is locked; they
-- refer to the last of the group. Detaching what others refer to makes PostgreSQL look for rows
-- that still do: with these settings it merges two indexes, which ends early, and never reads the
-- whole log. jit is off because the settings raise the estimated cost, and compiling took longer
-- than all the rest.
create or replace function partitions.retire_group(p_group partitions.action[])
  returns partitions.action[]
  language plpgsql
  volatile
  set enable_hashjoin = off
  set enable_seqscan = off
  set jit = off
as $$
declare
  v_statements constant text := (
    select format('select partitions.lock_to_detach(%L); ', array_agg(p_group[i].parent))
      || string_agg(partitions.detach_statements(p_group[i], true), '; ' order by i)
    from generate_subscripts(p_group, 1) as i
  );
  v_error text;
begin
  begin
    perform partitions.clear_late_events(p_group[cardinality(p_group)]);
    perform partitions.execute_with_lock_timeout(v_statements);
  exception
    when others then v_error := sqlerrm;
  end;
  return array(
    select (g.parent, g.partition, g.action, g.lower, g.upper, v_error is null, v_error)::partitions.action
    from unnest(p_group) as g
  );
end
$$;

-- Finishes concurrent detaches, of a table or of one partition, under the maintenance lock. A
-- partition that is still attached is only removed from partitions.retirements; the next retirement
-- decides on it.
create or replace function partitions.finish_retirements(p_parent regclass, p_name text default null)
  returns setof partitions.action
  language plpgsql
  volatile
as $$
declare
  v_retirement record;
  v_action partitions.action;
begin
  return query select t.* from partitions.acquire_maintenance_lock(array[p_parent]) as t;
  if found then
    return;
  end if;
  for v_retirement in
    select d.*, c.oid is not null and (i.inhrelid is null or i.inhdetachpending) as is_retiring,
      -- on_retire may have changed since: what is to be archived now is not dropped.
      case when d.action = 'drop' and p.on_retire = 'archive' then 'archive' else d.action end as wish,
      case
        when i.inhdetachpending then format('alter table %s detach partition %s finalize', d.parent, d.partition)
      end as first
    from partitions.retirements as d
    join partitions.managed_tables as p on p.parent = d.parent
    left join pg_class as c on c.oid = d.partition
    left join pg_inherits as i on i.inhrelid = d.partition
    where d.parent = p_parent
      and (p_name is null or d.name = p_name)
    order by d.lower
  loop
    if v_retirement.is_retiring then
      v_action := (p_parent, v_retirement.name, v_retirement.wish, v_retirement.lower, v_retirement.upper, true, null);
      begin
        perform partitions.execute_with_lock_timeout(
          concat_ws('; ', v_retirement.first, partitions.detach_statements(v_action, false)));
      exception
        when others then
          v_action.done := false;
          v_action.detail := sqlerrm;
      end;
      return next v_action;
      continue when not v_action.done;
    end if;
    delete from partitions.retirements as d where d.partition = v_retirement.partition;
  end loop;
end
$$;
