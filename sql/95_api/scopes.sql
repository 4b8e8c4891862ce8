-- kind: code
-- A token reads only what its scopes name. Restrictive: these narrow the policies of the layers, each computed once per query.

do $$
declare
  v_policy record;
begin
  for v_policy in
    select * from (values
      ('workflows',          'workflows:read'),
      ('workflow_versions',  'workflows:read'),
      ('workflow_runs',      'runs:read'),
      ('workflow_events',    'runs:read'),
      ('workflow_run_logs',  'runs:read'),
      ('organization_users', 'organization:read')
    ) as wanted (table_name, scope)
  loop
    execute format('drop policy if exists %I on public.%I', v_policy.table_name || '_scope', v_policy.table_name);
    execute format(
      'create policy %I on public.%I as restrictive for select to flowgres_user using ((select private.has_scope(%L)))',
      v_policy.table_name || '_scope', v_policy.table_name, v_policy.scope
    );
  end loop;
end
$$;
