-- kind: code
-- Changes the plan of an organization and the limits that it sets for itself. Nothing is deleted by
-- it: what is over the new limit can only be read. Writes public.subscriptions,
-- public.organization_limits and private.usage_counters. Locks the organization's row, for no key
-- update, and its subscription.

create or replace function public.change_plan(plan text, organization uuid default null)
  returns public.subscriptions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization(organization);
  v_plan public.plans;
begin
  perform private.require_scope('organization:write');
  select p.* into v_plan from public.plans as p where p.slug = change_plan.plan;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such plan.', 'plans lists those that can be chosen.');
  end if;
  -- Locks out other changes of the plan; inserts of runs go on.
  perform from public.organizations as o where o.id = v_organization_id for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such organization.');
  end if;
  perform private.require_choosable(v_plan, v_organization_id);
  perform private.recount(v_organization_id);
  return private.save_subscription(
    v_organization_id, v_plan, not private.is_dba() and v_plan.price_cents is distinct from 0
  );
end
$$;
comment on function public.change_plan(text, uuid) is
  'Changes the plan of the organization, at once: counters continue, the limits are those of the new plan, and what is over them is kept and can only be read. The default plan ends the subscription. An owner may choose a free plan, and try, once, a plan with trial_days; a DBA may choose any plan, which is then active. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from change_plan(''pro'');';

-- Raises FORBIDDEN unless an owner chooses a free plan, or a trial for the first time. Only a DBA,
-- who sees the payment, may choose others.
create or replace function private.require_choosable(p_plan public.plans, p_organization_id uuid)
  returns void
  language plpgsql
  stable
as $$
begin
  if private.is_dba() then
    return;
  end if;
  perform private.require_role('owner');
  if p_plan.is_default or (p_plan.is_public and p_plan.price_cents = 0) then
    return;
  elsif not p_plan.is_public or p_plan.trial_days = 0 or exists (
    select from public.subscriptions as s
    where s.organization_id = p_organization_id and s.trial_ends_at is not null
  ) then
    perform private.raise_error(
      'FORBIDDEN', format('The plan %s begins with a payment.', p_plan.slug), 'Ask the operator of this installation.'
    );
  end if;
end
$$;

-- Starts, changes or, for the default plan, cancels the subscription, under the lock of its row.
create or replace function private.save_subscription(p_organization_id uuid, p_plan public.plans, p_is_trial boolean)
  returns public.subscriptions
  language plpgsql
  volatile
as $$
declare
  v_now constant timestamptz := engine.now();
  v_subscription public.subscriptions;
begin
  select s.* into v_subscription
  from public.subscriptions as s
  where s.organization_id = p_organization_id and s.ended_at is null
  for no key update;
  if p_plan.is_default then
    return case when found then private.transition_subscription(v_subscription.id, 'canceled') end;
  elsif v_subscription.id is null then
    insert into public.subscriptions (organization_id, plan_id, status, started_at, trial_ends_at)
    values (
      p_organization_id, p_plan.id, case when p_is_trial then 'trialing' else 'active' end, v_now,
      case when p_is_trial then v_now + make_interval(days => p_plan.trial_days) end
    )
    returning * into v_subscription;
    return v_subscription;
  end if;
  update public.subscriptions as s
  set plan_id = p_plan.id
  where s.id = v_subscription.id
  returning * into v_subscription;
  if v_subscription.status <> 'active' and not p_is_trial then
    v_subscription := private.transition_subscription(v_subscription.id, 'active');
  end if;
  return v_subscription;
end
$$;

-- Raises INVALID_ARGUMENT for a metric that does not exist, or a negative limit.
create or replace function private.check_limit(p_metric text, p_value bigint, p_metrics text[])
  returns void
  language plpgsql
  stable
as $$
begin
  if p_metric is null or p_metric <> all (p_metrics) then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'There is no such metric.', 'Metrics: ' || array_to_string(p_metrics, ', ') || '.'
    );
  elsif p_value < 0 then
    perform private.raise_error('INVALID_ARGUMENT', 'A limit is 0 or more; null takes it away.');
  end if;
end
$$;

create or replace function public.set_organization_limit(metric text, value bigint default null)
  returns public.organization_limits
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_limit public.organization_limits;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('owner');
  perform private.check_limit(
    set_organization_limit.metric, value, array(select m.metric from private.metrics() as m)
  );
  perform private.recount(v_organization_id);
  if value is null then
    delete from public.organization_limits as l
    where l.organization_id = v_organization_id and l.metric = set_organization_limit.metric
    returning * into v_limit;
    return v_limit;
  end if;
  insert into public.organization_limits as l (organization_id, metric, value)
  values (v_organization_id, set_organization_limit.metric, set_organization_limit.value)
  on conflict on constraint organization_limits_pkey do update set value = excluded.value
  returning * into v_limit;
  return v_limit;
end
$$;
comment on function public.set_organization_limit(text, bigint) is
  'Sets a limit of the organization below that of its plan; null removes it. A higher one has no effect. For owners. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT. Example: select * from set_organization_limit(''executions_per_month'', 500);';

grant execute on function public.change_plan(text, uuid), public.set_organization_limit(text, bigint)
  to flowgres_user, flowgres_dba;
