-- kind: code
-- The members of an organization, as its plan counts them. Commands that add one ask private.admit first.

create or replace function private.count_members(p_organization_id uuid, p_span tstzrange default null)
  returns bigint
  language sql
  stable
as $$
  select count(*) from public.organization_users as m where m.organization_id = p_organization_id
$$;
