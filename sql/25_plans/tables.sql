-- kind: state
-- Plans with their limits, subscriptions of organizations, and counters of what was used.
-- docs/reference/tables.md lists the writers. Locks nothing.

create table public.plans (
  id uuid not null default engine.uuid_v7(),
  slug text not null,
  name text not null,
  description text,
  price_cents bigint,
  currency text not null default 'EUR',
  billing_interval text not null default 'month',
  interval_count int not null default 1,
  trial_days int not null default 0,
  features jsonb not null default '{}',
  is_public boolean not null default true,
  is_default boolean not null default false,
  sort_order int not null default 0,
  created_at timestamptz not null default now(),
  constraint plans_pkey primary key (id),
  constraint plans_slug_key unique (slug),
  constraint plans_slug_check check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,62}$'),
  constraint plans_name_check check (private.is_name(name)),
  constraint plans_price_cents_check check (price_cents >= 0),
  constraint plans_currency_check check (currency ~ '^[A-Z]{3}$'),
  constraint plans_billing_interval_check check (billing_interval in ('day', 'week', 'month', 'year')),
  constraint plans_interval_count_check check (interval_count > 0),
  constraint plans_trial_days_check check (trial_days between 0 and 365),
  constraint plans_features_check check (jsonb_typeof(features) = 'object')
);
create unique index plans_is_default_key on public.plans (is_default) where is_default;
alter table public.plans enable row level security;

comment on table public.plans is
  'Plans that organizations subscribe to. A price never changes: a new price is a new plan, and subscriptions of the old plan keep their price. Example: select slug, name, price_cents, currency from plans order by sort_order;';
comment on column public.plans.id is 'UUIDv7.';
comment on column public.plans.slug is 'Short name, for example pro.';
comment on column public.plans.name is 'At most 200 characters.';
comment on column public.plans.description is 'Whom it is for.';
comment on column public.plans.price_cents is 'Price of one billing interval, in hundredths of the currency; null: by agreement.';
comment on column public.plans.currency is 'ISO 4217, for example EUR.';
comment on column public.plans.billing_interval is 'day, week, month or year.';
comment on column public.plans.interval_count is 'How many billing intervals one price pays for.';
comment on column public.plans.trial_days is 'How many days it can be tried without payment; 0: none.';
comment on column public.plans.features is 'Other features, for pricing pages; they are not enforced.';
comment on column public.plans.is_public is 'Whether customers see it and may choose it.';
comment on column public.plans.is_default is 'The one plan of organizations that have no subscription.';
comment on column public.plans.sort_order is 'Lower stands first on a pricing page.';
comment on column public.plans.created_at is 'When it was created.';

create table public.plan_limits (
  plan_id uuid not null,
  metric text not null,
  value bigint,
  constraint plan_limits_pkey primary key (plan_id, metric),
  constraint plan_limits_plan_id_fkey foreign key (plan_id) references public.plans (id) on delete cascade,
  constraint plan_limits_metric_check check (
    metric in ('workflows', 'executions_per_month', 'team_members', 'credentials', 'storage_gb', 'api_calls_per_hour')
  ),
  constraint plan_limits_value_check check (value >= 0)
);
alter table public.plan_limits enable row level security;

comment on table public.plan_limits is 'How much of each metric a plan allows.';
comment on column public.plan_limits.plan_id is 'The plan.';
comment on column public.plan_limits.metric is
  'workflows, executions_per_month, team_members, credentials, storage_gb or api_calls_per_hour.';
comment on column public.plan_limits.value is 'The highest amount; null, or no row: unlimited.';

create table public.organization_limits (
  organization_id uuid not null,
  metric text not null,
  value bigint not null,
  constraint organization_limits_pkey primary key (organization_id, metric),
  constraint organization_limits_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint organization_limits_metric_check check (
    metric in ('workflows', 'executions_per_month', 'team_members', 'credentials', 'storage_gb', 'api_calls_per_hour')
  ),
  constraint organization_limits_value_check check (value >= 0)
);
alter table public.organization_limits enable row level security;

comment on table public.organization_limits is 'Limits that an organization has set for itself; the lower one of these and the plan''s applies.';
comment on column public.organization_limits.organization_id is 'The organization.';
comment on column public.organization_limits.metric is 'As in plan_limits.';
comment on column public.organization_limits.value is 'The highest amount.';

create table public.team_limits (
  organization_id uuid not null,
  team_id uuid not null,
  metric text not null,
  value bigint not null,
  constraint team_limits_pkey primary key (organization_id, team_id, metric),
  constraint team_limits_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade,
  constraint team_limits_metric_check check (metric in ('workflows', 'executions_per_month', 'team_members')),
  constraint team_limits_value_check check (value >= 0)
);
alter table public.team_limits enable row level security;

comment on table public.team_limits is
  'How much a team may use; the limits of its organization apply as well. Example: select metric, value from team_limits where team_id = ''0190…'';';
comment on column public.team_limits.organization_id is 'The organization of the team.';
comment on column public.team_limits.team_id is 'The team.';
comment on column public.team_limits.metric is
  'workflows (assigned to the team), executions_per_month (of these) or team_members (of the team).';
comment on column public.team_limits.value is 'The highest amount.';

create table public.subscriptions (
  id uuid not null default engine.uuid_v7(),
  organization_id uuid not null,
  plan_id uuid not null,
  status text not null,
  provider text not null default 'manual',
  provider_id text,
  started_at timestamptz not null,
  trial_ends_at timestamptz,
  grace_ends_at timestamptz,
  ended_at timestamptz,
  constraint subscriptions_pkey primary key (id),
  constraint subscriptions_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint subscriptions_plan_id_fkey foreign key (plan_id) references public.plans (id) on delete restrict,
  constraint subscriptions_status_check check (status in ('trialing', 'active', 'past_due', 'canceled', 'expired')),
  constraint subscriptions_ended_at_matches_status_check
    check ((ended_at is not null) = (status in ('canceled', 'expired'))),
  constraint subscriptions_trial_ends_at_check check (status <> 'trialing' or trial_ends_at is not null),
  constraint subscriptions_grace_ends_at_check check ((status = 'past_due') = (grace_ends_at is not null))
);
create unique index subscriptions_current_key on public.subscriptions (organization_id) where ended_at is null;
create index subscriptions_organization_id_idx on public.subscriptions (organization_id, id);
create index subscriptions_plan_id_idx on public.subscriptions (plan_id);
alter table public.subscriptions enable row level security;

comment on table public.subscriptions is
  'Present and past plans of an organization; at most one has not ended. Without one the organization has the default plan. Example: select status, trial_ends_at from subscriptions where ended_at is null;';
comment on column public.subscriptions.id is 'UUIDv7.';
comment on column public.subscriptions.organization_id is 'The organization.';
comment on column public.subscriptions.plan_id is 'The plan.';
comment on column public.subscriptions.status is 'trialing, active, past_due; or ended: canceled, expired.';
comment on column public.subscriptions.provider is 'What collects the payment: manual, or the name of a provider.';
comment on column public.subscriptions.provider_id is 'The id of the subscription at the provider.';
comment on column public.subscriptions.started_at is 'When it began.';
comment on column public.subscriptions.trial_ends_at is 'When its trial ends, or ended.';
comment on column public.subscriptions.grace_ends_at is 'When past due: until when the missing payment has no effect.';
comment on column public.subscriptions.ended_at is 'When it ended; null: it is the current one.';

-- Rows are few and updated often: leaves room for new versions of a row on its page.
create table private.usage_counters (
  organization_id uuid not null,
  metric text not null,
  period_start timestamptz not null,
  used bigint not null,
  owner_id uuid not null,
  team_id uuid generated always as (nullif(owner_id, organization_id)) stored,
  constraint usage_counters_pkey primary key (organization_id, owner_id, metric, period_start),
  constraint usage_counters_organization_id_fkey
    foreign key (organization_id) references public.organizations (id) on delete cascade,
  constraint usage_counters_team_fkey
    foreign key (organization_id, team_id) references public.teams (organization_id, id) on delete cascade
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create index usage_counters_period_start_idx on private.usage_counters (period_start);
create index usage_counters_team_idx on private.usage_counters (organization_id, team_id) where team_id is not null;
alter table private.usage_counters enable row level security;
comment on table private.usage_counters is
  'How much of a metric was used in a period, by organizations and teams that have a limit; owner_id is the organization or the team. A row with the period -infinity, as levels such as workflows have, is only a lock.';

-- How much of a requested amount is admitted.
create type private.admission as (
  organization_id uuid,
  metric text,
  "limit" bigint,
  used bigint,
  period_start timestamptz,
  admitted bigint,
  team_id uuid -- the team that has the limit; null: the organization has it
);
