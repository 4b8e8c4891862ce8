-- kind: code
-- Counts executions against the limits of organizations and teams. A batch reserves as many as it
-- may start, once per organization and once per team that has a limit, and gives the rest back in
-- the same transaction. Writes private.usage_counters by 25_plans/admit.sql, which locks the row of
-- the organization, then that of the team: docs/reference/locks.md has the order of all locks.

-- Returns the quota of the next workflow of a batch. p_before: the quota of the workflow before it;
-- what both have in common is kept, the rest is given back. p_compiled null: gives all of it back.
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
    if p_compiled.settings ? 'isUnmetered' then
      -- The workflow that sends messages, also the one that a limit is reached.
      v_organization.organization_id := p_compiled.organization_id;
      v_organization.admitted := p_wanted;
    elsif p_compiled.organization_id is not null then
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

-- Gives back what an admission has reserved and no start has used.
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

-- Returns the error of a start that the quota does not admit; null while it admits one more.
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
    and not exists (select from private.delivery_workflows as d where d.workflow_id = r.workflow_id)
    and (
      p_team_id is null
      or r.workflow_id = any (array(
        select w.id from public.workflows as w where w.organization_id = p_organization_id and w.team_id = p_team_id
      ))
    )
$$;
comment on function engine.count_executions(uuid, tstzrange, uuid) is
  'Counts the runs of an organization, or of the workflows that a team has now, that began in a time range: what executions_per_month limits. Example: select engine.count_executions(''0190…'', tstzrange(''2026-11-01'', ''2026-12-01''));';
