-- kind: code
-- The heart of the engine. From a plan and the log of a run it computes the events that come next. It reads no table and
-- writes none, so replaying a log gives the same events again; its only look at the clock is to stop in time.

create or replace function engine.error_of(p_sqlstate text, p_message text, p_detail text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select jsonb_build_object('code', 'NODE_FAILED', 'message', p_message, 'retryable', false)
    || case
      when p_sqlstate like 'WF%' then p_detail::jsonb
      else jsonb_build_object('details', jsonb_build_object('sqlstate', p_sqlstate))
    end
$$;

create or replace function engine.output_of_run(
  p_ids text[],
  p_states int[],
  p_outputs jsonb[],
  p_fed boolean[]
)
  returns jsonb
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_count int := 0;
  v_single jsonb;
  v_several jsonb := '{}';
begin
  for v_place in 1 .. cardinality(p_ids) loop
    if p_states[v_place] = 1 and p_fed[v_place] is null then
      v_count := v_count + 1;
      if v_count > 1 then
        v_several := v_several || jsonb_build_object(p_ids[v_place], p_outputs[v_place]);
      else
        v_single := p_outputs[v_place];
        v_several := jsonb_build_object(p_ids[v_place], v_single);
      end if;
    end if;
  end loop;
  return case when v_count > 1 then v_several else v_single end;
end
$$;

-- p_open: steps that are open already; p_due: waiting steps whose time has come.
create or replace function engine.advance(
  p_nodes engine.plan_node[],
  p_ids text[],
  p_run jsonb,
  p_log engine.log_entry[],
  p_open text[] default '{}',
  p_due text[] default '{}',
  p_now timestamptz default null,
  p_budget int default 200
)
  returns engine.advanced
  language plpgsql
  stable
as $$
declare
  c_count constant int := cardinality(p_nodes);
  -- Without a budget, as in a replay, there is no hurry either.
  c_stop_at constant timestamptz := case
    when p_budget = 2147483647 then 'infinity' else clock_timestamp() + interval '50 ms'
  end;
  -- Of each node: 1 succeeded, 2 skipped, 3 waiting, 4 failed for good; null is not settled.
  v_states int[] := array_fill(null::int, array[c_count]);
  v_ports text[] := array_fill(null::text, array[c_count]);
  v_outputs jsonb[] := array_fill(null::jsonb, array[c_count]);
  v_errors jsonb[];
  v_fed boolean[] := array_fill(null::boolean, array[c_count]); -- has a live outgoing connection
  v_input jsonb;
  v_vars jsonb;
  v_trigger text;
  v_responded boolean := false;
  v_seq int;
  v_ts timestamptz;
  v_at timestamptz; -- when the outside last had its say: what a timer counts from
  v_entry engine.log_entry;
  v_place int := 1;
  v_node engine.plan_node;
  v_source int;
  v_live int;
  v_settled boolean;
  v_prev jsonb;
  v_inputs jsonb;
  v_main text;
  v_properties jsonb;
  v_outcome engine.outcome;
  v_started timestamptz;
  v_open boolean := false;
  v_detail text;
  v_result engine.advanced;
begin
  -- Fold the log.
  foreach v_entry in array p_log loop
    case v_entry.type
      when 'run.created' then
        v_input := v_entry.payload -> 'input';
        v_vars := v_entry.payload -> 'vars';
        v_trigger := v_entry.payload ->> 'trigger';
        v_at := v_entry.ts;
      when 'step.succeeded', 'step.reused' then
        v_place := array_position(p_ids, v_entry.payload ->> 'node');
        v_states[v_place] := 1;
        v_ports[v_place] := v_entry.payload ->> 'port';
        v_outputs[v_place] := v_entry.payload -> 'output';
        if (p_nodes[v_place]).kind not in ('pure', 'trigger') then
          v_at := v_entry.ts;
        end if;
      when 'step.failed' then
        if not v_entry.payload ? 'retryAt' then
          v_place := array_position(p_ids, v_entry.payload ->> 'node');
          v_states[v_place] := 4;
          v_errors[v_place] := v_entry.payload -> 'error';
          v_at := v_entry.ts;
        end if;
      when 'step.waiting' then
        v_states[array_position(p_ids, v_entry.payload ->> 'node')] := 3;
      when 'run.responded' then
        v_responded := true;
      when 'run.signaled', 'run.released', 'run.resumed' then
        v_at := v_entry.ts;
      when 'run.succeeded', 'run.failed', 'run.canceled' then
        return v_result;
      else
        null; -- step.started, run.paused: nothing in the graph moves
    end case;
    v_seq := v_entry.seq;
    v_ts := v_entry.ts;
  end loop;

  -- One pass in topological order. A node that fails raises; the block notes it and the pass goes on from that node.
  v_place := 1;
  loop
    begin
      while v_place <= c_count loop
        v_node := p_nodes[v_place];
        v_live := 0;
        v_settled := true;
        v_prev := null;
        v_main := v_node.inputs[1];
        for v_edge in 1 .. coalesce(cardinality(v_node.sources), 0) loop
          v_source := v_node.sources[v_edge];
          if v_states[v_source] = 1 then
            if v_ports[v_source] = v_node.source_ports[v_edge] then
              v_live := v_live + 1;
              v_fed[v_source] := true;
              if v_prev is null and v_node.target_inputs[v_edge] = v_main then
                v_prev := v_outputs[v_source];
              end if;
            end if;
          elsif v_states[v_source] is distinct from 2 then
            v_settled := false;
          end if;
        end loop;

        if v_states[v_place] in (1, 2) then
          null;
        elsif not v_settled then
          v_open := true;
        elsif v_live = 0 and v_node.id is distinct from v_trigger then
          v_states[v_place] := 2;
        elsif v_states[v_place] = 4 then
          if v_node.on_error = 'stop' or v_node.type like 'stopAndError@%' then
            v_seq := v_seq + 1;
            v_ts := v_ts + interval '1 microsecond';
            v_result.entries := v_result.entries || row(
              v_seq, v_ts, 'run.failed',
              jsonb_build_object('error', v_errors[v_place], 'node', v_node.id)
            )::engine.log_entry;
            v_result.opened := null;
            return v_result;
          end if;
          v_states[v_place] := 1;
          if v_node.on_error = 'continue' then
            v_ports[v_place] := 'main';
            v_outputs[v_place] := jsonb_build_object('error', v_errors[v_place]);
          else
            v_ports[v_place] := 'error';
            v_outputs[v_place] := jsonb_build_object('error', v_errors[v_place], 'input', v_prev);
          end if;
        elsif v_node.id = any (p_open) then
          v_open := true;
        elsif v_states[v_place] = 3 and v_node.id <> all (p_due) then
          v_open := true;
        else
          v_started := clock_timestamp();
          if p_budget <= 0 or v_started > c_stop_at then
            v_result.opened := v_result.opened
              || row(v_node.id, 'queued', v_place, null, null, null)::engine.opened_step;
            v_result.unfinished := true;
            return v_result;
          end if;
          p_budget := p_budget - 1;

          -- What the node sees.
          v_inputs := null;
          if cardinality(v_node.sources) > 1 or v_node.uses_inputs then
            v_inputs := '{}';
            for v_edge in 1 .. cardinality(v_node.sources) loop
              v_source := v_node.sources[v_edge];
              if v_states[v_source] = 1 and v_ports[v_source] = v_node.source_ports[v_edge] then
                v_inputs := v_inputs || jsonb_build_object(
                  v_node.target_inputs[v_edge],
                  coalesce(v_inputs -> v_node.target_inputs[v_edge], '[]')
                    || jsonb_build_array(v_outputs[v_source])
                );
              end if;
            end loop;
          end if;
          v_properties := v_node.properties;
          if v_node.expressions is not null and not v_node.disabled then
            v_properties := engine.resolve(
              v_properties, v_node.expressions, v_node.strict, v_input, v_prev, v_inputs, v_outputs,
              p_run, v_vars, null, null
            );
          end if;

          -- What the node does.
          v_outcome := null;
          case
            when v_node.kind = 'trigger' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := case
                when v_node.type like 'webhookTrigger@%' then v_input -> 'body'
                else v_input
              end;
            when v_node.disabled or v_states[v_place] = 3 then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_prev;
            when v_node.pin is not null and p_run ->> 'mode' = 'manual' then
              v_outcome.port := v_node.ports[1];
              v_outcome.output := v_node.pin;
            when v_node.kind = 'pure' then
              v_outcome := engine.run_pure(v_node.type, v_node.function, v_properties, v_prev, v_inputs);
              if pg_column_size(v_outcome.output) > 1048576 then
                perform private.raise_error(
                  'TOO_LARGE', format('The output of %s is larger than 1 MiB.', v_node.id)
                );
              end if;
            when v_node.kind = 'wait' then
              v_ts := v_ts + interval '1 microsecond';
              v_seq := v_seq + 1;
              v_result.opened := v_result.opened || row(
                v_node.id, 'waiting', v_place, v_properties, v_prev, engine.wait_until(v_properties, v_at)
              )::engine.opened_step;
              v_result.entries := v_result.entries || row(
                v_seq, v_ts, 'step.waiting', jsonb_build_object(
                  'node', v_node.id, 'kind', 'time', 'until', engine.wait_until(v_properties, v_at)
                )
              )::engine.log_entry;
              v_states[v_place] := 3;
              v_open := true;
            else
              v_result.opened := v_result.opened || row(
                v_node.id, 'queued', v_place, v_properties, v_prev, null
              )::engine.opened_step;
              v_states[v_place] := 3;
              v_open := true;
          end case;

          if v_outcome.port is not null then
            v_seq := v_seq + 1;
            if v_states[v_place] = 3 then -- a timer fired: this is news from outside, at its own time
              v_ts := greatest(p_now, v_ts + interval '1 microsecond');
              v_at := v_ts;
            else
              v_ts := v_ts + interval '1 microsecond';
            end if;
            v_states[v_place] := 1;
            v_ports[v_place] := v_outcome.port;
            v_outputs[v_place] := coalesce(v_outcome.output, 'null');
            v_result.entries := v_result.entries || row(
              v_seq, v_ts, 'step.succeeded', jsonb_build_object(
                'node', v_node.id, 'attempt', 1, 'port', v_outcome.port, 'output', v_outputs[v_place],
                'ms', (date_part('epoch', clock_timestamp() - v_started) * 1000)::int
              )
            )::engine.log_entry;
            if v_node.type like 'respondToWebhook@%' and not v_responded and not v_node.disabled then
              v_responded := true;
              v_seq := v_seq + 1;
              v_ts := v_ts + interval '1 microsecond';
              v_result.entries := v_result.entries || row(
                v_seq, v_ts, 'run.responded', engine.response_of(v_properties, v_prev)
                  || jsonb_build_object('node', v_node.id)
              )::engine.log_entry;
            end if;
          end if;
        end if;
        v_place := v_place + 1;
      end loop;
      exit;
    exception
      when others then
        get stacked diagnostics v_detail = pg_exception_detail;
        v_states[v_place] := 4;
        v_errors[v_place] := engine.error_of(sqlstate, sqlerrm, v_detail);
        v_seq := v_seq + 1;
        v_ts := v_ts + interval '1 microsecond';
        v_result.entries := v_result.entries || row(
          v_seq, v_ts, 'step.failed',
          jsonb_build_object('node', v_node.id, 'attempt', 1, 'error', v_errors[v_place])
        )::engine.log_entry;
    end;
  end loop;

  if not v_open then
    v_result.entries := v_result.entries || row(
      v_seq + 1, v_ts + interval '1 microsecond', 'run.succeeded',
      jsonb_build_object('output', engine.output_of_run(p_ids, v_states, v_outputs, v_fed))
    )::engine.log_entry;
  end if;
  return v_result;
end
$$;
