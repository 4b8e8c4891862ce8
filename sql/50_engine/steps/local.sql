-- kind: code
-- Local nodes: SQL that reads, writes or is random. A worker runs it once, in a transaction of its
-- own under the time limit of the step, and reports the result like any other; a replay takes the
-- result from the log. Writes and locks what a registered function does, else nothing. Nodes whose
-- expressions or work are not cheap are local steps, too: see isolate.sql.

-- Returns {"port"?, "output"} or {"error"}. p_task: as begin_steps() returns it. An exception of
-- the function becomes the error, and what it wrote is undone; the time limit of the statement is
-- not caught here.
create or replace function engine.run_local(p_task jsonb)
  returns jsonb
  language plpgsql
  volatile
  security definer -- definer because functions of nodes may be called by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_type constant engine.node_types := engine.node_type(p_task ->> 'type');
  v_prev constant jsonb := coalesce(p_task -> 'input', 'null');
  v_outcome engine.outcome;
  v_problem text;
  v_detail text;
begin
  if v_type.kind is distinct from 'local' then
    perform private.raise_error('INVALID_ARGUMENT', format('%s is no local node.', p_task ->> 'type'));
  end if;
  begin
    if v_type.function is null then
      v_outcome.output := case v_type.name when 'random' then engine.run_random(p_task -> 'properties') end;
    else
      v_outcome := engine.call_registered(
        engine.registered_function(v_type.name, v_type.function, 'local'),
        p_task -> 'properties', v_prev, jsonb_build_object('main', jsonb_build_array(v_prev))
      );
    end if;
  exception
    when others then
      get stacked diagnostics v_detail = pg_exception_detail;
      return jsonb_build_object('error', engine.error_of(sqlstate, sqlerrm, v_detail));
  end;
  v_problem := engine.value_problem(v_outcome.output);
  if v_problem is not null then
    return engine.blameless_error('TOO_LARGE', format('The output %s.', v_problem));
  end if;
  return jsonb_strip_nulls(jsonb_build_object('port', v_outcome.port))
    || jsonb_build_object('output', coalesce(v_outcome.output, 'null'));
end
$$;

comment on function engine.run_local(jsonb) is
  'For workers: runs the SQL of a local step, {"type", "properties", "input"}, in the caller''s transaction; returns {"port"?, "output"} or {"error"}. Example: select engine.run_local(''{"type": "random@1", "properties": {"kind": "number", "min": 1, "max": 6}}'');';

grant execute on function engine.run_local(jsonb) to flowgres_worker;

-- Returns the output of node random: a UUID, a secret of random bytes, or an integer. Fails with
-- INVALID_ARGUMENT when min is greater than max, or an expression has given what is no bound.
create or replace function engine.run_random(p_properties jsonb)
  returns jsonb
  language plpgsql
  volatile
as $$
declare
  v_low constant bigint := coalesce(engine.random_bound(p_properties, 'min'), 0);
  v_high constant bigint := coalesce(engine.random_bound(p_properties, 'max'), 2147483647);
begin
  if v_low > v_high then
    perform engine.node_failed('INVALID_ARGUMENT', 'min is greater than max');
  end if;
  return jsonb_build_object('value', case coalesce(p_properties ->> 'kind', 'uuid')
    when 'token' then to_jsonb(private.random_secret(coalesce((p_properties ->> 'bytes')::int, 32)))
    when 'number' then to_jsonb(engine.random_integer(v_low, v_high))
    else to_jsonb(gen_random_uuid())
  end);
end
$$;

-- Returns a bound of a random number; null when it is absent or null. Publishing checks a bound that
-- is written in the definition; one from an expression is checked here, with the same range.
create or replace function engine.random_bound(p_properties jsonb, p_name text)
  returns bigint
  language plpgsql
  immutable
as $$
declare
  v_value constant jsonb := nullif(p_properties -> p_name, 'null');
  v_most constant bigint := 9007199254740991; -- 2^53 - 1: every reader of JSON knows it exactly
  v_bound numeric;
begin
  if jsonb_typeof(v_value) = 'number' then
    v_bound := v_value::numeric;
  end if;
  if v_value is not null and (v_bound is null or v_bound <> trunc(v_bound) or abs(v_bound) > v_most) then
    perform engine.node_failed(
      'INVALID_ARGUMENT', format('%s is not a whole number from -%s to %s', p_name, v_most, v_most)
    );
  end if;
  return v_bound;
end
$$;

-- Returns an integer from p_low to p_high, which is not less, each as likely as any other, from the
-- random source of the operating system. Draws 64 bits, and again above the largest multiple of the
-- number of integers: any range takes less than two draws on average.
create or replace function engine.random_integer(p_low bigint, p_high bigint)
  returns bigint
  language plpgsql
  volatile
as $$
declare
  v_range constant numeric := 18446744073709551616; -- 2^64
  v_size constant numeric := p_high::numeric - p_low + 1;
  v_id bytea;
  v_drawn numeric;
begin
  loop
    -- Bytes 7 and 9 hold the version and the variant; the first one and the last seven are random.
    v_id := uuid_send(gen_random_uuid());
    v_drawn := ('x' || encode(substring(v_id from 1 for 1) || substring(v_id from 10), 'hex'))::bit(64)::bigint
      + v_range / 2;
    exit when v_drawn < v_range - mod(v_range, v_size);
  end loop;
  return p_low + mod(v_drawn, v_size);
end
$$;
