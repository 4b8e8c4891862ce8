-- kind: code
-- Deletes or archives late events: rows in later partitions that refer to a retired period, such as
-- the last events of runs that crossed its end. Deletes from tables with a retire_key; writes
-- partitions.archives and the tables of late events. Locks the rows it deletes.

-- Clears all late events of a period, in the present transaction.
create or replace function partitions.clear_late_events(p_action partitions.action)
  returns void
  language plpgsql
  volatile
as $$
begin
  while partitions.clear_some_late_events(p_action) > 0 loop
    null;
  end loop;
end
$$;

-- Clears all late events of a period, with a commit after each 10,000 rows; so it cannot be called
-- within a transaction.
create or replace procedure partitions.clear_late_events(
  parent regclass,
  lower timestamptz,
  upper timestamptz,
  action text
)
  language plpgsql
as $$
begin
  while partitions.clear_some_late_events(
    (parent, null, clear_late_events.action, lower, upper, false, null)::partitions.action
  ) > 0 loop
    commit;
  end loop;
end
$$;

-- Returns the table for the late events of one period; creates it at first use.
create or replace function partitions.late_events_table(
  p_member regclass,
  p_leader partitions.managed_tables,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_name text;
begin
  -- The table gets further rows, so remove its seal.
  update partitions.archives as a set row_count = null, sha256 = null
  where a.parent = p_member
    and a.lower = p_lower
    and a.content = 'late'
    and a.kind = 'table'
    and a.state = 'archived'
  returning a.name into v_name;
  if not found then
    select partitions.partition_name(c.relname, p_leader.granularity, tstzrange(p_lower, p_upper)) || '_late'
    into v_name
    from pg_class as c
    where c.oid = p_member;
    perform partitions.create_archive(p_member, v_name);
    perform partitions.enter_archive(p_member, p_lower, p_upper, 'late', v_name);
  end if;
  return v_name;
end
$$;

-- Deletes or archives at most p_limit rows of one partition and returns how many; 0 when none are
-- left.
create or replace function partitions.clear_some_late_events(
  p_action partitions.action,
  p_limit int default 10000
)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_leaf record;
  v_statement text;
  v_late text;
  v_cleared bigint;
begin
  for v_leaf in
    select leader, p.parent, partitions.columns(p.parent) as columns,
      format('from %1$s where ctid = any (array(select ctid from %1$s where %2$I >= %3$L and %2$I < %4$L limit %5$s))',
        o.partition, p.retire_key, partitions.bound(leader.key_kind, p_action.lower),
        partitions.bound(leader.key_kind, p_action.upper), p_limit) as rows
    from partitions.managed_tables as leader
    join partitions.managed_tables as p on p.retire_with = leader.parent and p.retire_key is not null
    cross join lateral partitions.of(p.parent) as o
    where leader.parent = p_action.parent
      -- Partitions up to this bound are retired as a whole.
      and o.upper > p_action.upper
  loop
    if p_action.action = 'archive' then
      v_statement := format('select count(*) %s', v_leaf.rows);
      execute v_statement into v_cleared;
      continue when v_cleared = 0;
      v_late := partitions.late_events_table(v_leaf.parent, v_leaf.leader, p_action.lower, p_action.upper);
      v_statement := format(
        'with late as (delete %s returning %s) insert into partitions.%I (%2$s) select %2$s from late',
        v_leaf.rows, v_leaf.columns, v_late);
    else
      v_statement := format('delete %s', v_leaf.rows);
    end if;
    -- Append-only logs, such as that of runs, refuse deletions without this setting.
    perform set_config('flowgres.purge', 'on', true);
    execute v_statement;
    get diagnostics v_cleared = row_count;
    perform set_config('flowgres.purge', 'off', true);
    if v_cleared > 0 then
      return v_cleared;
    end if;
  end loop;
  return 0;
end
$$;
