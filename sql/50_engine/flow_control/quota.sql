-- kind: code
-- Executions are counted once per batch and organization, when the first of its requests is about to start, and per
-- team that has a limit: as many as the batch may start. What it does not, goes back in the same transaction.

-- p_before: of the workflow that came before this one; what both have in common is kept. Without a plan it gives back.
create or replace function engine.reserve_quota(
  p_before engine.quota,
  p_compiled engine.compiled_versions,
  p_wanted int,
  p_now timestamptz
)
  returns engine.quota
  language plpgsql
  volatile
as $$
declare
  v_metric constant text := 'executions_per_month';
  v_start constant timestamptz := date_trunc('month', p_now, 'UTC');
  v_team_id constant uuid := p_compiled.settings ->> 'team';
  v_used constant int := p_before.admitted - p_before.remaining;
  v_organization private.admission := p_before.for_organization;
  v_team private.admission := p_before.for_team;
begin
  v_organization.admitted := v_organization.admitted - v_used;
  v_team.admitted := v_team.admitted - v_used;
  if v_organization.organization_id is distinct from p_compiled.organization_id then
    perform engine.return_quota(v_organization, p_now);
    v_organization := null;
    if p_compiled.organization_id is not null then
      v_organization := private.admit_flow(p_compiled.organization_id, v_metric, p_wanted, v_start);
    end if;
  end if;
  if v_team.team_id is distinct from v_team_id then
    perform engine.return_quota(v_team, p_now);
    v_team := null;
    if v_team_id is not null then
      v_team := private.admit_flow(p_compiled.organization_id, v_metric, p_wanted, v_start, v_team_id);
    end if;
  end if;
  p_before.workflow_id := p_compiled.workflow_id;
  p_before.for_organization := v_organization;
  p_before.for_team := v_team;
  p_before.admitted := least(v_organization.admitted, v_team.admitted);
  p_before.remaining := p_before.admitted;
  return p_before;
end
$$;

create or replace function engine.return_quota(p_admission private.admission, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_admission.admitted > 0 and p_admission.limit is not null then
    perform private.return_quota(
      p_admission.organization_id, p_admission.metric, p_admission.admitted, p_now, p_admission.team_id
    );
  end if;
end
$$;

-- Null while there is one left.
create or replace function engine.admission_error(p_quota engine.quota)
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return case
    when p_quota.remaining > 0 then null
    when (p_quota.for_team).admitted < (p_quota.for_organization).admitted then private.limit_error(p_quota.for_team)
    else private.limit_error(p_quota.for_organization)
  end;
end
$$;

create or replace function engine.count_executions(
  p_organization_id uuid,
  p_time_range tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select count(*)
  from public.workflow_runs as r
  where r.organization_id = p_organization_id
    and r.id >= engine.uuid_floor(lower(p_time_range))
    and r.id < engine.uuid_floor(upper(p_time_range))
    and (
      p_team_id is null
      or r.workflow_id = any (array(
        select w.id from public.workflows as w where w.organization_id = p_organization_id and w.team_id = p_team_id
      ))
    )
$$;
comment on function engine.count_executions(uuid, tstzrange, uuid) is
  'How many runs of an organization, or of the workflows that a team looks after now, began in a span of time: what executions_per_month counts.';
