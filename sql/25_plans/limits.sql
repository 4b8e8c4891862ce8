-- kind: code
-- Finds the limit that applies: the lower of the plan's (of the current subscription, or the
-- default plan) and the organization's own. A team has its own limits, and the organization's apply
-- as well. Writes and locks nothing.

create or replace function private.limit_of(p_organization_id uuid, p_metric text, p_team_id uuid default null)
  returns bigint
  language plpgsql
  stable
as $$
begin
  if p_team_id is not null then
    return (
      select l.value
      from public.team_limits as l
      where l.organization_id = p_organization_id and l.team_id = p_team_id and l.metric = p_metric
    );
  end if;
  -- Every start of a run calls this. PL/pgSQL with one query takes a quarter of the time that SQL
  -- took.
  return least( -- of those that are not null
    (
      select l.value
      from public.plan_limits as l
      where l.metric = p_metric
        and l.plan_id = coalesce(
          (
            select s.plan_id
            from public.subscriptions as s
            where s.organization_id = p_organization_id and s.ended_at is null
          ),
          (select p.id from public.plans as p where p.is_default)
        )
    ),
    (
      select l.value
      from public.organization_limits as l
      where l.organization_id = p_organization_id and l.metric = p_metric
    )
  );
end
$$;
comment on function private.limit_of(uuid, text, uuid) is
  'Returns the limit that applies to an organization now, or the limit of a team; null: unlimited.';

create or replace function private.limit_error(p_admission private.admission)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'code', 'LIMIT_REACHED',
    'message', format(
      'The %s may have %s %s.',
      case when p_admission.team_id is null then 'organization' else 'team' end, p_admission.limit, m.label
    ),
    'hint', case
      when p_admission.team_id is not null then 'Admins of the organization change it with set_team_limit.'
      when m.period is null then 'Delete or archive what is not needed, or change to a larger plan.'
      else 'Wait until resetAt, or change to a larger plan.'
    end,
    'details', jsonb_build_object(
      'metric', p_admission.metric,
      'limit', p_admission.limit,
      'used', p_admission.used,
      'resetAt', upper(private.metric_period(m.period, p_admission.period_start))
    ) || case
      when p_admission.team_id is null then '{}' else jsonb_build_object('team', p_admission.team_id)
    end
  )
  from private.metrics() as m
  where m.metric = p_admission.metric
$$;
comment on function private.limit_error(private.admission) is
  'Returns the error of a refusal: {"code", "message", "hint", "details"}.';

-- Returns how much is used: the counter where a limit is enforced, else what private.count_used()
-- finds.
create or replace function private.used_of(
  p_organization_id uuid,
  p_metric text,
  p_time_range tstzrange,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select coalesce(
    (
      select c.used
      from private.usage_counters as c
      where c.organization_id = p_organization_id
        and c.owner_id = coalesce(p_team_id, p_organization_id)
        and c.metric = p_metric
        and m.period is not null
        and c.period_start = lower(p_time_range)
        and (m.counter is null or private.limit_of(p_organization_id, p_metric, p_team_id) is not null)
    ),
    private.count_used(m.counter, p_organization_id, p_time_range, p_team_id)
  )
  from private.metrics() as m
  where m.metric = p_metric
$$;
