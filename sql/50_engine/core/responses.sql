-- kind: code
-- What a webhook answers with: the payload of run.responded, and the response and output that events hold. Writes and
-- locks nothing.

-- Returns the payload of run.responded; by default status 200, no headers, and what the node
-- received as body.
create or replace function engine.response_of(p_node text, p_properties jsonb, p_prev jsonb)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_build_object(
    'node', p_node,
    'status', coalesce(p_properties -> 'status', '200'),
    'headers', coalesce(p_properties -> 'headers', '{}'),
    'body', case when p_properties ? 'body' then p_properties -> 'body' else coalesce(p_prev, 'null') end
  )
$$;

-- Returns the response that a webhook waits for; null if the run has given none yet.
create or replace function engine.response_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
as $$
declare
  v_entry engine.log_entry;
begin
  foreach v_entry in array p_entries loop
    if v_entry.type = 'run.responded' then
      return v_entry.payload - 'node';
    end if;
  end loop;
  return null;
end
$$;

-- Returns the output of a run that has succeeded; null if it has not.
create or replace function engine.output_in(p_entries engine.log_entry[])
  returns jsonb
  language plpgsql
  immutable
  strict
as $$
declare
  v_last constant engine.log_entry := p_entries[cardinality(p_entries)];
  v_of constant text := v_last.payload ->> 'outputOf';
  v_entry engine.log_entry;
begin
  if v_last.type <> 'run.succeeded' then
    return null;
  elsif v_of is null then
    return v_last.payload -> 'output';
  elsif starts_with(v_of, '$') then
    return engine.referred_input(p_entries[1].payload, v_of);
  end if;
  foreach v_entry in array p_entries loop
    if v_entry.payload ->> 'node' = v_of and v_entry.payload ? 'output' then
      return v_entry.payload -> 'output';
    end if;
  end loop;
end
$$;
