-- kind: code
-- Quarantine: a version whose runs made a transaction of the engine take too long is evaluated node
-- by node in local steps, which block no other run, until a run of it succeeds. Writes
-- engine.compiled_versions, which every batch reads anyway, and locks that row only: quarantine()
-- in a transaction of its own, end_quarantine() while the run is locked, with skip locked.

-- Returns the event that records the isolation of a run, so that a replay isolates it, too; null
-- when the log has it already.
create or replace function engine.isolated_entry(
  p_log engine.log_entry[],
  p_compiled engine.compiled_versions,
  p_now timestamptz
)
  returns engine.log_entry
  language plpgsql
  stable
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_log loop
    if v_entry.type = 'run.isolated' then
      return null;
    end if;
  end loop;
  return engine.next_entry(v_entry, p_now, 'run.isolated', jsonb_build_object(
    'since', engine.iso_time(p_compiled.quarantined_at)
  ));
end
$$;

-- Marks the version of a request that took too long even alone: of a run, {"runId"}, or of a start,
-- {"organizationId", "workflowId", "version"?}. Returns whether it was not marked before: then the
-- request may be repeated.
create or replace function engine.quarantine(p_request jsonb)
  returns boolean
  language plpgsql
  volatile
  security definer -- definer because compiled versions are closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_run public.workflow_runs;
begin
  v_run.organization_id := p_request ->> 'organizationId';
  v_run.workflow_id := p_request ->> 'workflowId';
  v_run.version := p_request ->> 'version';
  if p_request ? 'runId' then
    v_run := engine.read_run((p_request ->> 'runId')::uuid);
  elsif v_run.version is null then
    select w.published_version into v_run.version
    from public.workflows as w
    where w.organization_id = v_run.organization_id
      and w.id = v_run.workflow_id;
  end if;
  update engine.compiled_versions as p
  set quarantined_at = engine.now()
  where p.organization_id = v_run.organization_id
    and p.workflow_id = v_run.workflow_id
    and p.version = v_run.version
    and p.quarantined_at is null;
  return found;
end
$$;
comment on function engine.quarantine(jsonb) is
  'For workers and the intake: marks a version, whose runs are then evaluated in local steps until one of them succeeds. Takes the request that took too long, {"runId"} or {"organizationId", "workflowId", "version"?}; returns true when the version was not marked before. Example: select engine.quarantine(''{"runId": "0190…"}'');';
grant execute on function engine.quarantine(jsonb) to flowgres_intake, flowgres_worker, flowgres_dba;

-- Ends the quarantine of a version when an isolated run of it has succeeded without
-- EXPRESSION_TIMEOUT. Skips the row where it is locked: the next success ends the quarantine as
-- well.
create or replace function engine.end_quarantine(
  p_compiled engine.compiled_versions,
  p_run public.workflow_runs,
  p_log engine.log_entry[]
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_entry engine.log_entry;
  v_was_isolated boolean := false;
begin
  if p_run.status <> 'success' then
    return;
  end if;
  foreach v_entry in array p_log loop
    v_was_isolated := v_was_isolated or v_entry.type = 'run.isolated';
    if v_entry.payload #>> '{error,code}' = 'EXPRESSION_TIMEOUT' then
      return;
    end if;
  end loop;
  if v_was_isolated then
    update engine.compiled_versions as p
    set quarantined_at = null
    where p.ctid = any (array(
      select q.ctid
      from engine.compiled_versions as q
      where q.organization_id = p_compiled.organization_id
        and q.workflow_id = p_compiled.workflow_id
        and q.version = p_compiled.version
        and q.quarantined_at = p_compiled.quarantined_at
      for update skip locked
    ));
  end if;
end
$$;
