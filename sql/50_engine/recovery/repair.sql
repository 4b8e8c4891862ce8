-- kind: code
-- Repairs runs that have no wake-up because a row was lost, which must not happen;
-- monitor.stuck_runs() lists them.
-- Writes events, runs, open steps and jobs through engine.write_transitions(), and
-- engine.flow_runs. Locks the rows of the runs and skips locked ones.

-- Returns the number of a node's last attempt, so that a step opened again goes on counting and a
-- late result of the old attempt is stale.
create or replace function engine.last_attempt(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select coalesce(max((e.payload ->> 'attempt')::int), 0)
  from public.get_workflow_run_events(p_run_id) as e
  where e.type = 'step.started'
    and e.payload ->> 'node' = p_node
$$;

-- Returns how many children a step has started; null: none.
create or replace function engine.started_children(p_run_id uuid, p_node text)
  returns int
  language sql
  stable
as $$
  select max(r.parent_index) + 1
  from public.workflow_runs as r
  where r.parent_run_id = p_run_id
    and r.parent_node = p_node
    and r.id >= engine.uuid_floor(engine.uuid_time(p_run_id))
$$;

-- Returns the transition that opens the steps again that are open by the log. Adds waiting steps
-- before it advances the run, because the engine takes a wait that is not open as ended.
create or replace function engine.repair_transition(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_compiled constant engine.compiled_versions := engine.compiled_version_of(p_loaded.run);
  v_folded constant engine.folded := engine.fold(v_compiled.nodes, v_compiled.ids, p_loaded.log);
  v_opened engine.opened_step;
  v_waiting engine.log_entry;
  v_step engine.open_steps;
  v_transition engine.transition;
begin
  foreach v_waiting in array p_loaded.log loop
    continue when v_waiting.type <> 'step.waiting'
      or v_folded.states[array_position(v_compiled.ids, v_waiting.payload ->> 'node')] <> 3;
    v_opened.node := v_waiting.payload ->> 'node';
    v_opened.state := 'waiting';
    v_opened.run_at := engine.wait_run_at(v_waiting.payload, p_now);
    v_step := engine.new_step(p_loaded.run, v_opened, p_now);
    v_step.next_index := engine.started_children((p_loaded.run).id, v_opened.node);
    p_loaded.steps := p_loaded.steps || v_step;
  end loop;
  v_transition := engine.advance_run(p_loaded, v_compiled, null, p_now);
  for v_place in 1 .. coalesce(cardinality(v_transition.steps), 0) loop
    v_transition.steps[v_place].attempt := engine.last_attempt((p_loaded.run).id, v_transition.steps[v_place].node);
  end loop;
  v_transition.steps := v_transition.steps || p_loaded.steps;
  v_transition.is_changed := true;
  return v_transition;
end
$$;

-- Inserts a held run into engine.flow_runs again, as the last of its queue, and adds its job.
create or replace function engine.hold_run_again(p_loaded engine.loaded_run, p_now timestamptz)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_run constant public.workflow_runs := p_loaded.run;
  v_flow constant jsonb := (engine.compiled_version_of(v_run)).settings -> 'flow';
  v_row engine.flow_runs;
begin
  v_row.run_id := v_run.id;
  v_row.organization_id := v_run.organization_id;
  v_row.workflow_id := v_run.workflow_id;
  v_row.version := v_run.version;
  v_row.priority := v_run.priority;
  v_row.is_held := true;
  v_row.concurrency_key := v_run.concurrency_key;
  v_row.rate_key := engine.flow_key(v_flow -> 'rateLimit', p_loaded.log[1].payload -> 'input');
  perform engine.insert_flow_run(v_row);
  perform engine.wake_held_runs(v_run.id);
end
$$;

-- Returns runs that have ended and have unfinished child runs, but no job that cancels these: it
-- was lost.
create or replace function engine.parents_without_end()
  returns setof uuid
  language sql
  stable
as $$
  select distinct c.parent_run_id
  from public.workflow_runs as c
  join public.workflow_runs as p on p.id = c.parent_run_id and p.finished_at is not null
  where c.status in ('waiting', 'running', 'paused')
    and c.parent_index is not null
    and not exists (
      select
      from graphile_worker._private_jobs as j
      where j.key = 'children:' || c.parent_run_id and (j.locked_at is not null or j.attempts < j.max_attempts)
    )
  limit 1000
$$;

create or replace function engine.repair_runs()
  returns table (
    action text,
    run_id uuid
  )
  language plpgsql
  volatile
  security definer -- definer because runs and steps are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_ids uuid[] := array(
    select r.id
    from public.workflow_runs as r
    where r.status in ('running', 'waiting')
      and not exists (select from engine.open_steps as s where s.run_id = r.id)
      and not exists (select from engine.flow_runs as f where f.run_id = r.id and f.is_held)
    limit 100
    for no key update skip locked
  );
  v_loaded engine.loaded_run;
  v_transitions engine.transition[];
  v_parent_ids uuid[];
begin
  if cardinality(v_ids) > 0 then
    -- Check again: a run may have advanced between the search and its lock.
    v_ids := array(
      select i from unnest(v_ids) as i
      where not exists (select from engine.open_steps as s where s.run_id = i)
        and exists (select from public.workflow_runs as r where r.id = i and r.finished_at is null)
    );
    for v_loaded in select l.* from engine.load_runs(v_ids, v_now) as l loop
      run_id := (v_loaded.run).id;
      action := 'open';
      if v_loaded.log[1].payload ? 'held' and not exists (
        select from unnest(v_loaded.log) as e where e.type = 'run.released'
      ) then
        action := 'hold';
        perform engine.hold_run_again(v_loaded, v_now);
      else
        v_transitions := v_transitions || engine.repair_transition(v_loaded, v_now);
      end if;
      return next;
    end loop;
    perform engine.write_transitions(v_transitions, v_now);
  end if;

  return query
    with lost as (
      delete from engine.flow_runs as f
      where not f.is_held
        and not exists (select from public.workflow_runs as r where r.id = f.run_id and r.finished_at is null)
      returning f.run_id
    )
    select 'slot', l.run_id from lost as l;

  v_parent_ids := array(select engine.parents_without_end());
  perform engine.add_jobs(engine.children_jobs('{}', v_parent_ids));
  return query select 'children', p.id from unnest(v_parent_ids) as p (id);
end
$$;
comment on function engine.repair_runs() is
  'Repairs unfinished runs without a wake-up, at most 100, concurrency slots without a run, and child runs that go on after their parent has ended. Workers call it every minute. One row per repair: open, hold, slot or children; no row: nothing was wrong. Example: select * from engine.repair_runs();';

grant execute on function engine.repair_runs() to flowgres_worker, flowgres_dba;
