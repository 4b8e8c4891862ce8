-- kind: code
-- Releases held runs when a concurrency limit has a free place, the window of a rate limit admits
-- another start, or a debounce is over: lower priority numbers first, older runs first. Writes
-- engine.flow_runs and engine.flow_starts; events, steps, jobs and runs by core/write.sql. Locks
-- the flow of the workflow, then the rows of the runs, skipping locked ones.

create or replace function engine.release_runs(p_workflow_id uuid, p_by text, p_key text)
  returns int
  language plpgsql
  volatile
  security definer -- definer because runs are written by the engine only
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_count int;
begin
  perform engine.lock_flow(p_workflow_id);
  v_count := engine.release_held_run(p_workflow_id, p_by, p_key, engine.now());
  if v_count >= 100 then
    perform engine.add_jobs(array[engine.release_job(p_workflow_id, p_by, p_key, null)]);
  end if;
  return v_count;
end
$$;
comment on function engine.release_runs(uuid, text, text) is
  'For workers: releases held runs of a workflow, as far as its limits allow, and returns how many; a job releases those beyond 100. p_by: run, concurrency or rate; p_key: the id of the run, or the key that the runs count under. Example: select engine.release_runs(''0190…'', ''concurrency'', ''customer-1'');';

grant execute on function engine.release_runs(uuid, text, text) to flowgres_worker, flowgres_dba;

-- Returns the held runs that a wake-up is about, 1,000 at most, in the order of their release.
-- p_by: run (p_key is its id), concurrency or rate (p_key is the key that they count under).
create or replace function engine.held_rows(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns setof engine.flow_runs
  language plpgsql
  stable
as $$
begin
  case p_by
    when 'run' then
      return query
        select f.* from engine.flow_runs as f
        where f.run_id = p_key::uuid and f.is_held and f.workflow_id = p_workflow_id;
    when 'concurrency' then
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.concurrency_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
    else
      return query
        select f.* from engine.flow_runs as f
        where f.workflow_id = p_workflow_id
          and f.rate_key = p_key
          and f.is_held
          and (f.held_until <= p_now or f.held_until is null)
        order by f.priority, f.place
        limit 1000;
  end case;
end
$$;

-- Returns whether a later start with the same debounce key is held and has not ended: it replaces
-- this run.
create or replace function engine.is_replaced(p_row engine.flow_runs)
  returns boolean
  language sql
  stable
as $$
  select p_row.debounce_key is not null and exists (
    select
    from engine.flow_runs as f
    where f.workflow_id = p_row.workflow_id
      and f.debounce_key = p_row.debounce_key
      and f.is_held
      and f.place > p_row.place
      and (select r.finished_at is null from public.workflow_runs as r where r.id = f.run_id)
  )
$$;

-- Decides what becomes of a held run: in (released, and counted here), replaced (a debounce has a
-- newer one), gone (it has ended), busy (another transaction has locked it), paused, or why it
-- waits on: debounce, concurrency, rate. at: when to look again, if time alone decides. Locks the
-- row of the run, and does not wait for that lock.
create or replace function engine.held_run_decision(
  p_row engine.flow_runs,
  p_now timestamptz,
  out verdict text,
  out at timestamptz
)
  language plpgsql
  volatile
as $$
declare
  v_status text;
  v_flow jsonb;
begin
  select p.settings -> 'flow' into v_flow
  from engine.compiled_versions as p
  where p.organization_id = p_row.organization_id
    and p.workflow_id = p_row.workflow_id
    and p.version = p_row.version;
  select b.reason, b.until into verdict, at from engine.flow_block(p_row, v_flow, p_now) as b;
  if verdict is not null then
    return;
  end if;
  select r.status into v_status
  from public.workflow_runs as r
  where r.id = p_row.run_id
  for no key update skip locked;
  verdict := case
    when v_status in ('waiting', 'paused') then case
      when engine.is_replaced(p_row) then 'replaced'
      when v_status = 'paused' then 'paused'
      else 'in'
    end
    when v_status is null and exists (select from public.workflow_runs as r where r.id = p_row.run_id) then 'busy'
    else 'gone'
  end;
  if verdict = 'in' then
    perform engine.count_start(p_row, v_flow, p_now);
  end if;
end
$$;

-- Returns the transition that releases a run. Its trigger is queued and begins in another
-- transaction, so that its nodes are not evaluated under the lock of the flow.
create or replace function engine.release_transition(p_loaded engine.loaded_run, p_now timestamptz)
  returns engine.transition
  language plpgsql
  volatile
as $$
declare
  v_created constant jsonb := p_loaded.log[1].payload;
  v_trigger engine.opened_step;
  v_released constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.released',
    jsonb_build_object('reason', v_created -> 'held' -> 'reason')
  );
  v_transition engine.transition;
begin
  v_trigger.node := v_created ->> 'trigger';
  v_trigger.state := 'queued';
  v_transition.entries := array[v_released];
  v_transition.steps := array[engine.new_step(p_loaded.run, v_trigger, p_now)];
  v_transition.run := engine.run_after(p_loaded.run, v_released, false);
  v_transition.is_changed := true;
  return v_transition;
end
$$;

-- Ends the debounce of a run that waits for another limit: no later start replaces it.
create or replace function engine.end_debounce(p_row engine.flow_runs)
  returns void
  language plpgsql
  volatile
as $$
begin
  if p_row.held_until is not null then
    update engine.flow_runs as f set held_until = null, debounce_key = null where f.run_id = p_row.run_id;
  end if;
end
$$;

-- Releases held runs as far as the limits allow, 100 at most, and returns how many. Cancels those
-- that a newer start replaces. The caller holds the lock of the flow.
create or replace function engine.release_held_run(p_workflow_id uuid, p_by text, p_key text, p_now timestamptz)
  returns int
  language plpgsql
  volatile
as $$
declare
  v_row engine.flow_runs;
  v_held record;
  v_released_ids uuid[] := '{}';
  v_replaced_ids uuid[] := '{}';
  v_rates text[] := '{}';
  v_missed int := 0;
  v_jobs graphile_worker.job_spec[];
begin
  for v_row in select * from engine.held_rows(p_workflow_id, p_by, p_key, p_now) where p_key is not null loop
    v_held := engine.held_run_decision(v_row, p_now);
    case v_held.verdict
      when 'in' then
        v_released_ids := v_released_ids || v_row.run_id;
        update engine.flow_runs as f
        set is_held = false, held_until = null, debounce_key = null, rate_key = null
        where f.run_id = v_row.run_id;
      when 'gone' then
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'replaced' then
        v_replaced_ids := v_replaced_ids || v_row.run_id;
        delete from engine.flow_runs as f where f.run_id = v_row.run_id;
      when 'busy' then
        v_jobs := v_jobs || engine.release_job(
          p_workflow_id, 'run', v_row.run_id::text, p_now + interval '1 second'
        );
      when 'rate' then
        if v_row.rate_key <> all (v_rates) then
          v_jobs := v_jobs || engine.rate_job(v_row, v_held.at);
          v_rates := v_rates || v_row.rate_key;
        end if;
        perform engine.end_debounce(v_row);
      when 'concurrency' then
        perform engine.end_debounce(v_row);
      else
        null; -- paused: its resume adds a job; debounce: its own job is still to come
    end case;
    v_missed := v_missed + (v_held.verdict <> 'in')::int;
    -- Stop after 100 runs that are not released: their own jobs, and the reconciler, release those
    -- after them.
    exit when v_held.verdict = p_by or cardinality(v_released_ids) >= 100 or v_missed >= 100;
  end loop;

  delete from engine.flow_runs as f
  where f.run_id = any (v_released_ids)
    and f.concurrency_key is null;
  perform engine.write_transitions(
    (select array_agg(engine.release_transition(l, p_now)) from engine.load_runs(v_released_ids, p_now) as l), p_now
  );
  perform from engine.end_runs(
    v_replaced_ids, 'run.canceled', engine.canceled_by(null, 'A newer start with the same key has replaced it.')
  );
  perform engine.add_jobs(v_jobs);
  return cardinality(v_released_ids);
end
$$;
