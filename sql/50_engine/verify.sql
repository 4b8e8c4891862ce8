-- kind: code
-- Replays the log of a run: what came from outside is fed to the engine again, and it must compute every other event anew.

create or replace function engine.is_fed(p_nodes engine.plan_node[], p_ids text[], p_entry engine.log_entry)
  returns boolean
  language sql
  immutable
as $$
  select case
    when p_entry.type in ('step.succeeded', 'step.failed')
      then (p_nodes[array_position(p_ids, p_entry.payload ->> 'node')]).kind in ('effect', 'local', 'wait')
    -- Without a node it was ended from outside: DEADLINE, POISON.
    when p_entry.type = 'run.failed' then not p_entry.payload ? 'node'
    else p_entry.type not in ('step.waiting', 'run.responded', 'run.succeeded')
  end
$$;

create or replace function engine.verify_run(p_run_id uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
as $$
declare
  v_loaded engine.loaded_run;
  v_run public.workflow_runs;
  v_plan engine.plans;
  v_nodes engine.plan_node[];
  v_log engine.log_entry[];
  v_entry engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
  v_expected engine.log_entry[] := '{}';
  v_open text[] := '{}';
  v_paused boolean := false;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_run := v_loaded.run;
  select p.* into v_plan
  from engine.plans as p
  where (p.organization_id, p.workflow_id, p.version) = (v_run.organization_id, v_run.workflow_id, v_run.version);
  v_nodes := v_plan.nodes;

  foreach v_entry in array v_loaded.log loop
    seq := v_entry.seq;
    recorded := jsonb_build_object('type', v_entry.type, 'payload', v_entry.payload);
    computed := null;
    if v_entry.seq <> coalesce(cardinality(v_log), 0) + 1 then
      problem := 'the sequence has a gap';
      return next;
    end if;
    if engine.is_fed(v_nodes, v_plan.ids, v_entry) then
      if cardinality(v_expected) > 0 then
        problem := 'a computed event is missing before this one';
        computed := to_jsonb(v_expected[1]);
        return next;
      end if;
      v_log := v_log || v_entry;
      v_paused := case v_entry.type when 'run.paused' then true when 'run.resumed' then false else v_paused end;
      v_open := array_remove(v_open, v_entry.payload ->> 'node');
      if v_entry.type <> 'step.started' and not v_entry.payload ? 'retryAt' and not v_paused then
        v_advanced := engine.advance(
          v_nodes, v_plan.ids, v_run.id, v_log,
          v_open, '{}', null, null
        );
        v_expected := coalesce(v_advanced.entries, '{}');
        foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
          v_open := v_open || v_opened.node;
        end loop;
      else
        v_open := v_open || coalesce(v_entry.payload ->> 'node', '');
      end if;
    else
      if cardinality(v_expected) = 0 then
        problem := 'replay does not give this event';
        return next;
      elsif v_expected[1].type <> v_entry.type
        or v_expected[1].payload - 'ms' <> v_entry.payload - 'ms'
      then
        problem := 'replay gives another event';
        computed := jsonb_build_object('type', v_expected[1].type, 'payload', v_expected[1].payload);
        return next;
      end if;
      v_expected := v_expected[2:];
      v_log := v_log || v_entry;
    end if;
  end loop;
  if cardinality(v_expected) > 0 then
    seq := cardinality(v_log) + 1;
    problem := 'a computed event was never recorded';
    recorded := null;
    computed := jsonb_build_object('type', v_expected[1].type, 'payload', v_expected[1].payload);
    return next;
  end if;
end
$$;

grant execute on function engine.verify_run(uuid) to flowgres_dba;
