-- kind: code
create or replace function public.validate_workflow(definition jsonb)
  returns setof public.workflow_problem
  language sql
  stable
as $$
  select null::text, null::text, null::text where false
$$;
