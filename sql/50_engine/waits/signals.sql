-- kind: code
-- Signals: named messages that are sent to a run. The log keeps a signal that comes before its
-- wait.
-- Writes events, the row of the run, open steps and jobs through engine.write_transitions(). Locks
-- the row of the run (engine.load_runs()).

-- Sends a signal to an unfinished run and returns the run. p_user_id: who sends it.
-- Errors: INVALID_ARGUMENT (the name), TOO_LARGE, NOT_FOUND, RUN_FINISHED, LIMIT_REACHED.
create or replace function engine.signal_run(p_run_id uuid, p_name text, p_payload jsonb, p_user_id uuid default null)
  returns public.workflow_runs
  language plpgsql
  volatile
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_loaded engine.loaded_run;
begin
  if p_name is null or p_name !~ engine.signal_pattern() then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
    );
  end if;
  perform engine.refuse_value(p_payload, 'The payload of the signal');
  select l.* into v_loaded from engine.load_runs(array[p_run_id], v_now) as l;
  perform engine.refuse_finished(v_loaded.run);
  if cardinality(engine.kept_signals(v_loaded.log)) >= 100 then
    perform private.raise_error(
      'LIMIT_REACHED', 'The run keeps 100 signals that it has not waited for yet.', null, '{"limit": 100}'
    );
  end if;
  perform engine.refuse_large(v_loaded, p_payload);
  return engine.consume_signal(v_loaded, p_name, p_payload, p_user_id, v_now);
end
$$;

-- Returns the signals of a log that no wait has consumed, oldest first. Sets the node of a signal
-- that an open wait can consume now: of each name, the oldest signal goes to the oldest wait.
create or replace function engine.kept_signals(p_log engine.log_entry[])
  returns engine.signal[]
  language plpgsql
  immutable
as $$
declare
  v_entry engine.log_entry;
  v_nodes text[] := '{}'; -- that wait for signals, oldest first
  v_names text[] := '{}'; -- of the signals that they wait for
  v_place int;
  v_signal engine.signal;
  v_kept engine.signal[] := '{}';
begin
  foreach v_entry in array p_log loop
    v_place := array_position(v_nodes, v_entry.payload ->> 'node');
    if v_entry.type = 'run.signaled' then
      v_kept := v_kept || row(null, v_entry.payload ->> 'name', v_entry.payload -> 'payload')::engine.signal;
    elsif v_entry.type = 'step.waiting' and v_entry.payload ->> 'kind' in ('signal', 'webhook') then
      v_nodes := v_nodes || (v_entry.payload ->> 'node');
      v_names := v_names || coalesce(v_entry.payload ->> 'name', engine.resume_signal(v_entry.payload ->> 'node'));
    elsif v_place is not null then
      -- A wait that timed out has consumed no signal.
      if v_entry.type = 'step.succeeded' and v_entry.payload ->> 'port' <> 'timeout' then
        v_kept := engine.without_signal(v_kept, v_names[v_place]);
      end if;
      v_nodes := v_nodes[: v_place - 1] || v_nodes[v_place + 1 :];
      v_names := v_names[: v_place - 1] || v_names[v_place + 1 :];
    end if;
  end loop;

  for v_index in 1 .. cardinality(v_kept) loop
    v_signal := v_kept[v_index];
    v_place := array_position(v_names, v_signal.name);
    if v_place is not null then
      v_signal.node := v_nodes[v_place];
      v_kept[v_index] := v_signal;
      v_names[v_place] := null;
    end if;
  end loop;
  return v_kept;
end
$$;

-- Returns the signals without the oldest one of that name.
create or replace function engine.without_signal(p_signals engine.signal[], p_name text)
  returns engine.signal[]
  language plpgsql
  immutable
as $$
begin
  for v_index in 1 .. cardinality(p_signals) loop
    if (p_signals[v_index]).name = p_name then
      return p_signals[: v_index - 1] || p_signals[v_index + 1 :];
    end if;
  end loop;
  return p_signals;
end
$$;

-- Returns the oldest kept signal that an open wait can consume; its node is null when there is
-- none.
create or replace function engine.next_signal(p_log engine.log_entry[])
  returns engine.signal
  language plpgsql
  immutable
as $$
declare
  v_signal engine.signal;
begin
  foreach v_signal in array engine.kept_signals(p_log) loop
    if v_signal.node is not null then
      return v_signal;
    end if;
  end loop;
  return null;
end
$$;

-- Writes run.signaled for a loaded run, advances it, and returns it. A paused run only records the
-- signal.
create or replace function engine.consume_signal(
  p_loaded engine.loaded_run,
  p_name text,
  p_payload jsonb,
  p_user_id uuid,
  p_now timestamptz
)
  returns public.workflow_runs
  language plpgsql
  volatile
as $$
declare
  v_entry constant engine.log_entry := engine.next_entry(
    p_loaded.log[cardinality(p_loaded.log)], p_now, 'run.signaled',
    jsonb_build_object('name', p_name, 'payload', coalesce(p_payload, 'null'), 'by', p_user_id)
  );
  v_transition engine.transition;
begin
  p_loaded.log := p_loaded.log || v_entry;
  v_transition.run := p_loaded.run;
  if (p_loaded.run).status <> 'paused' then
    v_transition := engine.advance_run(p_loaded, engine.compiled_version_of(p_loaded.run), null, p_now);
  end if;
  v_transition.entries := v_entry || v_transition.entries;
  perform engine.write_transitions(array[v_transition], p_now);
  return v_transition.run;
end
$$;

-- Raises TOO_LARGE when the log of the run has no space left for the payload. Without this check
-- the event would end the run with RUN_TOO_LARGE, and any sender could cause that.
create or replace function engine.refuse_large(p_loaded engine.loaded_run, p_payload jsonb)
  returns void
  language plpgsql
  stable
as $$
declare
  v_compiled engine.compiled_versions;
  v_size constant int := coalesce(pg_column_size(p_payload), 0);
begin
  v_compiled := engine.compiled_version_of(p_loaded.run);
  if (engine.fold(v_compiled.nodes, v_compiled.ids, p_loaded.log)).bytes + v_size > engine.max_run_bytes() then
    perform private.raise_error(
      'TOO_LARGE', 'The log of the run has no room for this.',
      'Send less: large data belongs in a store that the workflow reads.',
      jsonb_build_object('limit', engine.max_run_bytes())
    );
  end if;
end
$$;

-- Returns the pattern of the names of signals. It excludes the colon, which the engine uses for
-- names of its own: see resume_signal().
create or replace function engine.signal_pattern()
  returns text
  language sql
  immutable
  parallel safe
as $$
  select '^[A-Za-z0-9_.-]{1,200}$'
$$;

-- Returns the name of the signal that a call of the resume address of a node records.
create or replace function engine.resume_signal(p_node text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select 'resume:' || p_node
$$;

-- Raises NOT_FOUND when there is no run, RUN_FINISHED when it has ended.
create or replace function engine.refuse_finished(p_run public.workflow_runs)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_run.id is null then
    perform private.raise_error('NOT_FOUND', 'There is no such run.');
  elsif p_run.finished_at is not null then
    perform private.raise_error(
      'RUN_FINISHED', 'The run has ended.', null, jsonb_build_object('status', p_run.status)
    );
  end if;
end
$$;
