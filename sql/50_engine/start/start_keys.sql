-- kind: code
-- The idempotency keys of starts. Writes engine.start_keys. Locks the keys by their insert, sorted
-- by organization, workflow and key; docs/reference/locks.md has the order of all locks.

-- Claims the idempotency keys of requests for engine.start_key_time(). A request whose key is claimed already
-- becomes a duplicate of that run if its fingerprint, or its input, is the same; else it gets the
-- error CONFLICT.
create or replace function engine.claim_keys(p_requests engine.start_request[], p_now timestamptz)
  returns engine.start_request[]
  language plpgsql
  volatile
as $$
declare
  v_request engine.start_request;
  v_hash bytea;
  v_holder engine.start_keys;
begin
  for v_place in 1 .. cardinality(p_requests) loop
    v_request := p_requests[v_place];
    if v_request.key is not null and v_request.error is null then
      v_hash := sha256(convert_to(coalesce(v_request.fingerprint, v_request.input::text), 'UTF8'));
      insert into engine.start_keys as k (organization_id, workflow_id, key, run_id, request_hash, expires_at)
      values (
        v_request.organization_id, v_request.workflow_id, v_request.key, v_request.run_id, v_hash,
        p_now + engine.start_key_time()
      )
      on conflict (organization_id, workflow_id, key) do update set
        run_id = case when k.expires_at < p_now then excluded.run_id else k.run_id end,
        request_hash = case when k.expires_at < p_now then excluded.request_hash else k.request_hash end,
        expires_at = case when k.expires_at < p_now then excluded.expires_at else k.expires_at end
      returning * into v_holder;
      if v_holder.run_id <> v_request.run_id then
        if v_holder.request_hash = v_hash then
          v_request.duplicate_of := v_holder.run_id;
        else
          v_request.error := engine.request_error(
            'CONFLICT', 'This idempotency key was used with another input.'
          );
        end if;
        p_requests[v_place] := v_request;
      end if;
    end if;
  end loop;
  return p_requests;
end
$$;

-- Frees the idempotency key of a start that was refused, so that it can be tried again. Returns the
-- run that no longer holds the key.
create or replace function engine.release_start_key(p_request engine.start_request)
  returns uuid
  language plpgsql
  volatile
as $$
begin
  if p_request.key is not null then
    delete from engine.start_keys as k
    where k.organization_id = p_request.organization_id
      and k.workflow_id = p_request.workflow_id
      and k.key = p_request.key
      and k.run_id = p_request.run_id;
  end if;
  return coalesce(p_request.duplicate_of, p_request.run_id);
end
$$;

-- Sets the key to the value in the input that says which requests are one, whatever else they say:
-- {"prefix", "path"}. A request without this value keeps its key.
create or replace function engine.derive_key(p_request engine.start_request, p_key_by jsonb)
  returns engine.start_request
  language plpgsql
  immutable
as $$
declare
  v_value constant text := nullif(engine.flow_key(p_key_by, p_request.input), 'null');
begin
  if v_value is not null then
    p_request.key := (p_key_by ->> 'prefix') || v_value;
    p_request.fingerprint := p_request.key;
  end if;
  return p_request;
end
$$;
