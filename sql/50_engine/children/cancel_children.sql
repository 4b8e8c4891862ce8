-- kind: code
-- Cancels the child runs of a run that has ended and so does not wait for them any more. Their own
-- children follow.
-- Writes events, runs, open steps and jobs through engine.end_runs(). Locks the rows of the
-- children.

-- Does not lock the parent. Adds another job when 100 children were canceled, since there may be
-- more. A canceled child with children of its own gets the same kind of job from
-- engine.write_transitions().
create or replace function engine.cancel_children(p_run_id uuid)
  returns int
  language plpgsql
  volatile
  security definer -- definer because runs, events, steps and jobs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_first_id constant uuid := engine.uuid_floor(engine.uuid_time(p_run_id));
  v_last_id constant uuid := engine.uuid_floor(greatest(engine.now(), clock_timestamp()) + interval '1 day');
  v_ids uuid[];
begin
  if not exists (select from public.workflow_runs as r where r.id = p_run_id and r.finished_at is not null) then
    return 0;
  end if;
  v_ids := array(
    select r.id
    from public.workflow_runs as r
    where r.parent_run_id = p_run_id
      and r.parent_index is not null
      and r.finished_at is null
      and r.id between v_first_id and v_last_id
    limit 100
  );
  perform engine.end_runs(v_ids, 'run.canceled', '{"reason": "The run that waited for it has ended."}');
  if cardinality(v_ids) = 100 then
    perform engine.add_jobs(engine.children_jobs('{}', array[p_run_id]));
  end if;
  return cardinality(v_ids);
end
$$;

comment on function engine.cancel_children(uuid) is
  'For workers: cancels at most 100 child runs of a run that has ended, adds a job for the rest, and returns how many it canceled; 0 when the run has not ended. Child runs that the run did not wait for go on. Example: select engine.cancel_children(''0190…'');';

grant execute on function engine.cancel_children(uuid) to flowgres_worker, flowgres_dba;
