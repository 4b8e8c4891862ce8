-- kind: code
-- repeat: child runs one after the other. Each gets what the one before it gave, until a condition holds.

-- Whether the last child was the last one.
create or replace function engine.is_repeated_enough(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_reached engine.opened_step,
  p_output jsonb,
  p_index int
)
  returns boolean
  language plpgsql
  stable
as $$
begin
  return engine.resolve_for_child(p_loaded, p_plan, p_reached, p_output, p_index) -> 'until' = 'true';
end
$$;

-- One turn: at most 100 children in a transaction.
create or replace function engine.take_repeat(
  p_loaded engine.loaded_run,
  p_plan engine.plans,
  p_step engine.open_steps,
  p_reached engine.opened_step
)
  returns engine.turn
  language plpgsql
  volatile
as $$
declare
  v_most constant int := coalesce((p_reached.properties ->> 'maxIterations')::int, 100);
  v_first constant int := coalesce(p_step.next_index, 0);
  v_input jsonb := p_reached.properties -> 'input';
  v_last jsonb;
  v_error jsonb;
  v_detail text;
  v_child record;
  v_turn engine.turn;
begin
  v_turn.next_index := v_first;
  v_turn.unfinished := 1;
  loop
    if v_turn.next_index > 0 then
      select c.result into v_last
      from engine.child_results(p_step.run_id, p_step.node, v_turn.next_index - 1) as c;
      exit when not found; -- it still runs
      v_input := v_last -> 'output';
      v_error := v_last -> 'error';
      exit when v_error is not null;
      begin
        if engine.is_repeated_enough(p_loaded, p_plan, p_reached, v_input, v_turn.next_index - 1) then
          v_turn.result := jsonb_build_object('ok', true, 'output', v_input);
          exit;
        end if;
      exception
        when others then
          get stacked diagnostics v_detail = pg_exception_detail;
          v_error := engine.error_of(sqlstate, sqlerrm, v_detail);
      end;
      exit when v_error is not null;
    end if;
    if v_turn.next_index = v_most then
      v_error := engine.request_error('TOO_MANY_ITERATIONS', format('%s runs were not enough.', v_most));
      exit;
    elsif v_turn.next_index = v_first + 100
      or (v_turn.next_index > v_first and clock_timestamp() > statement_timestamp() + interval '1 second')
    then
      v_turn.again := true;
      exit;
    end if;
    v_turn.wait_until := engine.children_wait_until(p_loaded.run);
    exit when v_turn.wait_until is not null;
    select c.* into v_child
    from engine.start_children(p_loaded.run, p_reached, array[v_input], v_turn.next_index) as c;
    v_error := case when v_child.run_id is null then v_child.error end;
    exit when v_error is not null;
    v_turn.next_index := v_turn.next_index + 1;
  end loop;
  if v_error is not null then
    v_turn.result := jsonb_build_object('ok', false, 'error', v_error || '{"retryable": false}');
  end if;
  return v_turn;
end
$$;
