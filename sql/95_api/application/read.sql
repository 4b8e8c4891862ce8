-- kind: code
-- What a role of an application reads: a run of its organization, the end of a run, and the runs
-- that it has started itself. Writes and locks nothing.

create or replace function public.flowgres_run(run uuid)
  returns table (
    id uuid,
    workflow text,
    status text,
    output jsonb,
    error jsonb,
    started_at timestamptz,
    finished_at timestamptz
  )
  language plpgsql
  stable
  security definer -- definer because the output is read from the log, which roles of applications do not see
  set search_path = pg_catalog, pg_temp
  rows 1
as $$
declare
  v_organization_id constant uuid := (private.require_application('runs:read')).organization_id;
  v_run public.workflow_runs;
begin
  select r.* into v_run
  from public.workflow_runs as r
  where r.id = run and r.organization_id = v_organization_id;
  if not found then
    perform private.raise_error('NOT_FOUND', 'There is no such run in this organization.');
  end if;
  return query
    select
      v_run.id, w.name, v_run.status, public.workflow_runs_output(v_run), v_run.error, v_run.started_at,
      v_run.finished_at
    from public.workflows as w
    where w.organization_id = v_run.organization_id and w.id = v_run.workflow_id;
end
$$;
comment on function public.flowgres_run(uuid) is
  'For roles of applications: a run of the organization with its output. Scope: runs:read, of engine.grant_application. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND. Example: select status, output from flowgres_run(''0190…'');';

-- A procedure, since it ends its transaction before each look: a function would hold one snapshot,
-- and with it the rows that vacuum may remove, as long as it waits. PostgreSQL has no way to wait for
-- a row, so it looks every 20 ms at first and at most every 500 ms.
create or replace procedure public.flowgres_wait(
  run uuid,
  timeout interval default '30 seconds',
  inout status text default null,
  inout output jsonb default null,
  inout error jsonb default null
)
  language plpgsql
as $$
declare
  v_until constant timestamptz := clock_timestamp() + least(timeout, engine.max_application_wait());
  v_pause double precision := 0.02;
begin
  -- Fails within a transaction: what that has started begins when it commits.
  commit;
  loop
    select r.status, r.output, r.error into status, output, error from public.flowgres_run(run) as r;
    commit;
    exit when status in ('success', 'error', 'canceled') or clock_timestamp() >= v_until;
    perform pg_sleep(least(v_pause, extract(epoch from v_until - clock_timestamp())));
    v_pause := least(v_pause * 1.5, 0.5);
  end loop;
end
$$;
comment on procedure public.flowgres_wait(uuid, interval, text, jsonb, jsonb) is
  'For roles of applications: waits until a run has ended, or for the timeout, 30 seconds by default and 5 minutes at most; after it, status is that of the unfinished run. Occupies the connection meanwhile. Cannot run within a transaction. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, 2D000 (within a transaction: commit first). Example: call flowgres_wait(''0190…'', ''10 seconds'');';

create or replace view public.flowgres_runs with (security_invoker = true) as
select r.id, w.name as workflow, r.version, r.status, r.started_at, r.finished_at, r.error, r.metadata
from public.workflow_runs as r
join public.workflows as w on w.organization_id = r.organization_id and w.id = r.workflow_id
where r.application is not null;

comment on view public.flowgres_runs is
  'For roles of applications: the runs that the role itself has started by flowgres_start, under row-level security. Example: select workflow, status from flowgres_runs order by id desc limit 20;';
comment on column public.flowgres_runs.id is 'The id of the run.';
comment on column public.flowgres_runs.workflow is 'The name of its workflow.';
comment on column public.flowgres_runs.version is 'The version that it executes.';
comment on column public.flowgres_runs.status is 'running, waiting, paused; or final: success, error, canceled.';
comment on column public.flowgres_runs.started_at is 'When it was started.';
comment on column public.flowgres_runs.finished_at is 'When it ended; null before.';
comment on column public.flowgres_runs.error is 'Why it failed: {"code", "message", "node"}.';
comment on column public.flowgres_runs.metadata is 'The facts that were given at the start.';
