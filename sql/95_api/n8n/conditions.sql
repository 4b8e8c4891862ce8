-- kind: code
-- Translates conditions of n8n's if, filter and switch to predicates. In n8n a value of another type than that of the
-- comparison fails the node. Here the node is strict, and the predicate then compares `0 == ""`, which is unknown and
-- so fails it too. Writes and locks nothing.

-- One condition; null when no predicate means the same. p_first: its version is 1, whose rules are looser.
create or replace function private.n8n_condition(
  p_left jsonb,
  p_type text,
  p_operation text,
  p_right jsonb,
  p_ignore_case boolean,
  p_loose boolean,
  p_first boolean,
  p_places jsonb
)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_path constant text := private.n8n_operand(p_left, p_type, p_places) ->> 'path';
  v_right constant jsonb := private.n8n_operand(
    p_right, case when p_operation ~ '^length' then 'number' else p_type end, p_places
  );
begin
  return case
    when v_path is null then null
    when p_first and p_operation = 'isEmpty' then format(
      '(!(%1$s.type() != "null") || %1$s.type() == "string" && %1$s == "" || '
      '%1$s.type() == "array" && %1$s.size() == 0 || %1$s.type() == "object" && !exists(%1$s.keyvalue()))', v_path
    )
    when p_first and p_operation = 'isNotEmpty' then '!' || private.n8n_condition(
      p_left, p_type, 'isEmpty', p_right, false, false, true, p_places
    )
    when p_operation in ('exists', 'notExists', 'empty', 'notEmpty', 'true', 'false') or p_type in ('boolean', 'array')
      then private.n8n_other_condition(v_path, p_type, p_operation, v_right, p_loose)
    when p_type = 'string'
      then private.n8n_text_condition(v_path, p_operation, v_right, p_ignore_case, p_loose, p_first)
    when p_type = 'number' then private.n8n_number_condition(v_path, p_operation, v_right, p_loose)
  end;
end
$$;

-- One side of a condition: {"path"} or {"value"}; null when it is neither a path nor a literal.
create or replace function private.n8n_operand(p_value jsonb, p_type text, p_places jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
  v_inner constant text := (regexp_match(v_text, E'^=\\s*\\{\\{(.*)\\}\\}\\s*$'))[1];
  v_literal text;
begin
  if v_text ~ '^=' then
    v_literal := private.n8n_literal(v_inner);
    if v_literal is null then
      return case when private.n8n_path(v_inner, p_places) is not null then
        jsonb_build_object('path', private.n8n_path(v_inner, p_places))
      end;
    end if;
  end if;
  v_literal := coalesce(v_literal, v_text);
  return jsonb_build_object('value', case
    when p_type = 'number' and v_literal ~ E'^-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?$'
      then to_jsonb(v_literal::numeric)
    when p_type = 'boolean' and v_literal in ('true', 'false') then v_literal::jsonb
    when p_type in ('string', 'array') and v_text !~ '^=' and jsonb_typeof(p_value) in ('string', 'number')
      then to_jsonb(v_text)
    when p_type in ('string', 'array') and v_text ~ '^=' and v_literal ~ '^"' then v_literal::jsonb
  end);
end
$$;

-- p_comparison for a value of p_type. A missing value or null gives p_missing; a value of another type gives p_other,
-- and fails the strict node where p_other is null.
create or replace function private.n8n_typed(
  p_path text,
  p_type text,
  p_comparison text,
  p_missing boolean,
  p_other boolean default null
)
  returns text
  language sql
  immutable
as $$
  select '(' || format('%1$s.type() == "%2$s" && ', p_path, p_type) || p_comparison
    || case when p_missing then format(' || !(%s.type() != "null")', p_path) else '' end
    || case
      when p_other is null then format(
        ' || %1$s.type() != "%2$s" && %1$s.type() != "null" && 0 == ""', p_path, p_type
      )
      when p_other then format(' || %1$s.type() != "%2$s" && %1$s.type() != "null"', p_path, p_type)
      else ''
    end || ')'
$$;

create or replace function private.n8n_text_condition(
  p_path text,
  p_operation text,
  p_right jsonb,
  p_ignore_case boolean,
  p_loose boolean,
  p_first boolean
)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_not constant boolean := p_operation ~ '^not[A-Z]';
  v_operation constant text := case
    when p_operation in ('equal', 'equals', 'notEqual', 'notEquals') then 'equals'
    when v_not then lower(substr(p_operation, 4, 1) collate "C") || substr(p_operation, 5)
    else p_operation
  end;
  v_text constant text := p_right ->> 'value';
  v_literal constant text := (p_right -> 'value')::text;
  v_regex constant text := regexp_replace(v_text, E'([][\\\\^$.|?*+(){}])', E'\\\\\\1', 'g');
  v_positive text;
begin
  if p_right ? 'path' and v_operation = 'equals' and not p_ignore_case and not p_loose and not p_first then
    -- n8n compares a missing value on either side as an empty text.
    v_positive := format(
      '(%1$s == %2$s || !exists(%1$s ? (@ != null && @ != "")) && !exists(%2$s ? (@ != null && @ != "")))',
      p_path, p_right ->> 'path'
    );
    return case when v_not then '!' else '' end || v_positive;
  elsif v_text is null or p_loose and v_text ~ E'^\\s*([-+.0-9\\[{]|true|false|null)' then
    return null;
  elsif v_text = '' and v_operation <> 'equals' then
    return null;
  end if;
  v_positive := case
    when v_operation = 'equals' and not p_ignore_case then format('%s == %s', p_path, v_literal)
    when v_operation = 'startsWith' and not p_ignore_case then format('%s starts with %s', p_path, v_literal)
    when v_operation in ('equals', 'startsWith', 'endsWith', 'contains') then format(
      '%s like_regex %s%s', p_path,
      to_jsonb(
        case when v_operation in ('equals', 'startsWith') then '^' else '' end || v_regex
        || case when v_operation in ('equals', 'endsWith') then '$' else '' end
      ),
      case when p_ignore_case then ' flag "i"' else '' end
    )
  end;
  return private.n8n_typed(
    p_path, 'string', case when v_not then '!(' || v_positive || ')' else v_positive end,
    (v_operation = 'equals' and v_text = '') <> v_not,
    case when p_loose or p_first and v_operation = 'equals' then v_not end
  );
end
$$;

create or replace function private.n8n_number_condition(p_path text, p_operation text, p_right jsonb, p_loose boolean)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_sign constant text := case
    when p_operation in ('equals', 'equal') then '=='
    when p_operation in ('notEquals', 'notEqual') then '!='
    when p_operation in ('gt', 'larger') then '>'
    when p_operation in ('lt', 'smaller') then '<'
    when p_operation in ('gte', 'largerEqual') then '>='
    when p_operation in ('lte', 'smallerEqual') then '<='
  end;
  v_right constant text := p_right ->> 'value';
  v_zero boolean;
begin
  if v_sign is null or jsonb_typeof(p_right -> 'value') is distinct from 'number' then
    return null;
  end if;
  -- JavaScript compares null as 0; a missing value is neither larger nor smaller than anything.
  v_zero := case v_sign
    when '>' then 0 > v_right::numeric when '<' then 0 < v_right::numeric
    when '>=' then 0 >= v_right::numeric when '<=' then 0 <= v_right::numeric
    else false
  end;
  return '(' || private.n8n_typed(
      p_path, 'number', format('%s %s %s', p_path, v_sign, v_right), v_sign = '!=', case when p_loose then false end
    )
    || case when p_loose then ' || ' || private.n8n_typed(
      p_path, 'string', format('%s.double() %s %s', p_path, v_sign, v_right), false,
      false
    ) || format(
      ' || (%1$s.type() == "boolean" || %1$s.type() == "array" || %1$s.type() == "object") && 0 == ""', p_path
    )
    else '' end
    || case when v_zero then format(' || %s == null', p_path) else '' end || ')';
end
$$;

-- Conditions without a right operand, and those of booleans, lists and objects.
create or replace function private.n8n_other_condition(
  p_path text,
  p_type text,
  p_operation text,
  p_right jsonb,
  p_loose boolean
)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_empty constant text := case p_type
    when 'string' then format('%s == ""', p_path)
    when 'array' then format('%s.size() == 0', p_path)
    when 'object' then format('!exists(%s.keyvalue())', p_path)
  end;
  v_size constant text := case p_operation
    when 'lengthEquals' then '==' when 'lengthNotEquals' then '!=' when 'lengthGt' then '>'
    when 'lengthLt' then '<' when 'lengthGte' then '>=' when 'lengthLte' then '<='
  end;
  v_is constant boolean := case p_operation
    when 'true' then true when 'false' then false
    when 'equals' then (p_right ->> 'value')::boolean when 'equal' then (p_right ->> 'value')::boolean
    when 'notEquals' then not (p_right ->> 'value')::boolean when 'notEqual' then not (p_right ->> 'value')::boolean
  end;
begin
  return case
    when p_operation = 'exists' then format('%s.type() != "null"', p_path)
    when p_operation = 'notExists' then format('!(%s.type() != "null")', p_path)
    when p_operation = 'empty' and v_empty is not null and not p_loose
      then private.n8n_typed(p_path, p_type, v_empty, true)
    when p_operation = 'notEmpty' and v_empty is not null and not p_loose
      then private.n8n_typed(p_path, p_type, '!(' || v_empty || ')', false)
    when p_operation = 'empty' and p_type in ('number', 'boolean') and not p_loose
      then private.n8n_typed(p_path, p_type, '1 == 2', true)
    when p_operation = 'notEmpty' and p_type in ('number', 'boolean') and not p_loose
      then private.n8n_typed(p_path, p_type, '1 == 1', false)
    when p_type = 'boolean' and not p_loose and v_is is not null then private.n8n_typed(
      p_path, 'boolean', format('%s == %s', p_path, v_is::text), p_operation in ('false', 'notEquals', 'notEqual')
    )
    when p_type = 'array' and v_size is not null and not p_loose and jsonb_typeof(p_right -> 'value') = 'number'
      then private.n8n_typed(
        p_path, 'array', format('%s.size() %s %s', p_path, v_size, p_right ->> 'value'),
        jsonb_path_match('0', format('$ %s %s', v_size, p_right ->> 'value')::jsonpath) -- no value: no items
      )
    when p_type <> 'array' or p_loose or jsonb_typeof(p_right -> 'value') is distinct from 'string' then null
    when p_operation = 'contains'
      then private.n8n_typed(p_path, 'array', format('exists(%s[*] ? (@ == %s))', p_path, p_right -> 'value'), false)
    when p_operation = 'notContains'
      then private.n8n_typed(p_path, 'array', format('!exists(%s[*] ? (@ == %s))', p_path, p_right -> 'value'), true)
  end;
end
$$;
