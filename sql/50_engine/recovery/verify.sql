-- kind: code
-- Replays the log of a run: applies its external inputs again and compares every other event with
-- what the engine computes. Writes nothing; locks the row of the run (engine.load_runs()).

create or replace function engine.verify_run(p_run_id uuid)
  returns table (
    seq int,
    problem text,
    recorded jsonb,
    computed jsonb
  )
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_loaded engine.loaded_run;
  v_compiled engine.compiled_versions;
  v_entry engine.log_entry;
  v_replay engine.replay := row('{}', null, '{}', false);
  v_max_bytes bigint;
begin
  select l.* into v_loaded from engine.load_runs(array[p_run_id], engine.now()) as l;
  v_compiled := engine.compiled_version_of(v_loaded.run);
  if v_compiled.version is null then
    problem := 'there is no such run, or its version was never compiled';
    return next;
    return;
  end if;
  -- Allow more than the log has: RUN_TOO_LARGE is taken from the log, since the limit may have been
  -- another one when it was written. Keep a bound, because the replay needs memory for what it
  -- computes.
  v_max_bytes := greatest(
    engine.max_run_bytes(), (engine.fold(v_compiled.nodes, v_compiled.ids, v_loaded.log)).bytes
  ) + 2 * engine.max_value_bytes();
  foreach v_entry in array coalesce(v_loaded.log, '{}') loop
    seq := v_entry.seq;
    recorded := jsonb_build_object('type', v_entry.type, 'payload', v_entry.payload);
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    problem := case when v_entry.seq <> cardinality(v_replay.log) + 1 then 'the sequence has a gap' end;
    if engine.is_external_input(v_entry, v_replay.open) then
      v_replay := engine.apply_recorded(
        v_replay, v_entry,
        coalesce(v_loaded.log[v_entry.seq + 1].type in ('step.reused', 'run.isolated'), false), v_compiled, p_run_id,
        v_max_bytes
      );
    else
      problem := coalesce(problem, engine.difference(v_replay.expected[1], v_entry));
      v_replay.expected := v_replay.expected[2:];
      v_replay.log := v_replay.log || v_entry;
    end if;
    if problem is not null then
      return next;
    end if;
  end loop;
  -- An expected event of a queued step is not missing: the engine writes it when the job of the
  -- step runs.
  if cardinality(v_replay.expected) > 0
    and (engine.step_of(v_loaded.steps, v_replay.expected[1].payload ->> 'node')).state is distinct from 'queued'
  then
    seq := cardinality(v_replay.log) + 1;
    problem := 'a computed event was never recorded';
    recorded := null;
    computed := to_jsonb(v_replay.expected[1]) - 'seq' - 'ts';
    return next;
  end if;
end
$$;

comment on function engine.verify_run(uuid) is
  'Replays the log of a run. Each row is an event that differs from what the engine computes; no row: all events are as the engine computes them. Example: select * from engine.verify_run(''0190…'');';

grant execute on function engine.verify_run(uuid) to flowgres_dba;

-- Returns whether an event came from outside. p_open: the steps that were open when it was written.
create or replace function engine.is_external_input(p_entry engine.log_entry, p_open text[])
  returns boolean
  language sql
  immutable
as $$
  select case
    when p_entry.type in ('step.succeeded', 'step.failed') then p_entry.payload ->> 'node' = any (p_open)
    -- Without a node the run was ended from outside: by a deadline or a limit, for example.
    when p_entry.type = 'run.failed' then not p_entry.payload ? 'node'
    else p_entry.type not in ('step.waiting', 'run.responded', 'run.succeeded')
  end
$$;

-- Applies an external input to a replay and computes the events that must follow. p_is_prelude: the
-- next event is step.reused or run.isolated, so the graph does not advance yet.
create or replace function engine.apply_recorded(
  p_replay engine.replay,
  p_entry engine.log_entry,
  p_is_prelude boolean,
  p_compiled engine.compiled_versions,
  p_run_id uuid,
  p_max_bytes bigint
)
  returns engine.replay
  language plpgsql
  stable
as $$
declare
  v_node constant text := p_entry.payload ->> 'node';
  v_expected engine.log_entry;
  v_advanced engine.advanced;
  v_opened engine.opened_step;
begin
  p_replay.log := p_replay.log || p_entry;
  -- A step that has begun, or is to be tried again, stays open, and the graph does not advance.
  if p_entry.type = 'step.started' or p_entry.payload ? 'retryAt' then
    return p_replay;
  end if;
  -- Discard the expected events that were not recorded: engine.advance() computes them again below,
  -- after this event. Their waits are not open yet.
  foreach v_expected in array coalesce(p_replay.expected, '{}') loop
    if v_expected.type = 'step.waiting' then
      p_replay.open := array_remove(p_replay.open, v_expected.payload ->> 'node');
    end if;
  end loop;
  if p_entry.type in ('run.paused', 'run.resumed') then
    p_replay.paused := p_entry.type = 'run.paused';
    p_replay.expected := null;
  end if;
  p_replay.open := array_remove(p_replay.open, v_node);
  if p_replay.paused is not true and not p_is_prelude then
    v_advanced := engine.advance(
      p_compiled.nodes, p_compiled.ids, p_run_id, p_replay.log, p_replay.open, null, p_compiled.resume_key,
      p_max_bytes => p_max_bytes
    );
    p_replay.expected := v_advanced.entries;
    foreach v_opened in array coalesce(v_advanced.opened, '{}') loop
      p_replay.open := p_replay.open || v_opened.node;
    end loop;
  end if;
  return p_replay;
end
$$;

-- Returns the problem with an event that the engine should have computed; null when there is none.
create or replace function engine.difference(p_expected engine.log_entry, p_entry engine.log_entry)
  returns text
  language sql
  immutable
as $$
  select case
    when p_expected.type is null then 'replay does not give this event'
    when p_expected.type <> p_entry.type or p_expected.payload - 'ms' <> p_entry.payload - 'ms'
      then 'replay gives another event'
  end
$$;
