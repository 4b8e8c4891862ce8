-- kind: code
-- Changes the status of subscriptions, along the listed transitions only, whoever changes it: a
-- user, the clock or a payment provider. Writes public.subscriptions and locks the row, for no key
-- update.

create or replace function private.subscription_transitions()
  returns table ("from" text, "to" text)
  language sql
  immutable
  parallel safe
as $$
  values
    ('trialing', 'active'),
    ('trialing', 'canceled'),
    ('trialing', 'expired'),
    ('active', 'past_due'),
    ('active', 'canceled'),
    ('past_due', 'active'),
    ('past_due', 'canceled'),
    ('past_due', 'expired')
$$;
comment on function private.subscription_transitions() is
  'Lists the transitions between statuses. canceled and expired are final: a customer who returns gets a new subscription.';

create or replace function private.transition_subscription(p_id uuid, p_status text)
  returns public.subscriptions
  language plpgsql
  volatile
as $$
declare
  -- How long a missing payment has no effect.
  v_grace constant interval := '14 days';
  v_now constant timestamptz := engine.now();
  v_subscription public.subscriptions;
begin
  select s.* into v_subscription from public.subscriptions as s where s.id = p_id for no key update;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such subscription.');
  elsif v_subscription.status = p_status then
    return v_subscription;
  elsif not exists (
    select from private.subscription_transitions() as t where t.from = v_subscription.status and t.to = p_status
  ) then
    perform private.raise_error(
      'CONFLICT',
      format('A subscription that is %s cannot become %s.', v_subscription.status, p_status),
      'private.subscription_transitions() lists what can follow.',
      jsonb_build_object('status', v_subscription.status)
    );
  end if;
  update public.subscriptions as s
  set
    status = p_status,
    ended_at = case when p_status in ('canceled', 'expired') then v_now end,
    grace_ends_at = case when p_status = 'past_due' then v_now + v_grace end
  where s.id = p_id
  returning * into v_subscription;
  return v_subscription;
end
$$;
comment on function private.transition_subscription(uuid, text) is
  'Changes the status of a subscription; does nothing when it has that status already. Raises NOT_FOUND, CONFLICT.';

create or replace function public.set_subscription_status(organization uuid, status text)
  returns public.subscriptions
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
begin
  return private.transition_subscription(
    (select s.id from public.subscriptions as s where s.organization_id = organization and s.ended_at is null),
    set_subscription_status.status
  );
end
$$;
comment on function public.set_subscription_status(uuid, text) is
  'For DBAs: changes the status of the current subscription to active (paid), past_due (a payment is missing: 14 days of grace), canceled or expired. Errors: NOT_FOUND, CONFLICT (no transition from its present status). Example: select * from set_subscription_status(''0190…'', ''past_due'');';

create or replace function engine.advance_subscriptions()
  returns table (organization_id uuid, status text)
  language sql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
  select moved.organization_id, moved.status
  from public.subscriptions as s
  cross join lateral private.transition_subscription(s.id, 'expired') as moved
  where s.ended_at is null
    and (
      (s.status = 'trialing' and s.trial_ends_at <= engine.now())
      or (s.status = 'past_due' and s.grace_ends_at <= engine.now())
    )
$$;
comment on function engine.advance_subscriptions() is
  'Ends trials and grace periods that are over; such an organization has the default plan again. Runs every hour. Example: select * from engine.advance_subscriptions();';

grant execute on function public.set_subscription_status(uuid, text) to flowgres_dba;
grant execute on function engine.advance_subscriptions() to flowgres_maintenance, flowgres_dba;
