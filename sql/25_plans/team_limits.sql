-- kind: code
-- Sets limits of a team, below the organization's. Writes public.team_limits and deletes the team's
-- private.usage_counters; locks the team's row (key share).

create or replace function public.set_team_limit(team uuid, metric text, value bigint default null)
  returns public.team_limits
  language plpgsql
  volatile
  security definer -- definer because only commands write tables
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_limit public.team_limits;
begin
  perform private.require_scope('organization:write');
  perform private.require_role('admin');
  perform private.check_limit(
    set_team_limit.metric, value, array(select m.metric from private.metrics() as m where m.is_by_team)
  );
  perform from public.teams as t where t.organization_id = v_organization_id and t.id = team for key share;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such team in this organization.');
  end if;
  perform private.recount(v_organization_id, team);
  if value is null then
    delete from public.team_limits as l
    where l.organization_id = v_organization_id and l.team_id = team and l.metric = set_team_limit.metric
    returning * into v_limit;
    return v_limit;
  end if;
  insert into public.team_limits as l (organization_id, team_id, metric, value)
  values (v_organization_id, team, set_team_limit.metric, set_team_limit.value)
  on conflict on constraint team_limits_pkey do update set value = excluded.value
  returning * into v_limit;
  return v_limit;
end
$$;
comment on function public.set_team_limit(uuid, text, bigint) is
  'Limits a team: how many workflows are assigned to it (workflows), how many runs of these start in a month (executions_per_month), how many members it has (team_members). null removes a limit. The organization''s limits apply as well: a higher one has no effect. What a team has beyond the limit is kept. For admins of the organization. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, INVALID_ARGUMENT. Example: select * from set_team_limit(''0190…'', ''executions_per_month'', 500);';

grant execute on function public.set_team_limit(uuid, text, bigint) to flowgres_user, flowgres_dba;
