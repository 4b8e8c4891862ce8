-- kind: code
-- Moves a run on: what beginning and completing a step have in common.

create or replace function engine.begun_step(p_step engine.open_steps, p_worker uuid, p_now timestamptz)
  returns engine.open_steps
  language plpgsql
  immutable
as $$
begin
  p_step.state := 'running';
  p_step.attempt := p_step.attempt + 1;
  p_step.worker_id := p_worker;
  p_step.lease_until := p_now + interval '15 seconds';
  p_step.run_at := p_now;
  return p_step;
end
$$;

create or replace function engine.next_entry(
  p_last engine.log_entry,
  p_now timestamptz,
  p_type text,
  p_payload jsonb
)
  returns engine.log_entry
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
begin
  v_entry.seq := p_last.seq + 1;
  v_entry.ts := greatest(p_now, p_last.ts + interval '1 microsecond');
  v_entry.type := p_type;
  v_entry.payload := p_payload;
  return v_entry;
end
$$;

-- Advances a run whose log has just grown. One step that has become ready, p_prefer if given, is begun for the caller
-- right away, which saves its branch a job and a transaction; every other one is queued, and that one too when there is
-- no worker.
create or replace function engine.move_on(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_worker uuid,
  p_now timestamptz,
  p_prefer text default null,
  p_due text default null
)
  returns engine.move
  language plpgsql
  volatile
as $$
declare
  v_nodes constant engine.plan_node[] := p_plan.nodes;
  v_run constant public.workflow_runs := p_loaded.run;
  v_others text[] := '{}';
  v_waiting boolean := true;
  v_step engine.open_steps;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_last engine.log_entry := p_loaded.log[cardinality(p_loaded.log)];
  v_move engine.move;
begin
  foreach v_step in array p_loaded.steps loop
    if v_step.node is distinct from p_prefer and v_step.node is distinct from p_due then
      v_others := v_others || v_step.node;
      v_waiting := v_waiting and v_step.state = 'waiting';
    end if;
  end loop;

  v_advanced := engine.advance(v_nodes, p_plan.ids, v_run.id, p_loaded.log, v_others, array[p_due], p_now);
  v_move.entries := coalesce(v_advanced.entries, '{}');
  v_last := coalesce(v_move.entries[cardinality(v_move.entries)], v_last);

  foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
    v_step := engine.step_of(p_loaded.steps, v_opened.node);
    if v_step.node is null then
      v_step := engine.new_step(v_run, v_opened, p_now);
    end if;
    if v_move.task is null and p_worker is not null
      and v_opened.state = 'queued' and v_opened.properties is not null
      and (p_prefer is null or v_opened.node = p_prefer)
    then
      v_step := engine.begun_step(v_step, p_worker, p_now);
      v_move.task := engine.task(v_run, v_nodes[v_opened.place], v_opened, v_step.attempt);
      v_last := engine.next_entry(v_last, p_now, 'step.started', jsonb_build_object(
        'node', v_opened.node, 'attempt', v_step.attempt, 'input', v_opened.properties
      ));
      v_move.entries := v_move.entries || v_last;
    end if;
    v_waiting := v_waiting and v_step.state = 'waiting';
    v_move.steps := v_move.steps || v_step;
  end loop;

  v_move.run := engine.run_after(v_run, v_last, v_waiting);
  v_move.is_changed := (v_move.run).status <> v_run.status;
  return v_move;
end
$$;
