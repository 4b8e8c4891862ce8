-- kind: code
-- The workflow that sends the messages of an organization. Writes public.workflows,
-- public.workflow_versions, engine.compiled_versions and private.delivery_workflows. The caller has
-- locked the row of the organization.

-- Creates the workflow of an organization unless it exists. It counts neither as a workflow nor do
-- its runs count as executions: a message that a limit is reached must be sent when it is.
create or replace function private.ensure_delivery_workflow(p_organization_id uuid)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_workflow_id uuid;
begin
  if exists (select from private.delivery_workflows as d where d.organization_id = p_organization_id) then
    return;
  end if;
  insert into public.workflows (organization_id, name, description, definition)
  values (
    p_organization_id, 'Outgoing webhooks', 'Sends messages to the webhook endpoints. Nobody changes it.',
    private.delivery_definition()
  )
  returning id into v_workflow_id;
  insert into public.workflow_versions (organization_id, workflow_id, version, definition)
  values (p_organization_id, v_workflow_id, 1, private.delivery_definition());
  insert into engine.compiled_versions (organization_id, workflow_id, version, nodes, vars, settings)
  select p_organization_id, v_workflow_id, 1, p.nodes, p.vars, p.settings || '{"isUnmetered": true}'
  from engine.compile_version(private.delivery_definition()) as p;
  update public.workflows as w set published_version = 1 where w.id = v_workflow_id;
  insert into private.delivery_workflows (organization_id, workflow_id) values (p_organization_id, v_workflow_id);
end
$$;

-- Attempts after 5 s, 10 s, 20 s … and from the tenth on each hour, for 3 days.
create or replace function private.delivery_definition()
  returns jsonb
  language sql
  immutable
as $$
  select '{
    "nodes": [
      {"id": "event", "type": "apiTrigger", "position": {"x": 0, "y": 0}},
      {"id": "deliver", "type": "deliverWebhook", "position": {"x": 200, "y": 0}, "timeoutMs": 20000,
       "properties": {
         "endpoint": "{{ $.input.endpoint }}", "id": "{{ $.input.id }}", "message": "{{ $.input.message }}"
       },
       "retry": {"maxAttempts": 82, "backoff": "exponential", "initialMs": 5000, "maxMs": 3600000, "jitter": true}}
    ],
    "connections": [{"source": "event", "target": "deliver"}],
    "settings": {"deadlineMs": 259200000}
  }'::jsonb
$$;
