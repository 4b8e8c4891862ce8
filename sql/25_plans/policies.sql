-- kind: code
-- Row-level security of plans: everybody sees public plans, an organization its own subscriptions
-- and limits. DBAs maintain plans; prices have no grant to update, because they never change.
-- Writes and locks nothing.

drop policy if exists plans_flowgres_anonymous_select on public.plans;
create policy plans_flowgres_anonymous_select on public.plans
  for select to flowgres_anonymous
  using (is_public);
drop policy if exists plans_flowgres_user_select on public.plans;
create policy plans_flowgres_user_select on public.plans
  for select to flowgres_user
  using (
    is_public
    or id = any (array(
      select s.plan_id
      from public.subscriptions as s
      where s.organization_id = (select public.current_organization_id())
    ))
  );
drop policy if exists plans_flowgres_dba_all on public.plans;
create policy plans_flowgres_dba_all on public.plans to flowgres_dba using (true);

drop policy if exists plan_limits_flowgres_user_select on public.plan_limits;
create policy plan_limits_flowgres_user_select on public.plan_limits
  for select to flowgres_user, flowgres_anonymous
  using (plan_id = any (array(select p.id from public.plans as p)));
drop policy if exists plan_limits_flowgres_dba_all on public.plan_limits;
create policy plan_limits_flowgres_dba_all on public.plan_limits to flowgres_dba using (true);

drop policy if exists organization_limits_flowgres_user_select on public.organization_limits;
create policy organization_limits_flowgres_user_select on public.organization_limits
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists organization_limits_flowgres_dba_all on public.organization_limits;
create policy organization_limits_flowgres_dba_all on public.organization_limits to flowgres_dba using (true);

drop policy if exists team_limits_flowgres_user_select on public.team_limits;
create policy team_limits_flowgres_user_select on public.team_limits
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists team_limits_flowgres_dba_all on public.team_limits;
create policy team_limits_flowgres_dba_all on public.team_limits to flowgres_dba using (true);

drop policy if exists subscriptions_flowgres_user_select on public.subscriptions;
create policy subscriptions_flowgres_user_select on public.subscriptions
  for select to flowgres_user
  using (
    organization_id = (select public.current_organization_id())
    and (select private.has_scope('organization:read'))
  );
drop policy if exists subscriptions_flowgres_dba_select on public.subscriptions;
create policy subscriptions_flowgres_dba_select on public.subscriptions for select to flowgres_dba using (true);

grant select on public.plans, public.plan_limits to flowgres_user, flowgres_anonymous, flowgres_dba;
grant select on public.organization_limits, public.team_limits, public.subscriptions to flowgres_user, flowgres_dba;
grant
  insert, delete, update (name, description, trial_days, features, is_public, is_default, sort_order)
  on public.plans to flowgres_dba;
grant insert, update, delete on public.plan_limits, public.organization_limits, public.team_limits to flowgres_dba;
