-- kind: code
-- Gathers statistics of whole tables, and lists the last VACUUM of partitions that are written no
-- more. Writes partitions.upkeep. ANALYZE locks a table against DDL and VACUUM only.

-- Analyzes partitioned tables as a whole. Autovacuum never does: without this the planner has no
-- statistics of them, or old ones.
create or replace function partitions.analyze(parent regclass default null)
  returns setof regclass
  language plpgsql
  volatile
  security definer -- definer because only the owner of a table analyzes it
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_parent regclass;
  v_analyze text;
begin
  if pg_is_in_recovery() then
    return;
  end if;
  if "analyze".parent is not null then
    perform partitions.require_managed("analyze".parent);
  end if;
  for v_parent, v_analyze in
    select p.parent, format(
      -- From PostgreSQL 18 on ONLY spares reading the partitions, which autovacuum has analyzed.
      case when current_setting('server_version_num')::int >= 180000 then 'analyze only %s' else 'analyze %s' end,
      p.parent)
    from partitions.managed_tables as p
    join pg_class as t on t.oid = p.parent
    left join partitions.upkeep as c on c.relation = p.parent
    where coalesce(p.parent = "analyze".parent, c.relation is null
      or c.fingerprint <> partitions.fingerprint(p.parent)
      or c.done_at < engine.now() - interval '3 months')
    order by t.relname
  loop
    execute v_analyze;
    insert into partitions.upkeep as c (relation, parent, fingerprint, done_at)
    values (v_parent, v_parent, partitions.fingerprint(v_parent), engine.now())
    on conflict on constraint upkeep_pkey do update
    set fingerprint = excluded.fingerprint,
      done_at = excluded.done_at;
    return next v_parent;
  end loop;
end
$$;
comment on function partitions.analyze(regclass) is
  'Gathers the statistics of managed tables as a whole and returns their names: of those that have gained or lost a partition, and of all every three months; of a named table always. Error: NOT_FOUND (no managed table). Example: select partitions.analyze()';

-- Lists the VACUUM of partitions that were not frozen yet, and records that it has listed them.
create or replace function partitions.freeze_statements(parent regclass default null)
  returns setof text
  language plpgsql
  volatile
  security definer -- definer because a DBA asks for tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_is_in_recovery() then
    return;
  end if;
  delete from partitions.upkeep as c where not exists (select from pg_class as t where t.oid = c.relation);
  -- Record the partitions that were listed and vacuumed since; by the server's clock, as the
  -- statistics have it, not the engine's.
  update partitions.upkeep as c
  set done_at = pg_stat_get_last_vacuum_time(c.relation)
  where c.done_at is null
    and pg_stat_get_last_vacuum_time(c.relation) >= c.asked_at;
  return query
    with asked as (
      insert into partitions.upkeep as c (relation, parent, asked_at)
      select o.partition, p.parent, clock_timestamp()
      from partitions.managed_tables as p
      cross join lateral partitions.of(p.parent) as o
      -- Wait a day: rows may come late.
      where o.upper < engine.now() - interval '1 day'
        and not o.detaching
        and (freeze_statements.parent is null or p.parent = freeze_statements.parent)
        and not exists (select from partitions.upkeep as c where c.relation = o.partition and c.done_at is not null)
      on conflict on constraint upkeep_pkey do update
      set asked_at = excluded.asked_at
      returning c.relation
    )
    select format('vacuum (freeze) %s', asked.relation) from asked order by asked.relation::text;
end
$$;
comment on function partitions.freeze_statements(regclass) is
  'Returns a VACUUM for each partition that ended more than a day ago and was not frozen yet, so that it never needs to be read for that again. Run each on its own, as flowgres_owner; the next call sees which were run, and lists the others again. Example, in psql: set role flowgres_owner; select partitions.freeze_statements() \gexec';

grant execute on function
  partitions.analyze(regclass),
  partitions.freeze_statements(regclass)
  to flowgres_dba, flowgres_maintenance;
