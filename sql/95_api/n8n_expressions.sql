-- kind: code
-- n8n's expressions are JavaScript; those that only take a value from somewhere become paths.
-- p_places: the path of each node by its name in n8n; p_prev: the path of $json.

-- `$json.order.total` as `$.prev.order.total`; null for what is more than a path.
create or replace function private.n8n_path(p_expression text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_expression constant text := btrim(p_expression);
  v_found text[];
  v_start text;
begin
  v_found := regexp_match(v_expression, '^\$node\["([^"]+)"\]\.json(.*)$');
  if v_found is null then
    v_found := regexp_match(v_expression, '^\$\([''"]([^''"]+)[''"]\)\.(?:item|first\(\)|last\(\))\.json(.*)$');
  end if;
  if v_found is not null then
    v_start := p_places ->> v_found[1];
  else
    v_found := regexp_match(v_expression, '^(\$json|\$vars|\$execution\.id|\$workflow\.id)(.*)$');
    v_start := case v_found[1]
      when '$json' then p_prev
      when '$vars' then '$.vars'
      when '$execution.id' then '$.run.id'
      when '$workflow.id' then '$.run.workflow'
    end;
  end if;
  if v_start is null or v_found[2] !~ '^(\.[A-Za-z_]\w*|\["[^"\\]+"\]|\[''[^''"\\]+''\]|\[\d+\])*$' then
    return null;
  end if;
  return v_start || regexp_replace(v_found[2], '\[[''"]([^''"]+)[''"]\]', '."\1"', 'g');
end
$$;

-- A text of n8n, an expression when it begins with `=`, as one of ours; null when it cannot be one.
create or replace function private.n8n_expression(p_text text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_part text;
  v_path text;
  v_result text := '';
begin
  if p_text !~ '^=' then
    return replace(p_text, '{{', '\{{');
  end if;
  for v_part in
    select p.part[1] from regexp_matches(substr(p_text, 2), '(\{\{.*?\}\}|(?:(?!\{\{).)+)', 'gs') as p (part)
  loop
    if v_part ~ '^\{\{' then
      v_path := private.n8n_path(substr(v_part, 3, length(v_part) - 4), p_places, p_prev);
      v_part := '{{ ' || v_path || ' }}';
    end if;
    v_result := v_result || v_part;
  end loop;
  return v_result;
end
$$;

-- The same for any value; what cannot be an expression stays the text it was.
create or replace function private.n8n_value(p_value jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select case jsonb_typeof(p_value)
    when 'string' then to_jsonb(
      coalesce(
        private.n8n_expression(p_value #>> '{}', p_places, p_prev), replace(p_value #>> '{}', '{{', '\{{')
      )
    )
    else p_value
  end
$$;

-- [{"name", "value"}, …], also as "key" or "displayName" have it, as an object.
create or replace function private.n8n_pairs(p_pairs jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_object_agg(p.pair ->> 'name', private.n8n_value(p.pair -> 'value', p_places, p_prev)), '{}')
  from jsonb_path_query(p_pairs, 'lax $[*] ? (@.name.type() == "string" && exists (@.value))') as p (pair)
$$;

-- One side of a condition: a path, or a literal.
create or replace function private.n8n_operand(p_value jsonb, p_type text, p_places jsonb, p_prev text)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
  v_inner constant text := (regexp_match(v_text, '^=\s*\{\{([^{}]*)\}\}\s*$'))[1];
begin
  return case
    when v_inner is not null then private.n8n_path(v_inner, p_places, p_prev)
    when v_text ~ '^=' then null
    when p_type in ('number', 'boolean') and v_text ~ '^(-?\d+(\.\d+)?|true|false)$' then v_text
    else p_value::text
  end;
end
$$;

create or replace function private.n8n_condition(p_left text, p_operation text, p_right text)
  returns text
  language sql
  immutable
as $$
  select case
    when p_operation in ('equals', 'equal') then format('%s == %s', p_left, p_right)
    when p_operation in ('notEquals', 'notEqual') then format('%s != %s', p_left, p_right)
    when p_operation in ('gt', 'larger', 'after') then format('%s > %s', p_left, p_right)
    when p_operation in ('lt', 'smaller', 'before') then format('%s < %s', p_left, p_right)
    when p_operation in ('gte', 'largerEqual') then format('%s >= %s', p_left, p_right)
    when p_operation in ('lte', 'smallerEqual') then format('%s <= %s', p_left, p_right)
    when p_operation = 'startsWith' and p_right ~ '^"' then format('%s starts with %s', p_left, p_right)
    when p_operation = 'contains' and p_right ~ '^"' then format('%s like_regex %s flag "q"', p_left, p_right)
    when p_operation = 'true' then format('%s == true', p_left)
    when p_operation = 'false' then format('%s == false', p_left)
    when p_operation in ('exists', 'notEmpty', 'isNotEmpty') then format('exists (%s ? (@ != null && @ != ""))', p_left)
    when p_operation in ('notExists', 'empty', 'isEmpty') then format('!exists (%s ? (@ != null && @ != ""))', p_left)
  end
$$;
