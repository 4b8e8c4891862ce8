-- kind: code
-- Deletes what is left of organizations 30 days after their deletion, in batches with a transaction
-- each, so that a tenant with a million runs causes no long transaction and no burst of load.
-- Deletes from public.organizations, public.workflows, public.workflow_runs,
-- public.workflow_events, public.workflow_run_logs, engine.start_keys, and by cascade all else of
-- the organization. Locks the organization with skip locked, so that two purges never wait for each
-- other.

-- Deletes a batch of runs. Events go first, from each partition by its index on the run, so that
-- the foreign key of a run has nothing left to delete.
create or replace function private.purge_runs(p_organization_id uuid, p_limit int)
  returns bigint
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan -- the foreign key's checks take half the time
as $$
declare
  v_run_ids uuid[];
  v_leaf record;
begin
  v_run_ids := array(
    select r.id from public.workflow_runs as r where r.organization_id = p_organization_id order by r.id limit p_limit
  );
  if v_run_ids = '{}' then
    return 0;
  end if;
  perform set_config('flowgres.purge', 'on', true); -- else the log of runs refuses that events are deleted
  for v_leaf in
    select n.nspname as schema, o.name
    from partitions.of('public.workflow_events') as o
    join pg_class as c on c.oid = 'public.workflow_events'::regclass
    join pg_namespace as n on n.oid = c.relnamespace
    -- No event is older than the time in the id of its run.
    where o.upper > engine.uuid_time(v_run_ids[1]) - interval '1 day'
  loop
    execute format('delete from %I.%I where run_id = any ($1)', v_leaf.schema, v_leaf.name) using v_run_ids;
  end loop;
  delete from public.workflow_run_logs as l
  where l.organization_id = p_organization_id and l.run_id = any (v_run_ids);
  delete from public.workflow_runs as r
  where r.id = any (v_run_ids);
  perform set_config('flowgres.purge', 'off', true);
  return cardinality(v_run_ids);
end
$$;
comment on function private.purge_runs(uuid, int) is 'Deletes the oldest runs of an organization, with events, logs and steps, and returns how many.';

create or replace function engine.purge_some(p_limit int default 1000)
  returns table (
    organization_id uuid,
    thing text,
    deleted bigint
  )
  language plpgsql
  volatile
  security definer -- definer because it deletes rows of every tenant's tables
  set search_path = pg_catalog, pg_temp
as $$
begin
  select o.id into organization_id
  from public.organizations as o
  where o.deleted_at <= engine.now() - private.purge_grace()
    and (select engine.copy_problem()) is null
  order by o.deleted_at
  limit 1
  for no key update skip locked;
  if not found then
    return;
  end if;
  thing := 'runs';
  deleted := private.purge_runs(organization_id, p_limit);
  if deleted = 0 then
    thing := 'start keys';
    delete from engine.start_keys as k
    where (k.organization_id, k.workflow_id, k.key) in (
      select e.organization_id, e.workflow_id, e.key
      from engine.start_keys as e
      where e.organization_id = purge_some.organization_id
      limit p_limit
    );
    get diagnostics deleted = row_count;
  end if;
  if deleted = 0 then
    thing := 'workflows';
    delete from public.workflows as w
    where w.id in (
      select e.id from public.workflows as e where e.organization_id = purge_some.organization_id limit 100
    );
    get diagnostics deleted = row_count;
  end if;
  if deleted = 0 then
    thing := 'organization';
    delete from public.organizations as o where o.id = purge_some.organization_id;
    get diagnostics deleted = row_count;
  end if;
  return next;
end
$$;
comment on function engine.purge_some(int) is
  'Deletes one batch of rows of an organization that was deleted 30 days ago, at last the organization itself, and returns what it deleted; no row when nothing is left to delete. Example: select * from engine.purge_some();';

create or replace procedure engine.purge_organizations()
  language plpgsql
as $$
begin
  while exists (select from engine.purge_some()) loop
    commit;
  end loop;
end
$$;
comment on procedure engine.purge_organizations() is
  'Deletes for good the organizations that were deleted 30 days ago, with a transaction for each 1,000 runs. It commits, so it cannot be called inside a transaction. Example: call engine.purge_organizations();';

grant execute on function engine.purge_some(int) to flowgres_maintenance, flowgres_dba;
grant execute on procedure engine.purge_organizations() to flowgres_maintenance, flowgres_dba;
