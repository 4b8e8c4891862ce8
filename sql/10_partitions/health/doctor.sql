-- kind: code
-- Examines managed tables and returns the SQL that corrects what is wrong. Writes and locks
-- nothing.

create or replace function partitions.doctor(parent regclass default null)
  returns setof partitions.finding
  language plpgsql
  volatile
  security definer -- definer because DBAs and monitors examine tables without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_managed partitions.managed_tables;
  v_leaves partitions.leaf[];
begin
  if doctor.parent is not null then
    perform partitions.require_managed(doctor.parent);
  end if;
  for v_managed in
    select p.*
    from partitions.managed_tables as p
    where doctor.parent is null or p.parent = doctor.parent
    order by p.parent::text
  loop
    begin
      perform partitions.require_manageable(v_managed.parent);
    exception
      when others then
        return next (v_managed.parent, 'table', 'critical', sqlerrm,
          format('delete from partitions.managed_tables where parent = %L', v_managed.parent))::partitions.finding;
        continue;
    end;
    v_leaves := partitions.examine(v_managed.parent);
    return query select f.* from partitions.check_coverage(v_managed, v_leaves) as f;
    return query select f.* from partitions.check_upkeep(v_managed, v_leaves) as f;
    return query select f.* from partitions.check_each(v_managed, v_leaves) as f;
    return query select f.* from partitions.check_archives(v_managed) as f;
  end loop;
  return query select f.* from partitions.check_conversions(doctor.parent) as f;
  if doctor.parent is null then
    return query select f.* from partitions.other_checks() as f;
  end if;
end
$$;
comment on function partitions.doctor(regclass) is
  'Says what is wrong with the managed tables, or the given one; without one also with other data that is kept for a time. Returns no row when all is well. Checks: table, forward buffer, hole, overlap, size, detach, maintenance, retention, archive, row-level security, grants, statistics, freeze, conversion, expired. `fix` is SQL to run as flowgres_owner, where there is any. Error: NOT_FOUND (no managed table). Example: select * from partitions.doctor()';

grant execute on function partitions.doctor(regclass) to flowgres_dba, flowgres_monitor;

-- Runs the checks of later layers: each function of schema monitor that belongs to the owner, takes
-- no argument and returns findings. They are looked up here, because this layer does not know them.
create or replace function partitions.other_checks()
  returns setof partitions.finding
  language plpgsql
  volatile
as $$
declare
  v_check record;
begin
  for v_check in
    select n.nspname as schema, p.proname as name
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = 'monitor'
      and p.prorettype = 'partitions.finding'::regtype
      and p.proretset
      and p.pronargs = 0
      and pg_get_userbyid(p.proowner) = current_user
    order by p.proname
  loop
    return query execute format('select f.* from %I.%I() as f', v_check.schema, v_check.name);
  end loop;
end
$$;
