-- kind: code
-- Answers questions about a compiled version, and builds what callers, workers and expressions get
-- of a run: tasks, responses, $.run, resume tokens, the row after an event. Writes and locks
-- nothing.

-- Returns the trigger that a start without one fires: the first one for its mode, else the first
-- one.
create or replace function engine.trigger_for(p_nodes engine.compiled_node[], p_mode text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_wanted constant text := case p_mode
    when 'retry' then 'manual'
    when 'child' then 'subworkflow'
    else p_mode
  end || 'Trigger@';
  v_node engine.compiled_node;
  v_first text;
begin
  foreach v_node in array coalesce(p_nodes, '{}') loop
    if v_node.kind = 'trigger' then
      if starts_with(v_node.type, v_wanted) then
        return v_node.id;
      end if;
      v_first := coalesce(v_first, v_node.id);
    end if;
  end loop;
  return v_first;
end
$$;

-- Returns the payload of run.responded; by default status 200, no headers, and what the node
-- received as body.
create or replace function engine.response_of(p_node text, p_properties jsonb, p_prev jsonb)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'node', p_node,
    'status', coalesce(p_properties -> 'status', '200'),
    'headers', coalesce(p_properties -> 'headers', '{}'),
    'body', case when p_properties ? 'body' then p_properties -> 'body' else coalesce(p_prev, 'null') end
  )
$$;

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
    'timeoutMs', p_node.timeout_ms,
    'idempotencyKey', case when p_run.retry_of is null then p_run.id else engine.key_run(p_run, p_node.id) end
      || '/' || p_node.id,
    'input', case when not p_step.is_isolated then p_step.prev end
  )
$$;

-- Returns a time as text in ISO 8601 and UTC, whatever the time zone of the session.
create or replace function engine.iso_time(p_at timestamptz)
  returns text
  language sql
  stable
  parallel safe
as $$
  select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Returns what expressions read as $.run.
create or replace function engine.run_context(
  p_run_id uuid,
  p_created jsonb,
  p_created_at timestamptz,
  p_nodes engine.compiled_node[],
  p_resume_key bytea
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_node engine.compiled_node;
  v_resume jsonb := '{}';
begin
  foreach v_node in array p_nodes loop
    if v_node.kind = 'wait' and v_node.properties ? 'webhook' then
      v_resume := v_resume || jsonb_build_object(
        v_node.id, '/resume/' || engine.resume_token(p_resume_key, p_run_id, v_node.id)
      );
    end if;
  end loop;
  return jsonb_build_object(
    'id', p_run_id,
    'mode', p_created -> 'mode',
    'startedAt', engine.iso_time(p_created_at),
    'workflow', p_created -> 'workflowId',
    'resume', v_resume
  );
end
$$;

-- Returns the token of a resume address: the id of the run and 24 bytes of a MAC over run and node,
-- in base64url. The key is hashed around a hash, so that no token can be extended to another one.
create or replace function engine.resume_token(p_key bytea, p_run_id uuid, p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select rtrim(translate(encode(
    uuid_send(p_run_id) || substring(sha256(
      p_key || sha256(p_key || uuid_send(p_run_id) || convert_to(p_node, 'UTF8'))
    ) for 24),
    'base64'
  ), '+/', '-_'), '=')
$$;

-- Returns the row of a run after its last event. p_waiting: every open step waits for a time or for
-- something outside.
create or replace function engine.run_after(
  p_run public.workflow_runs,
  p_last engine.log_entry,
  p_waiting boolean
)
  returns public.workflow_runs
  language plpgsql
  immutable
as $$
begin
  case p_last.type
    when 'run.succeeded' then
      p_run.status := 'success';
      p_run.finished_at := p_last.ts;
    when 'run.failed' then
      p_run.status := 'error';
      p_run.finished_at := p_last.ts;
      p_run.error := p_last.payload -> 'error';
      if p_last.payload ? 'node' then
        p_run.error := jsonb_set(p_run.error, '{node}', p_last.payload -> 'node');
      end if;
    when 'run.canceled' then
      p_run.status := 'canceled';
      p_run.finished_at := p_last.ts;
    when 'run.paused' then
      p_run.status := 'paused';
    else
      p_run.status := case when p_waiting then 'waiting' else 'running' end;
  end case;
  return p_run;
end
$$;

-- Returns the row of a step that has just been reached.
create or replace function engine.new_step(
  p_run public.workflow_runs,
  p_opened engine.opened_step,
  p_now timestamptz
)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  v_step.organization_id := p_run.organization_id;
  v_step.run_id := p_run.id;
  v_step.node := p_opened.node;
  v_step.state := p_opened.state;
  v_step.attempt := 0;
  v_step.failures := 0;
  v_step.crashes := 0;
  v_step.is_isolated := coalesce(p_opened.is_isolated, false);
  v_step.run_at := case p_opened.state when 'queued' then p_now else p_opened.run_at end;
  return v_step;
end
$$;
