-- kind: code
-- Shows the limits of an organization, and how much it has used. Writes and locks nothing.

-- Returns the plan of the current subscription, else the default plan.
create or replace function private.plan_of(p_organization_id uuid)
  returns uuid
  language sql
  stable
as $$
  select coalesce(
    (
      select s.plan_id
      from public.subscriptions as s
      where s.organization_id = p_organization_id and s.ended_at is null
    ),
    (select p.id from public.plans as p where p.is_default)
  )
$$;

-- Returns limits and use of each metric of an organization.
create or replace function private.entitlements(p_organization_id uuid)
  returns table (
    metric text,
    plan_limit bigint,
    own_limit bigint,
    "limit" bigint,
    used bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language sql
  stable
as $$
  select
    m.metric,
    p.value,
    o.value,
    least(p.value, o.value),
    private.used_of(p_organization_id, m.metric, span),
    case when m.period is not null then lower(span) end,
    upper(span)
  from private.metrics() as m
  cross join lateral private.metric_period(m.period, engine.now()) as span
  left join public.plan_limits as p on p.plan_id = private.plan_of(p_organization_id) and p.metric = m.metric
  left join public.organization_limits as o on o.organization_id = p_organization_id and o.metric = m.metric
  where p_organization_id is not null
$$;

-- Returns the entitlements of the request's organization.
create or replace function private.current_entitlements()
  returns table (
    metric text,
    plan_limit bigint,
    own_limit bigint,
    "limit" bigint,
    used bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language sql
  stable
  security definer -- definer because counters are closed to everybody; it asks for the request's organization only
  set search_path = pg_catalog, pg_temp
as $$
  select e.*
  from private.entitlements(public.current_organization_id()) as e
  where private.has_scope('organization:read')
$$;

create or replace view public.entitlements with (security_invoker = true) as
select
  e.metric, e.plan_limit, e.own_limit, e.limit, e.used, coalesce(e.used > e.limit, false) as is_over,
  e.period_start, e.resets_at
from private.current_entitlements() as e;

comment on view public.entitlements is
  'The limits of the current organization, one row per metric, and how much is used. Example: select metric, used, "limit", resets_at from entitlements;';
comment on column public.entitlements.metric is 'As in plan_limits.';
comment on column public.entitlements.plan_limit is 'What its plan allows; null: unlimited.';
comment on column public.entitlements.own_limit is 'The limit that it has set for itself; null: none.';
comment on column public.entitlements."limit" is 'The limit that applies: the lower one; null: unlimited.';
comment on column public.entitlements.used is 'How much is used, in the current period if there is one; null where it is not counted.';
comment on column public.entitlements.is_over is 'Whether more is used than the limit, as after a change to a smaller plan: then nothing can be added.';
comment on column public.entitlements.period_start is 'When the current period began (UTC); null for a metric without periods.';
comment on column public.entitlements.resets_at is 'When the next period begins.';

create or replace function public.usage(
  organization uuid default null,
  period date default null,
  team uuid default null
)
  returns table (
    metric text,
    used bigint,
    "limit" bigint,
    period_start timestamptz,
    resets_at timestamptz
  )
  language plpgsql
  stable
  security definer -- definer because counters are closed to everybody
  set search_path = pg_catalog, pg_temp
  rows 6
as $$
declare
  v_organization_id constant uuid := private.acting_organization(organization);
  v_at constant timestamptz := usage.period::timestamp at time zone 'UTC';
begin
  perform private.require_scope('organization:read');
  if team is not null and not exists (
    select from public.teams as t where t.organization_id = v_organization_id and t.id = team
  ) then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  elsif v_at is not null then
    return query
      select
        m.metric, private.count_used(m.counter, v_organization_id, month, team), null::bigint,
        lower(month), upper(month)
      from private.metrics() as m
      cross join lateral private.metric_period(m.period, v_at) as month
      where m.period = 'month'
      order by m.metric collate "C";
  elsif team is not null then
    return query
      select
        m.metric, private.used_of(v_organization_id, m.metric, span, team),
        private.limit_of(v_organization_id, m.metric, team),
        case when m.period is not null then lower(span) end, upper(span)
      from private.metrics() as m
      cross join lateral private.metric_period(m.period, engine.now()) as span
      where m.is_by_team
      order by m.metric collate "C";
  else
    return query
      select e.metric, e.used, e.limit, e.period_start, e.resets_at
      from private.entitlements(v_organization_id) as e
      order by e.metric collate "C";
  end if;
end
$$;
comment on function public.usage(uuid, date, uuid) is
  'Returns what the organization (by default the current one) has used: now, with its limits; or, with a day, in the month of that day (UTC), for metrics that are counted by the month, as long as its runs are kept. With a team: what this team has used, with its own limits. Scope: organization:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select metric, used, "limit", resets_at from usage();';

grant select on public.entitlements to flowgres_user;
grant execute on function private.current_entitlements() to flowgres_user;
grant execute on function public.usage(uuid, date, uuid) to flowgres_user, flowgres_dba;
