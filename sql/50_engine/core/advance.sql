-- kind: code
-- Computes the events that come next in a run, from its compiled version and its log. Reads no
-- table, so a replay of a log gives the same events again. Reads the clock only to stop in time and
-- to measure `ms`, which a replay does not compare. Writes and locks nothing.

-- long because handing the arrays of a run, or the row of a node, to another function for each node makes a node cost
-- half as much again.
-- Returns the events to append and the steps to open; null for a run that has ended or is held.
-- p_open: nodes whose steps are open already; they do not advance.
-- p_budget: how many nodes to evaluate at most; null, as in a replay: no limit of number or time.
-- p_resume_key: the key of the tokens in resume addresses.
-- p_isolate: a node to open for its evaluation in a local step, whatever the evaluation costs.
-- p_max_bytes: the largest size of the log in bytes; null: no limit.
-- p_prefer: the node whose step the caller will begin; its values are always filled in.
create or replace function engine.advance(
  p_nodes engine.compiled_node[],
  p_ids text[],
  p_run_id uuid,
  p_log engine.log_entry[],
  p_open text[] default '{}',
  p_budget int default 200,
  p_resume_key bytea default null,
  p_isolate text default null,
  p_max_bytes bigint default engine.max_run_bytes(),
  p_prefer text default null
)
  returns engine.advanced
  language plpgsql
  stable
as $$
declare
  v_fold constant engine.folded := engine.fold(p_nodes, p_ids, p_log);
  v_states int[] := v_fold.states;
  v_ports text[] := v_fold.ports;
  v_outputs jsonb[] := v_fold.outputs;
  v_errors jsonb[] := v_fold.errors;
  v_external boolean[] := array_fill(null::boolean, array[cardinality(p_nodes)]); -- has a live outgoing connection
  v_created constant jsonb := v_fold.created;
  v_input constant jsonb := v_created -> 'input';
  v_vars constant jsonb := v_created -> 'vars';
  v_trigger constant text := v_created ->> 'trigger';
  v_run jsonb;
  v_values jsonb[]; -- of expressions: see engine.source_values()
  v_responded boolean := v_fold.responded;
  -- In a child run $.item is its input, and $.index its position among the children.
  v_index constant int := (v_created #>> '{parent,index}')::int;
  v_item constant jsonb := case when v_index is not null then v_input end;
  v_seq int := v_fold.seq;
  v_ts timestamptz := v_fold.ts;
  -- Without a limit of nodes, as in a replay, there is no limit of time.
  v_stop_at constant timestamptz :=
    case
      when p_budget is null then 'infinity'
      -- All runs of one statement share 20 times that time; after it each evaluates one node.
      else least(clock_timestamp() + engine.advance_time(), statement_timestamp() + 20 * engine.advance_time())
    end;
  v_isolated boolean[] := array[]::boolean[]; -- by place: its evaluation needs a local step
  v_applied int := 0;
  v_place int := 1;
  v_node engine.compiled_node;
  v_source int;
  v_held int; -- place of the node that holds the output already
  v_of text;  -- how the log refers to that place
  v_input_of text := v_fold.input_of;
  v_bytes bigint := v_fold.bytes;
  v_size int;
  v_leaves int[];
  v_is_wanted boolean;
  v_is_queued boolean := false; -- this call has queued a step
  v_live boolean;
  v_settled boolean;
  v_is_isolated boolean; -- the node is evaluated in a local step
  v_is_given boolean; -- the outcome is known without the properties
  v_prev jsonb;
  v_inputs jsonb;
  v_properties jsonb;
  v_outcome engine.outcome;
  v_payload jsonb;
  v_run_at timestamptz;
  v_started timestamptz;
  v_open boolean := false;
  v_detail text;
  v_entries engine.log_entry[];
  v_opened engine.opened_step[];
  v_result engine.advanced;
begin
  if v_fold.finished or v_fold.held then
    return v_result;
  elsif v_bytes > p_max_bytes then
    v_result.entries := array[engine.run_too_large(v_seq + 1, v_ts + interval '1 microsecond', p_max_bytes)];
    return v_result;
  end if;
  if p_isolate is not null then
    v_isolated[array_position(p_ids, p_isolate)] := true;
  end if;

  -- Visit the nodes in topological order. A node that fails raises an exception: the handler
  -- records step.failed, and the loop goes on with the same node.
  loop
    begin
      while v_place <= cardinality(p_nodes) loop
        if v_states[v_place] in (1, 2) then
          v_place := v_place + 1;
          continue;
        end if;
        v_node := p_nodes[v_place];
        v_live := v_node.id = v_trigger;
        v_settled := true;
        v_prev := null;
        for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
          v_source := v_node.sources[v_edge];
          if v_states[v_source] = 1 then
            if v_ports[v_source] = v_node.source_ports[v_edge] then
              v_live := true;
              v_external[v_source] := true;
              if v_prev is null and v_node.target_inputs[v_edge] = v_node.inputs[1] then
                v_prev := engine.output_at(v_outputs, v_source);
              end if;
            end if;
          elsif v_states[v_source] is distinct from 2 then
            v_settled := false;
          end if;
        end loop;

        v_outcome := null;
        if not v_settled or v_node.id = any (p_open)
          or v_states[v_place] = 3
        then
          v_open := true;

        elsif not v_live then
          v_states[v_place] := 2;

        elsif v_states[v_place] = 4 then
          v_outcome := engine.outcome_of_failure(v_node, v_errors[v_place], v_prev);
          if v_outcome.port is null then
            v_result.entries := v_entries || row(
              v_seq + 1, v_ts + interval '1 microsecond', 'run.failed',
              jsonb_build_object('error', v_errors[v_place], 'node', v_node.id)
            )::engine.log_entry;
            return v_result;
          end if;
          v_bytes := v_bytes + pg_column_size(v_outcome.output);

        else
          v_started := clock_timestamp();
          -- Evaluate at least one node, so that a run makes progress on a slow machine. Beyond the
          -- limits effects and local nodes are still queued; without time, their expressions are
          -- left to a local step.
          if (v_applied >= p_budget or (v_applied > 0 and v_started > v_stop_at))
            and v_isolated[v_place] is not true
          then
            if v_node.kind not in ('effect', 'local') then
              v_result.entries := v_entries;
              v_result.opened := v_opened
                || row(v_node.id, 'queued', v_place, null, null, null, null, null, false, null)::engine.opened_step;
              return v_result;
            elsif v_started > v_stop_at and v_node.expressions is not null then
              v_isolated[v_place] := true;
            end if;
          end if;
          v_applied := v_applied + 1;
          v_is_given := v_node.disabled;
          v_is_isolated := false;
          if v_node.is_isolated or v_node.pin is not null or v_isolated[v_place] or v_fold.isolated then
            v_is_given := v_node.disabled or (
              v_node.pin is not null and v_created ->> 'mode' = 'manual'
              and not starts_with(v_node.type, 'respondToWebhook@') -- a pin replaces the output, not the response
            );
            v_is_isolated := coalesce(
              not v_is_given and v_fold.evaluated[v_place] is null and (
                v_node.is_isolated or v_isolated[v_place]
                or (v_fold.isolated and (
                  v_node.expressions is not null or v_node.function is not null or v_node.inline_input is not null
                ))
              ), false
            );
          end if;

          v_properties := v_node.properties;
          v_inputs := null;
          if v_node.uses_inputs and not v_is_given then
            v_inputs := engine.inputs_of(v_node, v_states, v_ports, v_outputs, v_is_isolated);
          end if;
          if v_node.expressions is null or v_is_given or v_is_isolated then
            null;
          elsif v_fold.evaluated[v_place] is not null then
            v_properties := v_fold.evaluated[v_place];
          else
            if v_node.uses_run and v_run is null then
              v_run := engine.run_context(
                p_run_id, v_created, v_fold.created_at, p_nodes, p_resume_key, v_fold.at
              );
            end if;
            if v_values is null then
              v_values := engine.source_values(v_input, null, null, null, v_vars, v_item, v_index);
            end if;
            v_values[2] := v_prev;
            v_values[3] := v_inputs;
            v_values[4] := v_run;
            v_properties := engine.resolve(v_properties, v_node.expressions, v_node.is_strict, v_values, v_outputs);
          end if;

          case
            when v_node.disabled then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_prev;
            when v_is_isolated then
              null; -- opened below for a local step
            when v_node.pin is not null and v_created ->> 'mode' = 'manual' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_node.pin;
            when v_node.kind = 'pure' and v_node.inline_input < pg_column_size(coalesce(v_inputs, v_prev)) then
              perform engine.leave_to_local_step();
            when v_node.kind = 'pure' then
              v_outcome := engine.run_pure(v_node.type, v_node.function, v_properties, v_prev, v_inputs);
            when v_node.kind = 'trigger' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := case
                when starts_with(v_node.type, 'webhookTrigger@') then v_input -> 'body'
                else v_input
              end;
            else
              null; -- opened below: a worker executes it, or it waits
          end case;
          v_seq := v_seq + 1;
          v_ts := v_ts + interval '1 microsecond';
          if v_outcome.port is not null then
            v_outcome.output := coalesce(v_outcome.output, 'null');
            v_size := pg_column_size(v_outcome.output);
            -- Skip outputs that a node passes on unchanged: they were checked where they were made.
            if v_size > 512 and v_node.kind = 'pure' and not v_node.disabled
              and v_node.type <> all ('{noOp@1,if@1,switch@1,respondToWebhook@1}')
              and (v_size <> pg_column_size(v_prev) or not record_image_eq(row(v_outcome.output), row(v_prev)))
            then
              perform engine.check_output(v_node.type, v_node.id, v_properties, v_outcome.output);
            end if;
            v_of := null;
            if v_size > engine.max_repeated_bytes() then
              if v_node.kind = 'trigger' and not v_node.disabled
                and (v_node.pin is null or v_created ->> 'mode' <> 'manual')
              then
                v_of := case when starts_with(v_node.type, 'webhookTrigger@') then '$.input.body' else '$.input' end;
                v_input_of := v_of;
              elsif v_size = pg_column_size(v_prev) and record_image_eq(row(v_outcome.output), row(v_prev)) then
                v_held := engine.holder_of_prev(v_node, v_states, v_ports, v_outputs);
                v_of := engine.reference_to(v_held, p_ids, v_errors, v_trigger, v_input_of);
                if v_of is not null then
                  v_outputs[- v_place] := to_jsonb(v_held);
                  v_outcome.output := null;
                end if;
              end if;
              v_bytes := v_bytes + case when v_of is null then v_size else 0 end;
            end if;
            -- Patch the payload that was compiled: building it costs three times as much.
            if v_of is null then
              v_payload := jsonb_set(v_node.success, '{output}', v_outcome.output);
            else
              v_payload := v_node.success - 'output' || jsonb_build_object('outputOf', v_of);
            end if;
            if v_outcome.port <> v_node.ports[1] then
              v_payload := jsonb_set(v_payload, '{port}', to_jsonb(v_outcome.port));
            end if;
            if clock_timestamp() > v_started + interval '1 ms' then
              v_payload := jsonb_set(
                v_payload, '{ms}', to_jsonb((date_part('epoch', clock_timestamp() - v_started) * 1000)::int)
              );
            end if;
            v_entries := v_entries || row(v_seq, v_ts, 'step.succeeded', v_payload)::engine.log_entry;
            if v_responded is null and starts_with(v_node.type, 'respondToWebhook@') and not v_node.disabled then
              v_responded := true;
              v_seq := v_seq + 1;
              v_ts := v_ts + interval '1 microsecond';
              v_payload := engine.response_of(v_node.id, v_properties, v_prev);
              v_bytes := v_bytes + pg_column_size(v_payload -> 'body');
              v_entries := v_entries || row(v_seq, v_ts, 'run.responded', v_payload)::engine.log_entry;
            end if;
          else
            v_open := true;
            v_run_at := null;
            if v_node.kind = 'wait' and not v_is_isolated then
              v_payload := engine.waiting_payload(v_node, v_properties, v_fold.at);
              v_run_at := engine.wait_run_at(v_payload, v_fold.at);
              v_entries := v_entries || row(v_seq, v_ts, 'step.waiting', v_payload)::engine.log_entry;
            else
              if pg_column_size(v_properties) > 512 then
                perform engine.refuse_size(v_properties, format('The input of %s', v_node.id), 128);
              end if;
              v_seq := v_seq - 1; -- a queued step has no event before it begins
              v_ts := v_ts - interval '1 microsecond';
            end if;
            -- Fill in the values only where the caller may use them: for the preferred step, the
            -- first queued one, and a wait that is the first step opened. The others are evaluated
            -- again when they begin.
            v_is_wanted := coalesce(v_node.id = p_prefer, false)
              or case when v_node.kind <> 'wait' or v_is_isolated then not v_is_queued else v_opened is null end;
            v_is_queued := v_is_queued or v_node.kind <> 'wait' or v_is_isolated;
            v_opened := v_opened || row(
              v_node.id, case when v_node.kind = 'wait' and not v_is_isolated then 'waiting' else 'queued' end, v_place,
              case when v_is_wanted then v_properties else '{}' end,
              case when v_is_wanted then v_prev end,
              v_run_at,
              case when v_is_wanted and (v_node.deferred is not null or v_is_isolated) then v_inputs end,
              case when v_is_wanted and (v_node.deferred is not null or v_is_isolated) then v_outputs end,
              v_is_isolated,
              case when v_is_wanted and pg_column_size(v_prev) > engine.max_repeated_bytes() then engine.reference_to(
                engine.holder_of_prev(v_node, v_states, v_ports, v_outputs), p_ids, v_errors, v_trigger, v_input_of
              ) end
            )::engine.opened_step;
          end if;
        end if;

        if v_outcome.port is not null then
          v_states[v_place] := 1;
          v_ports[v_place] := v_outcome.port;
          v_outputs[v_place] := v_outcome.output;
          if v_bytes > p_max_bytes then
            v_result.entries := v_entries || engine.run_too_large(
              v_seq + 1, v_ts + interval '1 microsecond', p_max_bytes
            );
            return v_result;
          end if;
        end if;
        v_place := v_place + 1;
      end loop;
      exit;
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_seq := coalesce(v_entries[cardinality(v_entries)].seq, v_fold.seq);
        v_ts := coalesce(v_entries[cardinality(v_entries)].ts, v_fold.ts);
        if sqlstate = 'WF020' and v_isolated[v_place] is not true then
          v_isolated[v_place] := true;
          continue;
        end if;
        v_states[v_place] := 4;
        v_errors[v_place] := engine.error_of(sqlstate, sqlerrm, v_detail);
        v_seq := v_seq + 1;
        v_ts := v_ts + interval '1 microsecond';
        v_entries := v_entries || row(
          v_seq, v_ts, 'step.failed',
          jsonb_build_object('node', v_node.id, 'attempt', 1, 'error', v_errors[v_place])
        )::engine.log_entry;
    end;
  end loop;

  if not v_open then
    v_leaves := engine.live_leaves(p_nodes, v_fold.states, v_states, v_ports, v_external);
    v_entries := v_entries || engine.run_succeeded(
      v_seq + 1, v_ts + interval '1 microsecond', p_ids, v_leaves, v_outputs,
      engine.reference_to(
        coalesce(v_outputs[- v_leaves[1]]::int, v_leaves[1]), p_ids, v_errors, v_trigger, v_input_of
      ),
      p_max_bytes - v_bytes
    );
  end if;
  v_result.entries := v_entries;
  v_result.opened := v_opened;
  return v_result;
end
$$;

-- Returns how long a run may go on in one transaction before it lets others continue: 50 ms, or the
-- setting flowgres.advance_time of the server.
create or replace function engine.advance_time()
  returns interval
  language sql
  stable
as $$
  select coalesce(nullif(current_setting('flowgres.advance_time', true), ''), '50 ms')::interval
$$;
