-- kind: code
-- The node repeat: child runs one after the other, each with the output of the one before as its
-- input, until a condition holds. Writes child runs through engine.start_children(). The caller
-- holds the lock of the parent and writes its transition.

-- Starts the next child when the last one has ended, and returns the progress of the step. Goes on
-- in another transaction after 100 children or one second.
create or replace function engine.run_repeat(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_step engine.open_steps,
  p_opened engine.opened_step
)
  returns engine.children_progress
  language plpgsql
  volatile
as $$
declare
  v_most constant int := coalesce((p_opened.properties ->> 'maxIterations')::int, 100);
  v_first constant int := coalesce(p_step.next_index, 0);
  v_input jsonb := p_opened.properties -> 'input';
  v_last jsonb;
  v_error jsonb;
  v_detail text;
  v_child record;
  v_progress engine.children_progress;
begin
  v_progress.next_index := v_first;
  v_progress.unfinished := 1;
  loop
    if v_progress.next_index > 0 then
      select c.result into v_last
      from engine.child_results(p_step.run_id, p_step.node, v_progress.next_index - 1) as c;
      exit when not found; -- the last child still runs
      v_input := v_last -> 'output';
      v_error := v_last -> 'error';
      exit when v_error is not null;
      begin
        if engine.is_repeated_enough(p_loaded, p_compiled, p_opened, v_input, v_progress.next_index - 1) then
          v_progress.result := jsonb_build_object('ok', true, 'output', v_input);
          exit;
        end if;
      exception
        when others then
          get stacked diagnostics v_detail = pg_exception_detail;
          v_error := engine.error_of(sqlstate, sqlerrm, v_detail);
      end;
      exit when v_error is not null;
    end if;
    if v_progress.next_index = v_most then
      v_error := engine.request_error('TOO_MANY_ITERATIONS', format('%s runs were not enough.', v_most));
      exit;
    elsif v_progress.next_index = v_first + 100
      or (v_progress.next_index > v_first and clock_timestamp() > statement_timestamp() + interval '1 second')
    then
      v_progress.again := true;
      exit;
    end if;
    v_progress.wait_until := engine.children_wait_until(p_loaded.run);
    exit when v_progress.wait_until is not null;
    select c.* into v_child
    from engine.start_children(p_loaded.run, p_opened, array[v_input], v_progress.next_index) as c;
    v_error := case when v_child.run_id is null then v_child.error end;
    exit when v_error is not null;
    v_progress.next_index := v_progress.next_index + 1;
  end loop;
  if v_error is not null then
    v_progress.result := jsonb_build_object('ok', false, 'error', v_error || '{"retryable": false}');
  end if;
  return v_progress;
end
$$;

-- Returns whether the property `until` is true for the output of the last child.
create or replace function engine.is_repeated_enough(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_opened engine.opened_step,
  p_output jsonb,
  p_index int
)
  returns boolean
  language plpgsql
  stable
as $$
begin
  return engine.resolve_for_child(p_loaded, p_compiled, p_opened, p_output, p_index) -> 'until' = 'true';
end
$$;
