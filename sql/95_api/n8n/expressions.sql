-- kind: code
-- n8n's expressions are JavaScript. Those that have an equivalent with the same meaning are
-- translated; the others are reported as problems. p_places: the path of the item of each node, by
-- the node's name in n8n; the key '' holds the path of $json. Writes and locks nothing.

-- Translates `$json.order.total` to `$.prev.order.total`; null when it is more than a path.
create or replace function private.n8n_path(p_expression text, p_places jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_expression constant text := btrim(p_expression, E' \t\r\n');
  v_found text[];
  v_start text;
begin
  v_found := coalesce(
    regexp_match(v_expression, E'^\\$node\\["([^"]+)"\\]\\.json(.*)$', ''),
    regexp_match(v_expression, E'^\\$\\([''"]([^''"]+)[''"]\\)\\.(?:item|first\\(\\)|last\\(\\))\\.json(.*)$')
  );
  if v_found is not null then
    v_start := p_places ->> v_found[1];
  else
    v_found := coalesce(
      regexp_match(v_expression, E'^\\$input\\.(?:item|first\\(\\)|last\\(\\))(\\.json)(.*)$'),
      regexp_match(v_expression, E'^(\\$json|\\$vars|\\$execution\\.id|\\$workflow\\.id)(.*)$')
    );
    v_start := case v_found[1]
      when '$vars' then '$.vars'
      when '$execution.id' then case p_places ->> (chr(1) || 'child') when 'true' then null else '$.run.id' end
      when '$workflow.id' then case p_places ->> (chr(1) || 'child') when 'true' then null else '$.run.workflow' end
      else p_places ->> ''
    end;
  end if;
  if v_start is null or v_found[2] !~ E'^(\\??\\.[A-Za-z_]\\w*|\\["[^"\\\\]+"\\]|\\[''[^''"\\\\]+''\\]|\\[[0-9]+\\])*$'
    or v_found[2] ~ E'\\.length\\M' or v_found[1] in ('$execution.id', '$workflow.id') and v_found[2] <> ''
  then
    return null;
  end if;
  return v_start || regexp_replace(replace(v_found[2], '?.', '.'), E'\\[[''"]([^''"]+)[''"]\\]', E'."\\1"', 'g');
end
$$;

-- A number, a boolean, null or a quoted text, as JSON; null for anything else.
create or replace function private.n8n_literal(p_expression text)
  returns text
  language sql
  immutable
as $$
  select case
    when e.text ~ E'^(-?[0-9]{1,15}(\\.[0-9]{1,15})?|true|false|null)$' then e.text
    when e.text ~ E'^''[^''\\\\{}\\n]*''$|^"[^"\\\\{}\\n]*"$' then to_jsonb(substr(e.text, 2, length(e.text) - 2))::text
  end
  from (values (btrim(p_expression, E' \t\r\n'))) as e (text)
$$;

-- Translates a condition of `a ? b : c`: a comparison of a path with a literal by === or !==; by ==
-- and != only with texts that JavaScript does not read as numbers.
create or replace function private.n8n_comparison(p_expression text, p_places jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_found constant text[] := regexp_match(p_expression, E'^(.+?)\\s*(===|!==|==|!=)\\s*([^=].*)$');
  v_path constant text := private.n8n_path(v_found[1], p_places);
  v_literal constant text := private.n8n_literal(v_found[3]);
  v_equal text;
begin
  if v_path is null or v_literal is null or v_literal = 'null'
    or length(v_found[2]) = 2 and v_literal !~ E'^"\\s*[A-Za-z_]'
  then
    return null;
  end if;
  v_equal := format(
    '%1$s.type() == "%2$s" && %1$s == %3$s', v_path,
    jsonb_typeof(v_literal::jsonb), v_literal
  );
  return case left(v_found[2], 1) when '!' then format('!(%s)', v_equal) else v_equal end;
end
$$;

-- A path that finds the value of a key if JavaScript takes it for true, else nothing; null when the
-- path does not end with a key.
create or replace function private.n8n_truthy(p_path text)
  returns text
  language sql
  immutable
as $$
  select format(
    '%1$s ? (@%2$s.type() == "object" || @%2$s.type() == "array" || @%2$s == true || '
    '@%2$s.type() == "string" && @%2$s != "" || @%2$s.type() == "number" && @%2$s != 0)%2$s | first',
    p.found[1], p.found[2]
  )
  from regexp_match(p_path, E'^(\\$.*)(\\.\\w+|\\."[^"]+")$') as p (found)
  where p.found is not null
$$;

-- Translates an expression to what may stand between {{ and }} here: a path or a literal, with
-- filters after it.
create or replace function private.n8n_term(p_expression text, p_places jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_text constant text := btrim(p_expression, E' \t\r\n');
  v_simple constant text := coalesce(private.n8n_literal(v_text), private.n8n_path(v_text, p_places));
  v_found text[];
  v_other text;
begin
  if v_simple is not null or length(v_text) > 2000 then
    return v_simple;
  end if;
  v_found := regexp_match(v_text, E'^(.+?)\\s*\\?(?![.?])\\s*([^?:]+?)\\s*:\\s*([^?:]+)$');
  if v_found is not null then
    v_other := coalesce(private.n8n_literal(v_found[3]), private.n8n_path(v_found[3], p_places));
    return private.n8n_literal(v_found[2]) || ' ? (' || private.n8n_comparison(v_found[1], p_places)
      || ') | first | default(' || v_other || ')';
  end if;
  v_found := regexp_match(v_text, E'^(.+)(\\?\\?|\\|\\|)(.+)$');
  if v_found is not null then
    v_other := coalesce(private.n8n_literal(v_found[3]), private.n8n_path(v_found[3], p_places));
    return case v_found[2]
      when '??' then private.n8n_term(v_found[1], p_places)
      else private.n8n_truthy(private.n8n_path(v_found[1], p_places))
    end || ' | default(' || v_other || ')';
  end if;
  return coalesce(
    private.n8n_length(v_text, p_places), private.n8n_now(v_text, p_places), private.n8n_method(v_text, p_places)
  );
end
$$;

-- Translates a text of n8n, which is an expression when it begins with `=`; null when it has no
-- equivalent.
create or replace function private.n8n_expression(p_text text, p_places jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_part text;
  v_read int := 0;
  v_result text := '';
begin
  if p_text !~ '^=' then
    return replace(p_text, '{{', E'\\{{');
  end if;
  for v_part in
    select p.part[1]
    from regexp_matches(substr(p_text, 2), E'(\\{\\{(?:(?!\\}\\}).)*\\}\\}|(?:(?!\\{\\{).)+)', 'gs') as p (part)
  loop
    v_read := v_read + length(v_part);
    if v_part ~ E'^\\{\\{' then
      v_part := '{{ ' || private.n8n_term(substr(v_part, 3, length(v_part) - 4), p_places) || ' }}';
    end if;
    v_result := v_result || v_part;
  end loop;
  return case when v_read = length(p_text) - 1 then v_result end;
end
$$;

create or replace function private.n8n_expression_message(p_text text)
  returns text
  language sql
  immutable
as $$
  select format(
    case
      when p_text ~ E'\\$(now|today)\\M'
        then 'of $now, only whole units are added, and toISO, toISODate and toFormat with numbers are known here: %s'
      when p_text ~ E'JSON\\.stringify' then 'the filter json writes JSON with spaces, JSON.stringify without: %s'
      else 'the expression has no counterpart of the same meaning; write it anew: %s'
    end,
    left(p_text, 200)
  )
$$;

-- Translates any value of n8n to a template; a text that cannot be translated is kept unchanged.
create or replace function private.n8n_value(p_value jsonb, p_places jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case jsonb_typeof(p_value)
    when 'string' then to_jsonb(
      coalesce(private.n8n_expression(p_value #>> '{}', p_places), replace(p_value #>> '{}', '{{', E'\\{{'))
    )
    when 'array' then (
      select coalesce(jsonb_agg(private.n8n_value(e.value, p_places) order by e.place), '[]')
      from jsonb_array_elements(p_value) with ordinality as e (value, place)
    )
    when 'object' then (
      select coalesce(jsonb_object_agg(e.key, private.n8n_value(e.value, p_places)), '{}') from jsonb_each(p_value) as e
    )
    else p_value
  end
$$;

-- The problems of a value: expressions in it that cannot be translated, or not with the same
-- meaning in every case.
create or replace function private.n8n_value_problems(p_value jsonb, p_path text[], p_places jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(p.problem), '[]')
  from jsonb_path_query(p_value, 'strict $.** ? (@.type() == "string" && @ starts with "=")', '{}', true) as t (value)
  cross join lateral jsonb_array_elements(case
    when private.n8n_expression(t.value #>> '{}', p_places) is not null then private.n8n_remarks(t.value, p_path)
    else jsonb_build_array(private.n8n_problem(p_path, private.n8n_expression_message(t.value #>> '{}')))
  end) as p (problem)
$$;
