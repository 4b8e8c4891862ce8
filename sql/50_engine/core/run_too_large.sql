-- kind: code
-- The event that ends a run whose log is larger than engine.max_run_bytes(). Writes and locks nothing.

-- Returns the event that ends a run whose log is too large. Like DEADLINE it names no node, so a
-- replay takes it from the log.
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
