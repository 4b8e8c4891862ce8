-- kind: code
-- Filters that search in texts and lists. SQL null means that the filter does not apply. Writes and locks nothing.

-- Whether a text has another in it, a list an item, or an object a key.
create or replace function engine.filter_contains(p_value jsonb, p_part jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case jsonb_typeof(p_value)
    when 'array' then exists (select from jsonb_array_elements(p_value) as i (item) where i.item = p_part)
    when 'object' then p_value ? engine.scalar_text(p_part)
    else strpos(engine.scalar_text(p_value) collate "C", engine.scalar_text(p_part)) > 0
  end)
$$;

-- The problem of a pattern, which is a literal: a pattern from data could have any cost. null when there is none.
create or replace function engine.pattern_problem(p_pattern jsonb)
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_pattern is null or jsonb_typeof(p_pattern) <> 'string' then 'a pattern is a text in quotes'
    when length(p_pattern #>> '{}') > 1000 then 'a pattern has at most 1,000 characters'
    when replace(p_pattern #>> '{}', E'\\\\', '') ~ E'\\\\[1-9]' then 'a pattern cannot refer back to its groups'
    when p_pattern #>> '{}' ~ E'^[*][*][*]|^\\(\\?[a-z]+\\)' then 'a pattern has no options; match(…, "i") ignores case'
    when regexp_match('', '(' || (p_pattern #>> '{}') || ')') is null then null
  end;
exception
  when invalid_regular_expression then
    return sqlerrm;
end
$$;

-- The groups of the first match of a pattern, all of it when the pattern has none; JSON null without a match.
create or replace function engine.filter_match(p_value jsonb, p_pattern text, p_flags text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_flags not in ('', 'i') or engine.scalar_text(p_value) is null then null
    when cardinality(m.groups) > 1 then to_jsonb(m.groups[2:])
    else coalesce(to_jsonb(m.groups[1]), 'null')
  end
  from (values (
    -- In a group of its own, so that all of the match is the first one.
    regexp_match(engine.scalar_text(p_value) collate engine.unicode, '(' || p_pattern || ')', p_flags)
  )) as m (groups)
$$;
