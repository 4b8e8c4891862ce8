-- kind: code
-- Takes a batch of runs under lock and moves each on: the part that beginning and completing a step have in common.

create type engine.loaded_run as (
  run public.workflow_runs,
  log engine.log_entry[],
  steps engine.open_steps[]
);

-- Everything that moving one run writes, and the step that the caller may do at once.
create type engine.move as (
  events engine.new_event[],
  steps engine.open_steps[],
  wake_ups engine.wake_up[],
  change engine.run_change,
  task jsonb
);

-- Locks in the one order (organization, workflow, run), then reads: what is read is what the last holder committed.
-- The bounds are computed first, so that a plan made for them sees two partitions, not all; and it is a plan of index
-- look-ups by construction, whatever the statistics of a table say that was empty a minute ago.
create or replace function engine.load_runs(p_ids uuid[], p_now timestamptz)
  returns setof engine.loaded_run
  language plpgsql
  volatile
  set plan_cache_mode = force_custom_plan
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_from constant timestamptz := engine.uuid_time((select min(i::text)::uuid from unnest(p_ids) as i));
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
begin
  perform
  from public.workflow_runs as r
  where r.id = any (p_ids)
  order by r.organization_id, r.workflow_id, r.id
  for no key update;

  return query
  select
    r,
    array(
      select row(e.seq, e.ts, e.type, case when e.type <> 'step.started' then e.payload end)::engine.log_entry
      from public.workflow_events as e
      where e.run_id = r.id
        and e.ts >= v_from
        and e.ts < v_to
      order by e.seq
    ),
    array(select s from engine.open_steps as s where s.run_id = r.id)
  from public.workflow_runs as r
  where r.id = any (p_ids)
  order by r.organization_id, r.workflow_id, r.id;
end
$$;

create or replace function engine.step_of(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
begin
  foreach v_step in array p_steps loop
    if v_step.node = p_node then
      return v_step;
    end if;
  end loop;
  return null;
end
$$;

-- Advances a run whose log has just grown. One step that became ready, p_prefer if given, is begun for the caller right
-- away, which saves its branch a job and a transaction; every other one is queued with a job of its own.
create or replace function engine.move_on(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_nodes engine.plan_node[],
  p_worker uuid,
  p_now timestamptz,
  p_prefer text default null,
  p_due text[] default '{}'
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_run constant public.workflow_runs := p_loaded.run;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_entry engine.log_entry;
  v_step engine.open_steps;
  v_others text[] := '{}';
  v_waiting boolean := true;
  v_last engine.log_entry := p_loaded.log[cardinality(p_loaded.log)];
  v_move engine.move;
begin
  foreach v_step in array p_loaded.steps loop
    if v_step.node is distinct from p_prefer and v_step.node <> all (p_due) then
      v_others := v_others || v_step.node;
      v_waiting := v_waiting and v_step.state = 'waiting';
    end if;
  end loop;

  v_advanced := engine.advance(
    p_nodes, p_plan.ids, v_run.id, p_loaded.log,
    v_others, p_due, p_now
  );
  foreach v_entry in array coalesce(v_advanced.entries, '{}') loop
    v_move.events := v_move.events || row(
      v_run.organization_id, v_run.id, v_entry.seq, v_entry.ts, v_entry.type, v_entry.payload
    )::engine.new_event;
    v_last := v_entry;
  end loop;

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_step := engine.step_of(p_loaded.steps, v_opened.node);
    v_step.organization_id := v_run.organization_id;
    v_step.run_id := v_run.id;
    v_step.node := v_opened.node;
    v_step.attempt := coalesce(v_step.attempt, 0);
    v_step.failures := coalesce(v_step.failures, 0);
    v_step.deaths := coalesce(v_step.deaths, 0);
    if v_move.task is null and v_opened.state = 'queued' and v_opened.properties is not null
      and (p_prefer is null or v_opened.node = p_prefer)
    then
      v_step.state := 'running';
      v_step.attempt := v_step.attempt + 1;
      v_step.worker_id := p_worker;
      v_step.lease_until := p_now + interval '15 seconds';
      v_step.run_at := p_now;
      v_move.task := engine.task(v_run, p_nodes[v_opened.place], v_opened, v_step.attempt);
      v_last.seq := v_last.seq + 1;
      v_last.ts := greatest(p_now, v_last.ts + interval '1 microsecond');
      v_last.type := 'step.started';
      v_move.events := v_move.events || row(
        v_run.organization_id, v_run.id, v_last.seq, v_last.ts, v_last.type,
        jsonb_build_object('node', v_opened.node, 'attempt', v_step.attempt, 'input', v_opened.properties)
      )::engine.new_event;
    else
      v_step.state := v_opened.state;
      v_step.worker_id := null;
      v_step.lease_until := null;
      v_step.run_at := coalesce(v_opened.until, p_now);
      v_move.wake_ups := v_move.wake_ups
        || row(v_run.id, v_opened.node, v_step.run_at, v_run.priority)::engine.wake_up;
    end if;
    v_waiting := v_waiting and v_step.state = 'waiting';
    v_move.steps := v_move.steps || v_step;
  end loop;

  v_move.change := engine.run_change(v_run.id, v_last, v_waiting, v_run.status);
  return v_move;
end
$$;

create or replace function engine.without_step(p_steps engine.open_steps[], p_node text)
  returns engine.open_steps[]
  language plpgsql
  immutable
as $$
declare
  v_step engine.open_steps;
  v_steps engine.open_steps[] := '{}';
begin
  foreach v_step in array p_steps loop
    if v_step.node <> p_node then
      v_steps := v_steps || v_step;
    end if;
  end loop;
  return v_steps;
end
$$;

-- The run as a move leaves it, for the next request of the same batch that is about it.
create or replace function engine.after_move(p_loaded engine.loaded_run, p_move engine.move, p_node text)
  returns engine.loaded_run
  language plpgsql
  immutable
as $$
declare
  v_run public.workflow_runs := p_loaded.run;
  v_event engine.new_event;
  v_step engine.open_steps;
begin
  foreach v_event in array coalesce(p_move.events, '{}') loop
    p_loaded.log := p_loaded.log || row(v_event.seq, v_event.ts, v_event.type, v_event.payload)::engine.log_entry;
  end loop;
  p_loaded.steps := engine.without_step(p_loaded.steps, p_node);
  foreach v_step in array coalesce(p_move.steps, '{}') loop
    p_loaded.steps := engine.without_step(p_loaded.steps, v_step.node) || v_step;
  end loop;
  if (p_move.change).run_id is not null then
    v_run.status := (p_move.change).status;
    v_run.finished_at := (p_move.change).finished_at;
    v_run.error := (p_move.change).error;
    p_loaded.run := v_run;
  end if;
  return p_loaded;
end
$$;
