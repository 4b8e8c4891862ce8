-- kind: code
-- Counts the members of an organization or a team for limits. Commands that add one call
-- private.admit() first. Writes and locks nothing.

create or replace function private.count_members(
  p_organization_id uuid,
  p_time_range tstzrange default null,
  p_team_id uuid default null
)
  returns bigint
  language sql
  stable
as $$
  select case
    when p_team_id is null then (
      select count(*) from public.organization_users as m where m.organization_id = p_organization_id
    )
    else (
      select count(*)
      from public.team_users as m
      where m.organization_id = p_organization_id and m.team_id = p_team_id
    )
  end
$$;
