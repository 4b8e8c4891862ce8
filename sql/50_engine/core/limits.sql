-- kind: code
-- Limits of a run. Constants of the engine: docs/reference/security.md has each of them beside its test.

-- How many bytes of outputs, inputs, signals and errors the log of a run may hold, uncompressed: 64 MiB. A run that has
-- more ends with RUN_TOO_LARGE.
create or replace function engine.max_run_bytes()
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select 67108864::bigint
$$;

-- How many bytes an output has at most that stands in its event even though an event before it has the same value.
create or replace function engine.max_repeated_bytes()
  returns int
  language sql
  immutable
  parallel safe
as $$
  select 512
$$;

-- How many bytes the live values at all inputs of one node have together at most: 16 MiB.
create or replace function engine.max_inputs_bytes()
  returns bigint
  language sql
  immutable
  parallel safe
as $$
  select 16777216::bigint
$$;

-- Ends a run whose log has grown too large. Like DEADLINE it names no node: a replay takes it from the log.
create or replace function engine.run_too_large(p_seq int, p_ts timestamptz, p_limit bigint)
  returns engine.log_entry
  language sql
  stable
as $$
  select row(
    p_seq, p_ts, 'run.failed', jsonb_build_object('error', jsonb_build_object(
      'code', 'RUN_TOO_LARGE',
      'message', format('The values in the log of a run have at most %s bytes together.', p_limit),
      'retryable', false,
      'details', jsonb_build_object(
        'limit', p_limit,
        'hint', 'Keep large data in a store and pass its address on, or split the work into child runs.'
      )
    ))
  )::engine.log_entry
$$;
-- How long a run may go on in one transaction before it gives way to others: 50 ms, or the
-- server's setting flowgres.advance_time.
create or replace function engine.advance_time()
  returns interval
  language sql
  stable
as $$
  select coalesce(nullif(current_setting('flowgres.advance_time', true), ''), '50 ms')::interval
$$;
