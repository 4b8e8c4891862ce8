-- kind: code
-- What operators give, from what is known of their operands; see values.sql. Writes and locks
-- nothing.

-- What + - * / % give: a number, or nothing with the cause.
create or replace function engine.arithmetic_value(p_left jsonb, p_right jsonb, p_operator text, p_at int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_problem text;
begin
  if p_left ->> 'of' = '' then
    return p_left;
  elsif p_right ->> 'of' = '' then
    return p_right;
  end if;
  v_problem := coalesce(
    engine.operand_problem(p_left, p_operator),
    engine.operand_problem(p_right, p_operator),
    case when p_operator in ('/', '%') and p_right -> 'values' = '[0]' then 'a division by zero is nothing' end
  );
  return case
    when v_problem is null then '{"of": "n"}'
    else engine.nothing_found('{}', p_at, v_problem)
  end;
end
$$;

-- Why an operand of + - * / % is never a single number; null when it may be one.
create or replace function engine.operand_problem(p_value jsonb, p_operator text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_value ? 'many'
      then format('%s takes one number on either side, and [*] gives a list: compute in a node that goes through it, '
        'or name one item', p_operator)
    when p_value ->> 'of' ~ '[na]' then null
    when p_operator = '+' and p_value ->> 'of' ~ '^[slz]+$' and p_value ->> 'of' <> 'z'
      then '+ adds numbers: texts are joined by writing one after the other, as in {{ $.prev.a }} {{ $.prev.b }}'
    else format('%s cannot be computed of %s', p_operator, engine.kind_name(p_value ->> 'of'))
  end
$$;

-- What a comparison may see of a value: the items of lists instead of the lists.
create or replace function engine.compared_kinds(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_value ->> 'of' ~ 'a' then 'zbnsao'
    when p_value ->> 'of' ~ 's' then translate(p_value ->> 'of', 'l', '')
    else translate(p_value ->> 'of', 'l', 's')
  end
$$;

-- Why two values are never equal when all possible values of both are known; null when they may be
-- equal.
create or replace function engine.unequal_values(p_left jsonb, p_right jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when exists (select from jsonb_array_elements(p_left) as v (value) where p_right @> v.value) then null
    else format(
      '%s is never equal to %s', case jsonb_array_length(p_left) when 1 then (p_left -> 0)::text else '.type()' end,
      case jsonb_array_length(p_right) when 1 then (p_right -> 0)::text else '.type()' end
    ) || case
      when jsonb_array_length(p_left) + jsonb_array_length(p_right) > 2
        then ': it is null, boolean, number, string, array, object or the name of a date'
      else ''
    end
  end
  where p_left is not null and p_right is not null
$$;

-- What == != < <= > >= may be: true, false or unknown.
create or replace function engine.comparison_truth(p_left jsonb, p_right jsonb, p_operator text, p_at int)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_left constant text := engine.compared_kinds(p_left);
  v_right constant text := engine.compared_kinds(p_right);
  v_both constant text := regexp_replace(v_left, format('[^%s]', coalesce(nullif(v_right, ''), '-')), '', 'g');
  v_why text;
begin
  if v_left = '' then
    return (p_left - 'of') || '{"truth": "fu"}';
  elsif v_right = '' then
    return (p_right - 'of') || '{"truth": "fu"}';
  end if;
  v_why := case
    when p_operator in ('==', '<=', '>=') and v_both ~ '[zbnsd]' then
      case when p_operator = '==' then engine.unequal_values(p_left -> 'values', p_right -> 'values') end
    when p_operator in ('<', '>') and v_both ~ '[bnsd]' then null
    when p_operator in ('!=', '<>') and (
      v_both ~ '[bnsd]' or (v_left ~ 'z' and v_right ~ '[^z]') or (v_right ~ 'z' and v_left ~ '[^z]')
    ) then null
    when 'z' in (v_left, v_right) then format('%s with null is never true', p_operator)
    else format(
      '%s is compared with %s, which is never true%s', engine.kind_name(v_left), engine.kind_name(v_right), case
        when least(v_left, v_right) = 'n' and greatest(v_left, v_right) = 's'
          then ': write both as texts, or .double() after the text'
        when 'd' in (v_left, v_right) then ': write .datetime() on both sides'
        else ''
      end
    )
  end;
  return case
    when v_why is null then '{"truth": "tfu"}'
    else jsonb_build_object('truth', 'fu', 'why', v_why, 'at', p_at)
  end;
end
$$;

-- What `starts with` and `like_regex`, which match only texts, may be.
create or replace function engine.text_truth(p_value jsonb, p_at int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_value ->> 'of' = '' then (p_value - 'of') || '{"truth": "fu"}'
    when p_value ->> 'of' ~ '[sal]' then '{"truth": "tfu"}'
    else jsonb_build_object(
      'truth', 'fu', 'at', p_at,
      'why', format('%s is no text, so this is never true', engine.kind_name(p_value ->> 'of'))
    )
  end
$$;

-- What && and || may be.
create or replace function engine.joined_truth(p_left jsonb, p_right jsonb, p_operator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_operator = '&&' and p_left ->> 'truth' !~ 't' then p_left
    when p_operator = '&&' and p_right ->> 'truth' !~ 't' then p_right
    when p_operator = '||' and (p_left ->> 'truth' || (p_right ->> 'truth')) !~ 't' then p_left
    else '{"truth": "tfu"}'
  end
$$;

-- What + or - before a value gives.
create or replace function engine.sign_value(p_value jsonb, p_at int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_value ->> 'of' ~ '[na]'
      then '{"of": "n"}'::jsonb || case when p_value ? 'many' then '{"many": true}' else '{}' end::jsonb
    else engine.nothing_found(
      p_value, p_at, format('there is no number in %s', engine.kind_name(p_value ->> 'of'))
    )
  end
$$;
