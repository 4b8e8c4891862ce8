-- kind: code
-- What a run gets of the variables when it starts.

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
    ),
    '{}'
  );
end
$$;
