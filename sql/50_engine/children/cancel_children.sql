-- kind: code
-- Children of runs that have ended: nobody waits for them any more, so they are canceled, and so are theirs.

-- One step of it: at most 100 children, in a transaction that does not touch their parent. Those of them with children
-- of their own get a job like the one that this was called by.
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
  'For workers: cancels at most 100 children of a run that has ended, and sees to the rest; answers how many. Children that the run did not wait for go on. Example: select engine.cancel_children(''0190…'');';

grant execute on function engine.cancel_children(uuid) to flowgres_worker, flowgres_dba;
