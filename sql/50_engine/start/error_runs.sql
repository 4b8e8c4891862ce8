-- kind: code
-- Error workflows: settings.errorWorkflow of a workflow names another one that is started when a
-- run of it fails. Writes public.workflow_run_logs, and engine.node_types when it is loaded.
-- engine.start_runs() writes the runs, while the failed runs are locked. Usage counters are locked
-- by with_error_workflow() before jobs, in the order of docs/reference/locks.md.

-- Starts the error workflows of failed runs, in the transaction in which the runs fail, so that none
-- is lost. An error workflow that cannot be started does not keep the failure from being recorded: a
-- warning is written to the log of the run instead. p_failed: see engine.with_error_workflow().
create or replace function engine.start_error_runs(p_failed engine.transition[])
  returns void
  language plpgsql
  volatile
  strict
as $$
declare
  v_failed engine.transition;
  v_run public.workflow_runs;
  v_error jsonb;
  v_constraint text;
begin
  foreach v_failed in array p_failed loop
    continue when v_failed.error_workflow_id is null;
    v_run := v_failed.run;
    begin
      select s.error into v_error
      from engine.start_runs(jsonb_build_array(engine.error_request(v_run, v_failed.error_workflow_id))) as s
      where s.run_id is null;
    exception
      when others then
        get stacked diagnostics v_constraint = constraint_name;
        if private.is_transient(sqlstate, v_constraint) then
          raise; -- the caller repeats the whole transaction
        end if;
        v_error := jsonb_build_object('message', sqlerrm);
    end;
    if v_error is not null then
      insert into public.workflow_run_logs (organization_id, run_id, level, message, context, ts)
      values (
        v_run.organization_id, v_run.id, 'warning', 'The error workflow was not started.', v_error, engine.now()
      );
    end if;
  end loop;
end
$$;

-- Returns the transition of a failed run with the workflow that the failure starts, and locks the
-- usage counters in which that start will be counted; counts nothing. Returns a transition that was
-- checked before as it is. engine.write_transitions() calls it before it adds jobs: two transactions
-- that both start a run and wake the same parent cannot deadlock. A batch of several organizations
-- that starts runs itself calls it for each failed run before it goes on to the next organization:
-- so all batches lock counters in the order of organizations.
create or replace function engine.with_error_workflow(p_failed engine.transition, p_now timestamptz)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
begin
  if p_failed.is_error_checked then
    return p_failed;
  end if;
  p_failed.is_error_checked := true;
  p_failed.error_workflow_id := engine.error_workflow_of(p_failed);
  if p_failed.error_workflow_id is not null then
    v_request.organization_id := (p_failed.run).organization_id;
    v_request.workflow_id := p_failed.error_workflow_id;
    perform engine.reserve_quota(null, engine.version_to_start(v_request), 0, p_now);
  end if;
  return p_failed;
end
$$;

-- Returns the error workflow that the failure of a run starts; null when it starts none.
create or replace function engine.error_workflow_of(p_failed engine.transition)
  returns uuid
  language plpgsql
  stable
as $$
declare
  v_run constant public.workflow_runs := p_failed.run;
  v_workflow_id uuid;
begin
  select (p.settings ->> 'errorWorkflow')::uuid into v_workflow_id
  from engine.compiled_versions as p
  where p.organization_id = v_run.organization_id
    and p.workflow_id = v_run.workflow_id
    and p.version = v_run.version;
  return case when v_workflow_id is not null and not engine.is_about_error(p_failed) then v_workflow_id end;
end
$$;

-- Returns whether a run belongs to an error that was reported already: it is the run of an error
-- workflow, or a child, a retry or a fork of one. Its failure then starts no error workflow; else
-- two workflows could start each other forever. The log of a run that fails as it starts is not
-- written yet: its first event is in the transition.
create or replace function engine.is_about_error(p_failed engine.transition)
  returns boolean
  language plpgsql
  stable
as $$
declare
  v_run public.workflow_runs := p_failed.run;
  v_origin_id uuid;
begin
  while v_run.id is not null loop
    if v_run.mode = 'error' then
      return true;
    end if;
    v_origin_id := coalesce(v_run.parent_run_id, v_run.retry_of);
    if v_run.mode = 'fork' and v_run.id = (p_failed.run).id and p_failed.entries[1].type = 'run.created' then
      v_origin_id := p_failed.entries[1].payload ->> 'forkOf';
    elsif v_run.mode = 'fork' then
      select (e.payload ->> 'forkOf')::uuid into v_origin_id
      from public.get_workflow_run_events(v_run.id) as e
      where e.seq = 1;
    end if;
    v_run := engine.read_run(v_origin_id);
  end loop;
  return false;
end
$$;

-- Returns the request that starts an error workflow for a failed run.
create or replace function engine.error_request(p_run public.workflow_runs, p_error_workflow_id uuid)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'organizationId', p_run.organization_id,
    'workflowId', p_error_workflow_id,
    'mode', 'error',
    'input', jsonb_build_object(
      'error', p_run.error,
      'run', jsonb_build_object(
        'id', p_run.id,
        'mode', p_run.mode,
        'startedAt', engine.iso_time(p_run.started_at),
        'metadata', p_run.metadata
      ),
      'workflow', jsonb_build_object('id', w.id, 'name', w.name, 'version', p_run.version)
    )
  )
  from public.workflows as w
  where w.id = p_run.workflow_id
$$;

insert into engine.node_types (name, version, kind, category, icon, description, ports, inputs, properties)
values (
  'errorTrigger', 1, 'trigger', 'trigger', 'triangle-alert',
  'Starts a run because one of another workflow has failed.', '{main}', '{}',
  '{"type": "object", "additionalProperties": false}'
)
on conflict (name, version) do update
set
  kind = excluded.kind,
  category = excluded.category,
  icon = excluded.icon,
  description = excluded.description,
  ports = excluded.ports,
  inputs = excluded.inputs,
  properties = excluded.properties;
