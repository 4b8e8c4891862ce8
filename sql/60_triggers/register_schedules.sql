-- kind: code
-- Publishing writes the schedules of a workflow, unpublishing deletes them; users see those of
-- their current organization. Writes public.schedules; takes the advisory lock of the schedules of
-- the organization.

create or replace function engine.register_schedules(p_organization_id uuid, p_workflow_id uuid, p_version int)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_limit constant int := engine.max_schedules();
  v_count int;
begin
  -- One publication of an organization at a time: two together could exceed the limit.
  perform pg_advisory_xact_lock(hashtextextended('flowgres.schedules ' || p_organization_id, 0));
  perform engine.unregister_schedules(p_organization_id, p_workflow_id);

  insert into public.schedules (organization_id, workflow_id, node, version, properties, next_run_at, fires_at)
  select
    p_organization_id, p_workflow_id, n.id, p_version, n.properties, t.tick,
    t.tick + engine.jitter(n.properties, p_workflow_id, n.id, t.tick)
  from engine.schedule_triggers(p_organization_id, p_workflow_id, p_version) as n
  cross join lateral engine.next_tick(n.properties, engine.now()) as t (tick);
  get diagnostics v_count = row_count;

  if v_count > 0
    and (select count(*) from public.schedules as s where s.organization_id = p_organization_id) > v_limit
  then
    perform private.raise_error(
      'LIMIT_REACHED',
      format('An organization has at most %s schedules.', v_limit),
      'Unpublish workflows that need not run, or let one schedule start several things.',
      jsonb_build_object('limit', v_limit)
    );
  end if;
  return v_count;
end
$$;
comment on function engine.register_schedules(uuid, uuid, int) is
  'Replaces the schedules of a workflow by those of a version and returns how many these are. Errors: LIMIT_REACHED (more than 1,000 in the organization). Example: select engine.register_schedules(''0190…'', ''0190…'', 3);';

-- Returns the schedule triggers of a version that are not disabled.
create or replace function engine.schedule_triggers(p_organization_id uuid, p_workflow_id uuid, p_version int)
  returns table (id text, properties jsonb)
  language sql
  stable
as $$
  select n.id, n.properties
  from engine.compiled_versions as p
  cross join unnest(p.nodes) as n
  where p.organization_id = p_organization_id
    and p.workflow_id = p_workflow_id
    and p.version = p_version
    and n.type like 'scheduleTrigger@%'
    and not n.disabled
$$;

-- Returns a part of jitterSeconds that depends on workflow, node and tick alone, so that a tick is
-- delayed by the same time whenever it is asked.
create or replace function engine.jitter(p_properties jsonb, p_workflow_id uuid, p_node text, p_tick timestamptz)
  returns interval
  language sql
  immutable
  parallel safe
as $$
  select make_interval(
    secs => (hashtextextended(format('%s %s %s', p_workflow_id, p_node, extract(epoch from p_tick)), 0) & 65535)
      / 65536.0 * coalesce((p_properties ->> 'jitterSeconds')::int, 0)
  )
$$;

create or replace function engine.unregister_schedules(p_organization_id uuid, p_workflow_id uuid)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_count int;
begin
  delete from public.schedules as s
  where s.organization_id = p_organization_id
    and s.workflow_id = p_workflow_id;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
