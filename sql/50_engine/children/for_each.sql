-- kind: code
-- The nodes executeWorkflow and forEach: one child run, or one for each item, at most `concurrency`
-- of them at a time.
-- Writes child runs through engine.start_children(). The caller holds the lock of the parent and
-- writes its transition.

-- Starts the children that may run now, at most 100 in a transaction, and returns the progress of
-- the step. Starts no more after an error, or after a failed child without `continue`.
create or replace function engine.run_for_each(
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
  v_items constant jsonb := p_opened.properties -> 'items';
  v_count constant int := case when v_items is null then 1 else jsonb_array_length(v_items) end;
  v_width constant int := coalesce((p_opened.properties ->> 'concurrency')::int, 10);
  v_goes_on constant boolean := coalesce(p_opened.properties -> 'continue' = 'true', false);
  v_children engine.children := row(0, false);
  v_left int := 100;
  v_number int;
  v_inputs jsonb[];
  v_detail text;
  v_child record;
  v_progress engine.children_progress;
begin
  v_progress.next_index := coalesce(p_step.next_index, 0);
  v_progress.error := p_step.error;
  if v_progress.next_index > 0 then
    v_children := engine.children_of(p_step.run_id, p_step.node);
  end if;

  while v_progress.error is null and v_progress.next_index < v_count and v_children.unfinished < v_width
    and (v_goes_on or not v_children.is_failed)
  loop
    v_number := least(v_width - v_children.unfinished, v_count - v_progress.next_index, v_left);
    if v_number = 0 then
      v_progress.again := true;
      v_progress.unfinished := v_children.unfinished;
      return v_progress;
    end if;
    v_progress.wait_until := engine.children_wait_until(p_loaded.run);
    exit when v_progress.wait_until is not null;
    begin
      v_inputs := engine.child_inputs(p_loaded, p_compiled, p_opened, v_progress.next_index, v_number);
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_progress.error := engine.error_of(sqlstate, sqlerrm, v_detail);
        exit;
    end;
    for v_child in
      select c.* from engine.start_children(p_loaded.run, p_opened, v_inputs, v_progress.next_index) as c
    loop
      if v_child.run_id is null then
        v_progress.error := v_child.error;
      elsif v_child.status in ('error', 'canceled') then
        v_children.is_failed := true;
      elsif v_child.status <> 'success' then
        v_children.unfinished := v_children.unfinished + 1;
      end if;
    end loop;
    v_progress.next_index := v_progress.next_index + cardinality(v_inputs);
    v_left := case when cardinality(v_inputs) < v_number then 0 else v_left - v_number end;
  end loop;

  v_progress.unfinished := v_children.unfinished;
  -- Let the children that run end before the step does, also after an error.
  if v_children.unfinished = 0 and v_progress.wait_until is null then
    v_progress.result := engine.children_result(p_step, v_progress.error, v_items is not null, v_goes_on);
  end if;
  return v_progress;
end
$$;

-- Returns the inputs of the children from index p_from on: the property `input`, whose expressions
-- see $.item and $.index, or else the item. Returns fewer than p_count, but at least one, when it
-- has taken 100 ms or has more than 8 MiB.
create or replace function engine.child_inputs(
  p_loaded engine.loaded_run,
  p_compiled engine.compiled_versions,
  p_opened engine.opened_step,
  p_from int,
  p_count int
)
  returns jsonb[]
  language plpgsql
  stable
as $$
declare
  v_is_deferred constant boolean := (p_compiled.nodes[p_opened.place]).deferred is not null;
  v_stop_at constant timestamptz := clock_timestamp() + interval '100 ms';
  v_item jsonb;
  v_inputs jsonb[];
  v_bytes bigint := 0;
begin
  for v_index in p_from .. p_from + p_count - 1 loop
    exit when v_index > p_from and (clock_timestamp() > v_stop_at or v_bytes > engine.child_inputs_at_once());
    v_item := p_opened.properties -> 'items' -> v_index;
    v_inputs := v_inputs || case
      when v_is_deferred
        then engine.resolve_for_child(p_loaded, p_compiled, p_opened, v_item, v_index) -> 'input'
      else coalesce(p_opened.properties -> 'input', v_item)
    end;
    v_bytes := v_bytes + coalesce(pg_column_size(v_inputs[cardinality(v_inputs)]), 0);
  end loop;
  return v_inputs;
end
$$;

-- Returns the result of a step whose children have ended: their outputs in the order of the items,
-- or the error of the first one that failed. p_error: why no further child was started. p_goes_on:
-- a child that fails gives {"error"} instead of failing the step.
create or replace function engine.children_result(
  p_step engine.open_steps,
  p_error jsonb,
  p_is_list boolean,
  p_goes_on boolean
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_error jsonb := p_error;
  v_index int; -- of the first child that failed
  v_child record;
  v_results jsonb[];
  v_outputs jsonb;
  v_bytes bigint := 0;
begin
  if v_error is null then
    -- Add up sizes while reading, and keep no output after 1 MiB: 10,000 results may have 10 GB.
    for v_child in select c.index, c.result from engine.child_results(p_step.run_id, p_step.node) as c loop
      if v_child.result ? 'error' and not p_goes_on then
        if v_index is null or v_child.index < v_index then
          v_index := v_child.index;
          v_error := v_child.result -> 'error';
        end if;
      elsif v_bytes <= engine.max_value_bytes() then
        v_outputs := coalesce(v_child.result -> 'output', v_child.result);
        v_bytes := v_bytes + pg_column_size(v_outputs);
        v_results[v_child.index + 1] := v_outputs;
      end if;
    end loop;
    if v_error is null and v_bytes > engine.max_value_bytes() then
      v_error := engine.request_error(
        'TOO_LARGE',
        format(
          'The results of the child runs are together larger than %s.', private.size_text(engine.max_value_bytes())
        )
      );
    end if;
    v_outputs := coalesce(to_jsonb(v_results), '[]');
  end if;
  if v_error is not null then
    return jsonb_build_object('ok', false, 'error', v_error || '{"retryable": false}');
  end if;
  return jsonb_build_object('ok', true, 'output', case when p_is_list then v_outputs else v_outputs -> 0 end);
end
$$;

-- Starts a child that the parent does not wait for; the step ends with {"runId"} as soon as it has
-- started.
create or replace function engine.start_independent(p_run public.workflow_runs, p_opened engine.opened_step)
  returns engine.children_progress
  language plpgsql
  volatile
as $$
declare
  v_child record;
  v_progress engine.children_progress;
begin
  v_progress.wait_until := engine.children_wait_until(p_run);
  if v_progress.wait_until is not null then
    return v_progress;
  end if;
  select c.* into v_child
  from engine.start_children(p_run, p_opened, array[p_opened.properties -> 'input'], 0, false) as c;
  v_progress.result := case
    when v_child.run_id is null
      then jsonb_build_object('ok', false, 'error', v_child.error || '{"retryable": false}')
    else jsonb_build_object('ok', true, 'output', jsonb_build_object('runId', v_child.run_id))
  end;
  return v_progress;
end
$$;
