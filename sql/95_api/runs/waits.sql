-- kind: code
-- Commands for runs that wait: signals and approvals. They check access; the engine writes and
-- locks: see the files signals.sql and approve.sql in 50_engine/waits.

create or replace function public.signal_run(run uuid, name text, payload jsonb default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform private.require_run(run, 'runs:write');
  return engine.signal_run(run, name, payload, public.current_user_id());
end
$$;
comment on function public.signal_run(uuid, text, jsonb) is
  'Sends a signal to an unfinished run. The oldest step that waits for that name succeeds with the payload as its output. When none waits, the signal is kept for the next one: first in, first out, at most 100. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, RUN_FINISHED, LIMIT_REACHED, INVALID_ARGUMENT (the name), TOO_LARGE (a payload above 1 MiB). Example: select status from signal_run(''0190…'', ''paid'', ''{"amount": 120}'');';

create or replace function public.approve_step(
  run uuid,
  node text,
  approved boolean default true,
  comment text default null
)
  returns public.workflow_runs
  language plpgsql
  volatile
  security definer -- definer because only the engine writes runs
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_user_id constant uuid := public.current_user_id();
begin
  perform private.require_run(run, 'runs:write');
  if v_user_id is null and not private.is_dba() then
    perform private.raise_error('FORBIDDEN', 'Only a person can approve.', 'Use the token or the session of a user.');
  end if;
  return engine.approve_step(run, node, coalesce(approved, false), comment, v_user_id);
end
$$;
comment on function public.approve_step(uuid, text, boolean, text) is
  'Decides a step that waits for an approval, once. The run goes on at the port approved, or with approved false at the port rejected. Only people whom the node names may decide. Scope: runs:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, CONFLICT (not reached yet), ALREADY_USED (details.first is the first decision), EXPIRED, RUN_FINISHED. Example: select status from approve_step(''0190…'', ''check'', false, ''too expensive'');';

grant execute on function public.signal_run(uuid, text, jsonb), public.approve_step(uuid, text, boolean, text)
  to flowgres_user, flowgres_dba;
