-- kind: code
-- Translates values of n8n's parameters that are JSON, or pairs of a name and a value. Writes and
-- locks nothing.

-- A text with JSON in it, which may hold expressions: {"value"}, or {} when it cannot be
-- translated. An expression inside a JSON text becomes part of that text; elsewhere its value keeps
-- its type.
create or replace function private.n8n_json(p_value jsonb, p_places jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
  v_inner constant text := (regexp_match(
    v_text, E'^=\\s*\\{\\{\\s*(?:JSON\\.stringify\\((.*)\\)|((?:(?!\\}\\}).)*))\\s*\\}\\}\\s*$'
  ))[1];
  v_whole constant text := coalesce(
    v_inner, (regexp_match(v_text, E'^=\\s*\\{\\{((?:(?!\\}\\}).)*)\\}\\}\\s*$'))[1]
  );
  v_part text;
  v_term text;
  v_json text := '';
begin
  if jsonb_typeof(p_value) in ('object', 'array') then
    return jsonb_build_object('value', private.n8n_value(p_value, p_places));
  elsif v_whole is not null then
    v_term := private.n8n_path(v_whole, p_places);
    return case when v_term is null then '{}' else jsonb_build_object('value', '{{ ' || v_term || ' }}') end;
  elsif v_text !~ '^=' then
    v_json := replace(v_text, '{{', E'\\\\{{');
  else
    for v_part in
      select p.part[1]
      from regexp_matches(substr(v_text, 2), E'(\\{\\{(?:(?!\\}\\}).)*\\}\\}|(?:(?!\\{\\{).)+)', 'gs') as p (part)
    loop
      if v_part ~ E'^\\{\\{' then
        v_term := private.n8n_term(substr(v_part, 3, length(v_part) - 4), p_places);
        v_part := case
          -- An odd number of quotes before the expression: it stands inside a JSON text.
          when length(regexp_replace(regexp_replace(v_json, E'\\\\.', '', 'g'), '[^"]', '', 'g')) % 2 = 1
            then btrim(to_jsonb('{{ ' || v_term || ' | join("") | default("") }}')::text, '"')
          else to_jsonb('{{ ' || v_term || ' }}')::text
        end;
      end if;
      v_json := v_json || v_part;
    end loop;
  end if;
  return case
    when engine.parse_json(v_json) is null then '{}'
    else jsonb_build_object('value', engine.parse_json(v_json))
  end;
end
$$;

-- Converts [{"name", "value"}, …] to an object; a name that occurs twice is a problem.
create or replace function private.n8n_pairs(
  p_pairs jsonb,
  p_path text[],
  p_places jsonb,
  out pairs jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_pair record;
begin
  pairs := '{}';
  problems := '[]';
  for v_pair in
    select p.pair ->> 'name' as name, p.pair -> 'value' as value, (p.place - 1)::text as place
    from jsonb_array_elements(case jsonb_typeof(p_pairs) when 'array' then p_pairs end)
      with ordinality as p (pair, place)
  loop
    if coalesce(v_pair.name, '') = '' or pairs ? v_pair.name then
      problems := problems || private.n8n_problem(
        p_path || array[v_pair.place, 'name'],
        case when v_pair.name <> '' then 'a name that comes twice has one value here' else 'a name is missing' end
      );
    else
      pairs := pairs || jsonb_build_object(
        v_pair.name, coalesce(private.n8n_value(v_pair.value, p_places), '""')
      );
    end if;
  end loop;
end
$$;
