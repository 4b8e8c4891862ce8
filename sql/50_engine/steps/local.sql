-- kind: code
-- Local nodes: SQL that reads, writes or is random. A worker runs it in a transaction of its own
-- under the time limit of the step, calls engine.complete_steps() with the result in the same
-- transaction, and commits when the result was recorded: what the SQL wrote and the success of the
-- step are there together, or neither is. A replay takes the result from the log. Writes and locks
-- what a registered function does. Nodes whose expressions are not cheap: see isolate.sql.

-- Returns {"port"?, "output"} or {"error"}. p_task: as begin_steps() returns it. An exception of
-- the function becomes the error, and what it wrote is undone. Raises conflicts with other
-- transactions again, for the worker to repeat the step; the time limit of the statement is not
-- caught either.
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
      v_outcome.output := engine.run_built_in(v_type.name, p_task);
    else
      -- What the function writes to watched tables is caused by this run.
      perform set_config('flowgres.cause', coalesce(p_task ->> 'runId', ''), true);
      v_outcome := engine.call_as_organization(
        (p_task ->> 'organizationId')::uuid, engine.registered_function(v_type.name, v_type.function, 'local'),
        p_task -> 'properties', v_prev
      );
    end if;
    if v_outcome.port <> all (v_type.ports) then
      perform engine.node_failed('UNKNOWN_PORT', format('The node has no port %L.', v_outcome.port));
    end if;
  exception
    when others then
      if private.is_transient(sqlstate) then
        raise;
      end if;
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
  'For workers: runs the SQL of a local step, {"type", "properties", "input", "organizationId"}, in the caller''s transaction, for that organization; returns {"port"?, "output"} or {"error"}. Example: select engine.run_local(''{"type": "random@1", "properties": {"kind": "number", "min": 1, "max": 6}}'');';

grant execute on function engine.run_local(jsonb) to flowgres_worker;

-- Returns the output of a local node that Flowgres has itself.
create or replace function engine.run_built_in(p_name text, p_task jsonb)
  returns jsonb
  language plpgsql
  volatile
as $$
begin
  return case p_name
    when 'random' then engine.run_random(p_task -> 'properties')
    when 'dataTable' then engine.run_data_table(
      (p_task ->> 'organizationId')::uuid, p_task -> 'properties', p_task -> 'input'
    )
  end;
end
$$;

-- Calls a registered function with a context, so that public.current_organization_id() and the
-- row-level security of application tables know the organization of the run. The context is a
-- session that no other transaction ever sees: it is deleted before this one commits. Without
-- p_organization_id, as when a DBA tries a node, the caller's own context stays.
create or replace function engine.call_as_organization(
  p_organization_id uuid,
  p_function regprocedure,
  p_properties jsonb,
  p_prev jsonb
)
  returns engine.outcome
  language plpgsql
  volatile
as $$
declare
  v_inputs constant jsonb := jsonb_build_object('main', jsonb_build_array(p_prev));
  v_before constant text := coalesce(current_setting('flowgres.session', true), '');
  v_hash bytea;
  v_outcome engine.outcome;
begin
  if p_organization_id is null then
    return engine.call_registered(p_function, p_properties, p_prev, v_inputs);
  end if;
  v_hash := private.hash_secret(private.random_secret(32));
  insert into private.sessions (token_hash, organization_id, expires_at)
  values (v_hash, p_organization_id, engine.now() + interval '1 day');
  perform set_config('flowgres.session', encode(v_hash, 'hex'), true);
  v_outcome := engine.call_registered(p_function, p_properties, p_prev, v_inputs);
  perform set_config('flowgres.session', v_before, true);
  delete from private.sessions as s where s.token_hash = v_hash;
  return v_outcome;
end
$$;

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
