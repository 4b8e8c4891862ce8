-- kind: code
-- Commands that pause, resume, retry and fork runs. They check access; the engine writes and locks:
-- see the files pause.sql and rerun.sql in 50_engine/commands.

create or replace function public.pause_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.pause_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.pause_run(uuid, text) is
  'Pauses a run: nothing new begins in it until resume_run. Attempts that are running finish and are recorded; timers and signals are kept; the deadline is not extended. A run that is paused or has ended stays unchanged. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from pause_run(''0190…'', ''the peer is down'');';

create or replace function public.resume_run(run uuid, reason text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.resume_run(run, public.current_user_id(), reason);
end
$$;
comment on function public.resume_run(uuid, text) is
  'Resumes a paused run: it goes on with the results that arrived during the pause, and timers that were due during the pause fire at once. A run that is not paused stays unchanged. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status from resume_run(''0190…'');';

create or replace function public.retry_run(run uuid, from_node text default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.retry_run(run, from_node, public.current_user_id());
end
$$;
comment on function public.retry_run(uuid, text) is
  'Retries a failed or canceled run: starts a new run, which it returns, that does again what the run did not finish, or from_node and everything after it. Steps that had finished are taken over, not executed. The new run has the same version and input, and the variables of now; a step that never succeeded sends the same idempotency key to other systems. A run is retried once: repeating the call returns the same new run; if that fails too, retry that one. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node), CONFLICT (the run is unfinished, was successful, or was started by a step of another run), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived). Example: select id, status from retry_run(''0190…'', from_node => ''charge'');';

create or replace function public.fork_run(
  run uuid,
  from_node text default null,
  input jsonb default null,
  version int default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.fork_run(run, from_node, input, version, public.current_user_id());
end
$$;
comment on function public.fork_run(uuid, text, jsonb, int) is
  'Starts a new run, which it returns, as a copy of any run, finished or not. It does again from_node and everything after it, what had not succeeded, and what differs in another version; the other steps are taken over. Without an input it has that of the run; with another input and no from_node it does everything again. Without a version it has that of the run; its variables are those of now. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND (also: no such node or version), EXPIRED (its log is gone), NOT_PUBLISHED (the workflow is archived), TOO_LARGE (an input above 1 MiB). Example: select id, status from fork_run(''0190…'', input => ''{"total": 90}'', version => 3);';

grant execute on function
  public.pause_run(uuid, text),
  public.resume_run(uuid, text),
  public.retry_run(uuid, text),
  public.fork_run(uuid, text, jsonb, int)
  to flowgres_user, flowgres_dba;
