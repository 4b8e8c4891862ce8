-- kind: code
-- Finds problems of the settings of a definition beyond their shape. Settings of a wrong type are
-- ignored here: the schema reports them. Reads public.workflows; writes and locks nothing.

create or replace function engine.settings_problems(p_settings jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_organization_id constant uuid := public.current_organization_id();
begin
  if jsonb_typeof(p_settings -> 'timezone') = 'string' and not engine.is_time_zone(p_settings ->> 'timezone') then
    return next engine.problem(
      '{settings,timezone}', 'UNKNOWN_TIME_ZONE', 'must be a time zone such as Europe/Berlin or UTC'
    );
  end if;
  return query select * from engine.flow_problems(p_settings);
  -- A DBA without a context may name an error workflow of any organization.
  if (p_settings ->> 'errorWorkflow') collate "C" ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' and not exists (
    select
    from public.workflows as w
    where w.id = (p_settings ->> 'errorWorkflow')::uuid
      and w.organization_id = coalesce(v_organization_id, w.organization_id)
  ) then
    return next engine.problem('{settings,errorWorkflow}', 'UNKNOWN_WORKFLOW', 'there is no such workflow');
  end if;
end
$$;
