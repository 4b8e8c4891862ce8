-- kind: code
-- Rows in partitions that stay and refer to a period that leaves: the last events of runs that crossed its end.

-- Deletes at most so many of them and returns how many it was; none are left when it returns 0.
create or replace function partitions.delete_some_stragglers(
  p_leader regclass,
  p_lower timestamptz,
  p_upper timestamptz,
  p_limit int default 10000
)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_leaf record;
  v_deleted bigint;
begin
  for v_leaf in
    select n.nspname as schema, o.name, p.retire_key as key,
      partitions.bound(leader.key_kind, p_lower) as lower, partitions.bound(leader.key_kind, p_upper) as upper
    from partitions.policies as leader
    join partitions.policies as p on p.retire_with = leader.parent and p.retire_key is not null
    join pg_class as c on c.oid = p.parent
    join pg_namespace as n on n.oid = c.relnamespace
    cross join lateral partitions.of(p.parent) as o
    where leader.parent = p_leader
      -- Those up to here leave whole.
      and o.upper > p_upper
  loop
    execute format(
      'delete from %1$I.%2$I where ctid = any (array(
         select ctid from %1$I.%2$I where %3$I >= %4$L and %3$I < %5$L limit %6$L))',
      v_leaf.schema, v_leaf.name, v_leaf.key, v_leaf.lower, v_leaf.upper, p_limit);
    get diagnostics v_deleted = row_count;
    if v_deleted > 0 then
      return v_deleted;
    end if;
  end loop;
  return 0;
end
$$;

-- The same to the end, in one transaction.
create or replace function partitions.delete_stragglers(p_action partitions.action)
  returns void
  language plpgsql
  volatile
as $$
begin
  while partitions.delete_some_stragglers(p_action.parent, p_action.lower, p_action.upper) > 0 loop
    null;
  end loop;
end
$$;

-- The same to the end, in a transaction for each 10,000 rows; so it cannot be called within one.
create or replace procedure partitions.delete_stragglers(
  parent regclass,
  lower timestamptz,
  upper timestamptz
)
  language plpgsql
as $$
begin
  while partitions.delete_some_stragglers($1, $2, $3) > 0 loop
    commit;
  end loop;
end
$$;
