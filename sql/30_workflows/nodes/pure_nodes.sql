-- kind: code
-- What the built-in pure nodes compute from their resolved properties. Each function depends on its
-- arguments alone; an error that it raises is a failure of the node. Writes and locks nothing.

-- The JSON in a text; null when the text is no JSON, or a value that is not allowed as the value of
-- a key.
create or replace function engine.parse_json(p_text text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  -- 63 levels: the value will stand one level deeper, as the value of a key.
  return case when engine.value_problem(p_text::jsonb, 63) is null then p_text::jsonb end;
exception
  when data_exception or program_limit_exceeded then
    return null;
end
$$;

-- Converts a value to a type of `set`; SQL null when that is not possible.
create or replace function engine.convert(p_value jsonb, p_type text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_value = 'null' then
    return p_value;
  end if;
  return case p_type
    when 'text' then to_jsonb(engine.text_of(p_value))
    when 'number' then engine.filter_number(p_value)
    when 'integer' then case
      when engine.filter_number(p_value) #>> '{}' ~ E'^-?[0-9]+(\\.0*)?$' then engine.filter_round(p_value, 0)
    end
    when 'boolean' then case
      when jsonb_typeof(p_value) = 'boolean' then p_value
      when lower((p_value #>> '{}') collate "C") in ('true', 'yes', 'on', '1') then 'true'
      when lower((p_value #>> '{}') collate "C") in ('false', 'no', 'off', '0') then 'false'
    end
    when 'json' then case
      when jsonb_typeof(p_value) = 'string' then engine.parse_json(p_value #>> '{}')
      else p_value
    end
  end;
end
$$;

-- Raises the error that fails a node with this code.
create or replace function engine.node_failed(p_code text, p_message text)
  returns void
  language sql
  immutable
as $$
  select private.raise_error('NODE_FAILED', p_message, null, jsonb_build_object('code', p_code))
$$;

-- Applies pick and omit, then rename, then assign, then types. A value that is no object counts as
-- an empty object.
create or replace function engine.run_set(p_properties jsonb, p_prev jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_object jsonb := case when jsonb_typeof(p_prev) = 'object' then p_prev else '{}' end;
  v_key text;
  v_value jsonb;
begin
  if p_properties ? 'pick' then
    v_object := coalesce((
      select jsonb_object_agg(k.key, v_object -> k.key)
      from jsonb_array_elements_text(p_properties -> 'pick') as k (key)
      where v_object ? k.key
    ), '{}');
  end if;
  if p_properties ? 'omit' then
    v_object := v_object - array(select jsonb_array_elements_text(p_properties -> 'omit'));
  end if;
  if p_properties ? 'rename' then
    v_object := coalesce((
      -- If names collide, a renamed key replaces one that was not renamed, and of several renamed
      -- keys the one whose old name sorts last remains.
      select jsonb_object_agg(
        coalesce(r.name, o.key), o.value order by r.name is not null, o.key collate "C"
      )
      from jsonb_each(v_object) as o
      cross join lateral (values (p_properties -> 'rename' ->> o.key)) as r (name)
    ), '{}');
  end if;
  v_object := v_object || coalesce(p_properties -> 'assign', '{}');
  for v_key in select jsonb_object_keys(p_properties -> 'types') loop
    if v_object ? v_key then
      v_value := engine.convert(v_object -> v_key, p_properties -> 'types' ->> v_key);
      if v_value is null then
        perform engine.node_failed('CONVERSION_FAILED', format(
          '%s is not a %s: %s', v_key, p_properties -> 'types' ->> v_key, left((v_object -> v_key)::text, 100)
        ));
      end if;
      v_object := jsonb_set(v_object, array[v_key], v_value);
    end if;
  end loop;
  return v_object;
end
$$;

-- The port of the first rule that matches: `when` is true, and `equals`, where given, is the value.
create or replace function engine.switch_port(p_properties jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_rule jsonb;
begin
  for v_place in 0 .. jsonb_array_length(p_properties -> 'rules') - 1 loop
    v_rule := p_properties -> 'rules' -> v_place;
    if coalesce(v_rule -> 'when', 'true') = 'true'
      and (not v_rule ? 'equals' or v_rule -> 'equals' = coalesce(p_properties -> 'value', 'null'))
    then
      return coalesce(v_rule ->> 'port', v_place::text);
    end if;
  end loop;
  return coalesce(p_properties ->> 'fallback', 'fallback');
end
$$;

-- Keeps the items whose place in `when`, which by now is a list of true and false, is true.
create or replace function engine.run_filter(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_when constant jsonb := p_properties -> 'when'; -- read once: it is as long as the items
begin
  if p_properties -> 'items' = 'null' then
    return '[]';
  elsif jsonb_typeof(p_properties -> 'items') <> 'array' then
    perform engine.node_failed('NOT_A_LIST', format(
      'items is not a list: %s', left((p_properties -> 'items')::text, 100)
    ));
  end if;
  return (
    select coalesce(jsonb_agg(i.item order by i.place), '[]')
    from jsonb_array_elements(p_properties -> 'items') with ordinality as i (item, place)
    where case jsonb_typeof(v_when)
      when 'array' then v_when -> (i.place - 1)::int = 'true'
      else v_when = 'true'
    end
  );
end
$$;

-- Fails the node for the first header that HTTP cannot send; leaving it out would hide the mistake.
create or replace function engine.check_response_headers(p_headers jsonb)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_header record;
begin
  if jsonb_typeof(p_headers) <> 'object' then
    perform engine.node_failed('INVALID_RESPONSE', 'headers is not an object of texts by name');
  end if;
  for v_header in select h.key, h.value, h.value #>> '{}' as text from jsonb_each(p_headers) as h loop
    if v_header.key !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' then
      perform engine.node_failed('INVALID_RESPONSE', format('%L is no name of a header', left(v_header.key, 100)));
    elsif jsonb_typeof(v_header.value) not in ('string', 'number', 'boolean') then
      perform engine.node_failed('INVALID_RESPONSE', format(
        'the header %s is neither a text nor a number: %s', v_header.key, left(v_header.value::text, 100)
      ));
    elsif v_header.text !~ E'^[\\t\\x20-\\x7e\\u0080-\\u00ff]*$' then
      perform engine.node_failed('INVALID_RESPONSE', format(
        'the header %s has characters that headers cannot carry; percent-encode them', v_header.key
      ));
    end if;
  end loop;
end
$$;

-- Checks status, headers and body, and passes the input on. The engine reads the answer itself from
-- the properties.
create or replace function engine.run_respond(p_properties jsonb, p_prev jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  if p_properties ? 'status' and coalesce(p_properties ->> 'status', '') !~ '^[2-5][0-9][0-9]$' then
    perform engine.node_failed('INVALID_RESPONSE', format(
      'status is not a number from 200 to 599: %s', left((p_properties -> 'status')::text, 100)
    ));
  elsif p_properties ? 'headers' then
    perform engine.check_response_headers(p_properties -> 'headers');
  end if;
  perform engine.refuse_size(p_properties -> 'body', 'The body');
  return p_prev;
end
$$;

create or replace function engine.run_stop_and_error(p_properties jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  perform private.raise_error(
    'NODE_FAILED',
    coalesce(nullif(left(p_properties ->> 'message', engine.max_text_length()), ''), 'The workflow was stopped.'),
    null,
    jsonb_build_object('code', coalesce(p_properties ->> 'code', 'STOPPED'))
  );
  return null;
end
$$;
