-- kind: code
-- Decides which partitions may be retired, and why others must be kept. Writes and locks nothing;
-- calls the guard of the table.

-- Returns why a period must be kept; null when it may be retired.
create or replace function partitions.hold_reason(
  p_managed partitions.managed_tables,
  p_lower timestamptz,
  p_upper timestamptz
)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_guard record;
  v_reason text;
begin
  if not exists (
    select from partitions.of(p_managed.parent) as o where o.lower >= p_upper and not o.detaching
  ) then
    return 'It is the last partition.';
  end if;
  select format('It was restored and stays until %s.', to_char(a.kept_until at time zone 'UTC', 'YYYY-MM-DD'))
  into v_reason
  from partitions.archives as a
  where a.parent = p_managed.parent
    and a.lower = p_lower
    and a.kept_until > engine.now();
  if found then
    return v_reason;
  elsif p_managed.guard is null then
    return null;
  end if;
  -- The guard runs with the owner's rights, so it must belong to the owner.
  select n.nspname as schema, f.proname as name
  into v_guard
  from pg_proc as f
  join pg_namespace as n on n.oid = f.pronamespace
  join pg_class as c on c.oid = p_managed.parent and c.relowner = f.proowner
  where f.oid = to_regprocedure(p_managed.guard || '(timestamptz, timestamptz)');
  if not found then
    return format('There is no guard %s(timestamptz, timestamptz) of the table''s owner.', p_managed.guard);
  end if;
  execute format('select %I.%I($1, $2)', v_guard.schema, v_guard.name) into v_reason using p_lower, p_upper;
  return v_reason;
end
$$;

-- Lists the partitions whose upper bound is in (p_after, p_before], with the action of on_retire,
-- or `keep` and the reason.
create or replace function partitions.retiring(
  p_managed partitions.managed_tables,
  p_after timestamptz,
  p_before timestamptz
)
  returns setof partitions.action
  language sql
  volatile
as $$
  select p_managed.parent, o.name, case when reason is null then p_managed.on_retire else 'keep' end,
    o.lower, o.upper, false, reason
  from partitions.of(p_managed.parent) as o
  cross join lateral partitions.hold_reason(p_managed, o.lower, o.upper) as reason
  where o.upper > p_after
    and o.upper <= p_before
    and not o.detaching
  order by o.lower
$$;
