-- kind: code
-- Resume addresses: a call of /resume/<token> ends the wait of one node, once, and the request
-- becomes its output. Tokens are not stored: engine.resume_token() computes them from the key of
-- the version, the run and the node.
-- Writes events, the row of the run, open steps and jobs through engine.consume_signal(). Locks the
-- row of the run, after it has checked token and method.

-- Keeps a call that comes before the run waits for it. p_request: {"method", "query", "headers",
-- "body"}.
create or replace function engine.resume_by_token(p_token text, p_request jsonb)
  returns uuid
  language plpgsql
  volatile
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now constant timestamptz := engine.now();
  v_run_id constant uuid := engine.run_of_token(p_token);
  v_loaded engine.loaded_run;
  v_node engine.compiled_node;
  v_methods jsonb;
  v_used jsonb;
begin
  if v_run_id is not null then
    v_node := engine.node_of_token(
      engine.compiled_version_of(engine.read_run(v_run_id)), v_run_id, p_token
    );
  end if;
  if v_node.id is null then
    perform private.raise_error('NOT_FOUND', 'No run waits at this address.');
  end if;
  v_methods := jsonb_path_query_array(coalesce(v_node.properties #> '{webhook,method}', '"POST"'), 'lax $[*]');
  if not v_methods ? (p_request ->> 'method') then
    perform private.raise_error('INVALID_ARGUMENT', format('This address takes %s.', array_to_string(
      array(select jsonb_array_elements_text(v_methods)), ', '
    )), null, jsonb_build_object('methods', v_methods));
  end if;
  perform engine.refuse_value(p_request -> 'body', 'The body');
  perform engine.refuse_value(p_request - 'body', 'The request');

  select l.* into v_loaded from engine.load_runs(array[v_run_id], v_now) as l;
  select jsonb_build_object('at', engine.iso_time(l.ts)) into v_used
  from unnest(v_loaded.log) as l
  where l.type = 'run.signaled'
    and l.payload ->> 'name' = engine.resume_signal(v_node.id);
  perform engine.refuse_late(coalesce(v_used, engine.first_outcome(v_loaded.log, v_node.id)));
  if (v_loaded.run).finished_at is not null
    or (engine.step_of(v_loaded.steps, v_node.id)).run_at <= v_now
  then
    perform private.raise_error('EXPIRED', 'The time for this is up.');
  end if;
  perform engine.refuse_large(v_loaded, p_request);
  perform engine.consume_signal(v_loaded, engine.resume_signal(v_node.id), p_request, null, v_now);
  return v_run_id;
end
$$;

comment on function engine.resume_by_token(text, jsonb) is
  'For the intake: resumes the run that a request to /resume/<token> is for, once; the request {"method", "query", "headers", "body"} becomes the output of the wait. Returns the id of the run. Errors: NOT_FOUND, INVALID_ARGUMENT (the address has other methods), TOO_LARGE, ALREADY_USED (details.first says when), EXPIRED. Example: select engine.resume_by_token(''AZ…'', ''{"method": "POST", "body": {}}'');';

grant execute on function engine.resume_by_token(text, jsonb) to flowgres_intake;

-- Returns the run that a token names in its first 16 bytes; null when p_token has not the form of a
-- token.
create or replace function engine.run_of_token(p_token text)
  returns uuid
  language plpgsql
  immutable
as $$
begin
  if p_token !~ '^[A-Za-z0-9_-]{54}$' then
    return null;
  end if;
  return encode(substring(decode(translate(p_token, '-_', '+/') || '==', 'base64') for 16), 'hex')::uuid;
end
$$;

-- Returns the wait node that a token is for; null when the version has no such node.
create or replace function engine.node_of_token(p_compiled engine.compiled_versions, p_run_id uuid, p_token text)
  returns engine.compiled_node
  language plpgsql
  immutable
as $$
declare
  v_node engine.compiled_node;
begin
  foreach v_node in array coalesce(p_compiled.nodes, '{}') loop
    if v_node.kind = 'wait' and v_node.properties ? 'webhook'
      and engine.resume_token(p_compiled.resume_key, p_run_id, v_node.id) = p_token
    then
      return v_node;
    end if;
  end loop;
  return null;
end
$$;
