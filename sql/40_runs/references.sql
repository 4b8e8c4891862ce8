-- kind: code
-- Reads outputs that an event refers to instead of holding them. Its key outputOf names the node
-- whose event holds the value, or $.input or $.input.body, which run.created holds. Writes and
-- locks nothing.

-- Returns the output of an event of a run. p_to: when the run ended, or a later time.
create or replace function engine.output_of_event(p_payload jsonb, p_run_id uuid, p_to timestamptz)
  returns jsonb
  language plpgsql
  stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if p_payload ? 'outputOf' then
    return engine.referred_output(p_payload ->> 'outputOf', p_run_id, p_to);
  end if;
  return p_payload -> 'output';
end
$$;

-- Returns the value that p_of names. A custom query plan prunes partitions by the bounds, as in
-- run_events.sql.
create or replace function engine.referred_output(p_of text, p_run_id uuid, p_to timestamptz)
  returns jsonb
  language plpgsql
  stable
  set plan_cache_mode = force_custom_plan
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_from constant timestamptz := engine.uuid_time(p_run_id) - interval '1 day';
  v_to constant timestamptz := p_to + interval '1 day';
begin
  return (
    select case p_of
      when '$.input' then e.payload -> 'input'
      when '$.input.body' then e.payload #> '{input,body}'
      else e.payload -> 'output'
    end
    from public.workflow_events as e
    where e.run_id = p_run_id
      and e.ts >= v_from
      and e.ts < v_to
      and case
        when starts_with(p_of, '$') then e.seq = 1
        else e.type in ('step.succeeded', 'step.reused') and e.payload ->> 'node' = p_of
      end
  );
end
$$;

comment on function engine.output_of_event(jsonb, uuid, timestamptz) is
  'The output that an event of a run holds or refers to; reads events with the rights of the caller. Example: select engine.output_of_event(e.payload, e.run_id, now()) from get_workflow_run_events(''0190…'') as e where e.type = ''step.succeeded'';';

grant execute on function
  engine.output_of_event(jsonb, uuid, timestamptz), engine.referred_output(text, uuid, timestamptz)
  to flowgres_user, flowgres_dba;
