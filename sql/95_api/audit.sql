-- kind: code
-- Lists the tables under audit: configuration, never runs. What a publication derives (webhooks,
-- schedules, compiled versions) is not audited; its version is. Creates a trigger on each table
-- (share row exclusive lock); writes no rows.

select private.audit_table('public.users');
select private.audit_table('public.organizations', p_masked => '{webhook_key}');
select private.audit_table('public.organization_users');
select private.audit_table('public.teams');
select private.audit_table('public.team_users');
select private.audit_table('public.invitations');
select private.audit_table('private.passwords', p_masked => '{hash}');
select private.audit_table('private.identities');
select private.audit_table('private.api_tokens', p_masked => '{token_hash}', p_ignored => '{updated_at,last_used_at}');
select private.audit_table('public.workflows', p_digested => '{definition}');
select private.audit_table('public.workflow_versions', p_digested => '{definition}');
select private.audit_table('public.variables', p_digested => '{value}');
select private.audit_table('public.data_tables', p_digested => '{schema}');
select private.audit_table(
  'public.credentials', p_ignored => '{updated_at,last_used_at,usage_count,warned_at}'
);
select private.audit_table('public.webhook_endpoints', p_ignored => '{updated_at,failing_since,last_delivered_at}');
select private.audit_table('public.plans');
select private.audit_table('public.plan_limits');
select private.audit_table('public.organization_limits');
select private.audit_table('public.team_limits');
select private.audit_table('public.subscriptions');
select private.audit_table('engine.node_types', p_digested => '{properties}');
select private.audit_table('partitions.managed_tables');
