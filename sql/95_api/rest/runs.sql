-- kind: code
-- Runs as the REST interface shows them. Each function checks access first. Writes and locks
-- nothing.

-- Volatile, so that it sees what a command in the same statement has changed.
create or replace function engine.show_run(p_run_id uuid)
  returns jsonb
  language plpgsql
  volatile
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(p_run_id, 'runs:read');
  return (
    select private.run_document(r) || jsonb_build_object('output', public.workflow_runs_output(r))
    from public.workflow_runs as r
    where r.id = p_run_id
  );
end
$$;
comment on function engine.show_run(uuid) is
  'Returns a run as REST shows it, with its output. Scope: runs:read. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

-- p_before_id: the id of the last run of the page before.
create or replace function engine.show_runs(p_workflow_id uuid, p_status text, p_before_id uuid, p_limit int)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan -- the conditions that are not given must not decide the plan
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
begin
  perform private.require_scope('runs:read');
  return (
    select jsonb_build_object('runs', coalesce(jsonb_agg(private.run_document(r) order by r.id desc), '[]'))
    from (
      select r.* from public.workflow_runs as r
      where r.organization_id = v_organization_id
        and (p_workflow_id is null or r.workflow_id = p_workflow_id)
        and (p_status is null or r.status = p_status)
        and (p_before_id is null or r.id < p_before_id)
      order by r.id desc
      limit p_limit
    ) as r
  );
end
$$;
comment on function engine.show_runs(uuid, text, uuid, int) is
  'Returns runs of the organization, the newest first. Scope: runs:read. Raises UNAUTHENTICATED, FORBIDDEN.';

create or replace function engine.show_run_events(p_run_id uuid, p_after int, p_limit int)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(p_run_id, 'runs:read');
  return (
    select jsonb_build_object(
      'events', coalesce((
        select jsonb_agg(private.event_document(e) order by e.seq)
        from (
          select e.* from public.workflow_runs_events(r) as e where e.seq > p_after order by e.seq limit p_limit
        ) as e
      ), '[]'),
      'isFinished', r.finished_at is not null
    )
    from public.workflow_runs as r
    where r.id = p_run_id
  );
end
$$;
comment on function engine.show_run_events(uuid, int, int) is
  'Returns the events of a run after a seq, and whether the run has ended. Scope: runs:read. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function engine.show_run_logs(p_run_id uuid, p_after bigint, p_limit int)
  returns jsonb
  language plpgsql
  stable
  security definer -- definer because a DBA asks too, who is not under the policies
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(p_run_id, 'runs:read');
  return (
    select jsonb_build_object(
      'logs', coalesce((
        select jsonb_agg(
          jsonb_build_object(
            'id', l.id, 'ts', l.ts, 'level', l.level, 'node', l.node, 'message', l.message, 'context', l.context
          )
          order by l.id
        )
        from (
          select l.* from public.workflow_runs_logs(r) as l where l.id > p_after order by l.id limit p_limit
        ) as l
      ), '[]'),
      'isFinished', r.finished_at is not null
    )
    from public.workflow_runs as r
    where r.id = p_run_id
  );
end
$$;
comment on function engine.show_run_logs(uuid, bigint, int) is
  'Returns the lines that a run has logged after the one with this id, and whether the run has ended. Scope: runs:read. Raises UNAUTHENTICATED, FORBIDDEN, NOT_FOUND.';

create or replace function private.run_document(p_run public.workflow_runs)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'id', p_run.id,
    'workflowId', p_run.workflow_id,
    'workflow', (select w.name from public.workflows as w where w.id = p_run.workflow_id),
    'version', p_run.version,
    'mode', p_run.mode,
    'status', p_run.status,
    'startedAt', p_run.started_at,
    'finishedAt', p_run.finished_at,
    'error', p_run.error,
    'metadata', p_run.metadata
  )
$$;

create or replace function private.event_document(p_event public.workflow_events)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'seq', p_event.seq, 'ts', p_event.ts, 'type', p_event.type, 'payload', p_event.payload
  )
$$;

grant execute on function
  engine.show_run(uuid),
  engine.show_runs(uuid, text, uuid, int),
  engine.show_run_events(uuid, int, int),
  engine.show_run_logs(uuid, bigint, int)
  to flowgres_user, flowgres_dba;
