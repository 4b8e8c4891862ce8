-- kind: code
-- The plans of a new installation; rows that somebody has changed are kept. The default plan is
-- self-hosted, which has no limits; a service for customers makes another plan the default. Writes
-- public.plans and public.plan_limits; locks nothing.

insert into public.plans
  (slug, name, description, price_cents, trial_days, is_public, is_default, sort_order)
values
  ('self-hosted', 'Self-hosted', 'Your own installation, without limits.', 0, 0, false, true, 0),
  ('free', 'Free', 'To try things out.', 0, 0, true, false, 10),
  ('pro', 'Pro', 'For teams.', 4900, 14, true, false, 20),
  ('enterprise', 'Enterprise', 'Without limits, by agreement.', null, 0, true, false, 30)
on conflict do nothing;

insert into public.plan_limits (plan_id, metric, value)
select p.id, l.metric, l.value
from (
  values
    ('free', 'workflows', 5),
    ('free', 'executions_per_month', 1000),
    ('free', 'team_members', 2),
    ('free', 'credentials', 5),
    ('free', 'storage_gb', 1),
    ('free', 'api_calls_per_hour', 100),
    ('pro', 'workflows', 100),
    ('pro', 'executions_per_month', 10000),
    ('pro', 'team_members', 10),
    ('pro', 'credentials', 50),
    ('pro', 'storage_gb', 5),
    ('pro', 'api_calls_per_hour', 1000)
) as l (slug, metric, value)
join public.plans as p on p.slug = l.slug
on conflict do nothing;
