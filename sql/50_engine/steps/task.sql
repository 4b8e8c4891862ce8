-- kind: code
-- The task of a step, as a worker gets it, with the Idempotency-Key of its request. Reads runs and events; writes and
-- locks nothing.

-- Returns the run whose id stands in the Idempotency-Key of a node. In a retry it is the original
-- run, unless the node has a recorded success there: so the receiver can tell the repetition of a
-- crashed request from a new request.
create or replace function engine.key_run(p_run public.workflow_runs, p_node text)
  returns uuid
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan -- prunes partitions
as $$
declare
  v_from timestamptz;
  v_run_id uuid := p_run.id;
  v_retry_of_id uuid := p_run.retry_of;
begin
  while v_retry_of_id is not null loop
    v_from := engine.uuid_time(v_retry_of_id) - interval '1 day';
    exit when exists (
      select
      from public.workflow_events as e
      where e.run_id = v_retry_of_id
        and e.ts >= v_from
        and e.type in ('step.succeeded', 'step.reused')
        and e.payload ->> 'node' = p_node
    );
    v_run_id := v_retry_of_id;
    v_retry_of_id := (select r.retry_of from public.workflow_runs as r where r.id = v_run_id);
  end loop;
  return v_run_id;
end
$$;

-- Returns the task of a step that begins, as a worker gets it.
create or replace function engine.task(
  p_run public.workflow_runs,
  p_node engine.compiled_node,
  p_step engine.opened_step,
  p_attempt int
)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_run.organization_id,
    'workflowId', p_run.workflow_id,
    'version', p_run.version,
    'runId', p_run.id,
    'node', p_node.id,
    'type', p_node.type,
    'kind', case when p_step.is_isolated then 'local' else p_node.kind end,
    'isolated', coalesce(p_step.is_isolated, false),
    'attempt', p_attempt,
    'properties', p_step.properties,
    'credentials', p_node.credentials,
    'secretPlaces', p_node.secret_places,
    'timeoutMs', p_node.timeout_ms,
    'idempotencyKey', case when p_run.retry_of is null then p_run.id else engine.key_run(p_run, p_node.id) end
      || '/' || p_node.id,
    'input', case when not p_step.is_isolated then p_step.prev end
  )
$$;
