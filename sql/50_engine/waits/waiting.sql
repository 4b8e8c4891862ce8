-- kind: code
-- What a node waits for and until when, from its properties alone. Writes and locks nothing.

-- Returns the payload of step.waiting. Raises INVALID_ARGUMENT for a name that is missing or
-- invalid.
create or replace function engine.waiting_payload(
  p_node engine.compiled_node,
  p_properties jsonb,
  p_at timestamptz
)
  returns jsonb
  language plpgsql
  stable
as $$
declare
  v_kind constant text := engine.wait_kind(p_node, p_properties);
  v_payload jsonb := jsonb_build_object('node', p_node.id, 'kind', v_kind);
  v_name text;
  v_until timestamptz;
begin
  if v_kind in ('run', 'forEach', 'repeat', 'signal') then
    v_name := p_properties ->> case v_kind when 'signal' then 'signal' else 'workflow' end;
    if v_name is null or v_name = '' or (v_kind = 'signal' and v_name !~ engine.signal_pattern()) then
      perform private.raise_error('INVALID_ARGUMENT', case v_kind
        when 'signal' then 'The name of a signal has 1 to 200 letters, digits, "_", "." and "-".'
        else 'workflow is the name or the id of a workflow.'
      end);
    end if;
    v_payload := v_payload || jsonb_build_object('name', v_name);
  end if;
  if v_kind = 'forEach' then
    v_payload := v_payload || jsonb_build_object('count', engine.item_count(p_properties));
  elsif v_kind in ('time', 'signal', 'webhook', 'approval') then
    v_until := engine.wait_until(v_kind, p_properties, p_at);
    if v_until is not null then
      v_payload := v_payload || jsonb_build_object('until', engine.iso_time(v_until));
    end if;
  end if;
  return v_payload;
end
$$;

-- Returns how a step waits: time, signal, webhook or approval; for child runs run, forEach or
-- repeat.
create or replace function engine.wait_kind(p_node engine.compiled_node, p_properties jsonb)
  returns text
  language sql
  immutable
as $$
  select case split_part(p_node.type, '@', 1)
    when 'executeWorkflow' then 'run'
    when 'forEach' then 'forEach'
    when 'repeat' then 'repeat'
    else case
      when p_properties ? 'signal' then 'signal'
      when p_properties ? 'webhook' then 'webhook'
      when p_properties ? 'approval' then 'approval'
      else 'time'
    end
  end
$$;

-- Returns when a wait ends by itself: at the time `until`, after `seconds`, or after
-- `timeoutSeconds`; null: never. A wait for a webhook ends after a week by default, because anybody
-- can call its address. Raises INVALID_ARGUMENT for a time that cannot be read or is more than 5
-- years ahead.
create or replace function engine.wait_until(p_kind text, p_properties jsonb, p_at timestamptz)
  returns timestamptz
  language plpgsql
  stable
as $$
declare
  v_until timestamptz;
begin
  if p_kind = 'time' and p_properties ? 'until' then
    v_until := engine.parse_instant(p_properties -> 'until', coalesce(p_properties ->> 'timezone', 'UTC'));
  else
    begin
      v_until := p_at + make_interval(secs => coalesce(
        p_properties ->> case p_kind when 'time' then 'seconds' else 'timeoutSeconds' end,
        case p_kind when 'webhook' then '604800' end
      )::double precision);
    exception
      when data_exception then
        v_until := null;
    end;
    if v_until is null and p_kind <> 'time' and coalesce(p_properties -> 'timeoutSeconds', 'null') = 'null' then
      return null;
    end if;
  end if;
  if v_until is null then
    perform private.raise_error(
      'INVALID_ARGUMENT',
      'A wait needs a time such as 2026-11-21T12:00:00Z, with a time zone that exists, or a number of seconds.'
    );
  elsif v_until > p_at + interval '5 years' then
    perform private.raise_error('INVALID_ARGUMENT', 'A wait ends within the next five years.');
  end if;
  return v_until;
end
$$;

-- Returns how many items a forEach has. Raises NOT_A_LIST, or TOO_MANY_ITEMS for more than maxItems
-- (1,000 by default).
create or replace function engine.item_count(p_properties jsonb)
  returns int
  language plpgsql
  stable
as $$
declare
  v_most constant int := coalesce((p_properties ->> 'maxItems')::int, 1000);
  v_count int;
begin
  if jsonb_typeof(p_properties -> 'items') is distinct from 'array' then
    perform engine.node_failed('NOT_A_LIST', format(
      'items is not a list: %s', left((p_properties -> 'items')::text, 100)
    ));
  end if;
  v_count := jsonb_array_length(p_properties -> 'items');
  if v_count > v_most then
    perform engine.node_failed('TOO_MANY_ITEMS', format('There are %s items, but at most %s.', v_count, v_most));
  end if;
  return v_count;
end
$$;

-- Returns when a waiting step goes on by itself; null: never. A step with child runs goes on at
-- once, to start them.
create or replace function engine.wait_run_at(p_payload jsonb, p_at timestamptz)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_payload ->> 'kind' in ('run', 'forEach', 'repeat') then p_at
    else (p_payload ->> 'until')::timestamptz
  end
$$;
