-- kind: code
-- Reads the variables that a run gets when it starts. Writes and locks nothing.

-- Returns the named variables of an organization as a JSON object; names that do not exist, and
-- secret ones, are left out.
create or replace function engine.variables_of(p_organization_id uuid, p_names text[])
  returns jsonb
  language plpgsql
  stable
as $$
begin
  return coalesce(
    (
      select jsonb_object_agg(v.name, v.value)
      from public.variables as v
      where v.organization_id = p_organization_id
        and v.name = any (p_names)
        and not v.is_secret
    ),
    '{}'
  );
end
$$;
