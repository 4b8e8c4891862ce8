-- kind: code
-- How a partition leaves: first the rows that refer to it go; then, locked for an instant, the tables.

-- Rows in partitions that stay and refer to the period: the last events of runs that crossed its end.
create or replace function partitions.delete_stragglers(
  p_policy partitions.policies,
  p_action partitions.action
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_follower record;
begin
  for v_follower in
    select n.nspname as schema, c.relname as name, p.retire_key, a.attname as key,
      partitions.bound(p.key_kind, coalesce(staying.since, p_action.lower)) as since
    from partitions.policies as p
    join pg_class as c on c.oid = p.parent
    join pg_namespace as n on n.oid = c.relnamespace
    join pg_partitioned_table as t on t.partrelid = p.parent
    join pg_attribute as a on a.attrelid = p.parent and a.attnum = t.partattrs[0]
    cross join lateral (
      select max(o.upper) from partitions.of(p.parent) as o where o.upper <= p_action.upper
    ) as staying (since)
    where p.retire_with = p_policy.parent
      and p.retire_key is not null
  loop
    execute format('delete from %I.%I where %I >= %L and %I < %L and %I >= %L',
      v_follower.schema, v_follower.name,
      v_follower.retire_key, partitions.bound(p_policy.key_kind, p_action.lower),
      v_follower.retire_key, partitions.bound(p_policy.key_kind, p_action.upper),
      v_follower.key, v_follower.since);
  end loop;
end
$$;

-- The statements that take one partition out. They lock the parent, so they come last and together.
create or replace function partitions.farewell(p_action partitions.action)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    -- A plain DROP locks less than a detach: nothing of the tables that the partition refers to. But where others
    -- refer to the parent, it is refused.
    case
      when p_action.action <> 'drop'
        or exists (select from pg_constraint as k where k.confrelid = p_action.parent and k.contype = 'f')
      then format('alter table %s detach partition %s', p_action.parent, name)
    end,
    case when p_action.action = 'drop' then format('drop table %s', name) end,
    case when p_action.action = 'detach' then (
      select string_agg(format('alter table %s drop constraint %I', name, k.conname), '; ')
      from pg_constraint as k
      where k.conrelid = to_regclass(name)
        and k.contype = 'f'
    ) end,
    case when p_action.action = 'detach' then format('alter table %s set schema partitions', name) end
  )
  from partitions.qualified(p_action.parent, p_action.partition) as name
$$;

-- All of the group or nothing of it.
create or replace function partitions.retire_group(p_group partitions.action[], p_attempts int)
  returns partitions.action[]
  language plpgsql
  volatile
as $$
declare
  v_statements constant text := (
    select string_agg(partitions.farewell(p_group[i]), '; ' order by i) from generate_subscripts(p_group, 1) as i
  );
  v_error text;
begin
  begin
    perform partitions.execute_patiently(v_statements, p_attempts);
  exception
    when others then v_error := sqlerrm;
  end;
  return array(
    select (g.parent, g.partition, g.action, g.lower, g.upper, v_error is null, v_error)::partitions.action
    from unnest(p_group) as g
  );
end
$$;
