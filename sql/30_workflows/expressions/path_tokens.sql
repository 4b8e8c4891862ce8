-- kind: code
-- Checks the tokens of a path. The grammar is that of PostgreSQL 15 on every version: additions of
-- newer versions are refused here. PostgreSQL itself checks the rest (jsonpath_problem in
-- expressions.sql). Writes and locks nothing.

-- A text token as a jsonpath string. Paths may have '…' for "…", because definitions are JSON,
-- where " is escaped.
create or replace function engine.double_quoted(p_token text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when left(p_token, 1) <> '''' or length(p_token) < 2 then p_token
    else '"' || regexp_replace(
      replace(substr(p_token, 2, length(p_token) - 2), chr(92) || '''', ''''),
      E'((?:[^"\\\\]|\\\\.)*)"', E'\\1\\\\"', 'g'
    ) || '"'
  end
$$;

-- The tokens without white space, the 1-based character at which each begins, and the white space
-- before it.
create or replace function engine.significant_tokens(
  p_text text,
  out tokens text[],
  out starts int[],
  out gaps text[]
)
  language sql
  immutable
  parallel safe
as $$
  with token as (
    select t.token, t.place, 1 + coalesce(sum(length(t.token)) over (
      order by t.place rows between unbounded preceding and 1 preceding
    ), 0)::int as start
    from unnest(engine.tokenize(p_text)) with ordinality as t (token, place)
  ),
  significant as (
    select t.token, t.place, t.start, lag(t.place, 1, 0::bigint) over (order by t.place) as place_before
    from token as t
    where t.token !~ E'^\\s'
  )
  select
    coalesce(array_agg(engine.double_quoted(s.token) order by s.place), '{}'),
    coalesce(array_agg(s.start order by s.place), '{}'),
    coalesce(array_agg(case when s.place - s.place_before > 1 then ' ' else '' end order by s.place), '{}')
  from significant as s
$$;

-- The text of a text token; null when the token is not a valid one.
create or replace function engine.token_text(p_token text)
  returns text
  language plpgsql
  immutable
as $$
begin
  return p_token::jsonb #>> '{}';
exception
  when data_exception then
    return null;
end
$$;

-- The problem of `like_regex "pattern" flag "flags"`; null when there is none.
create or replace function engine.regex_problem(p_pattern text, p_flags text)
  returns text
  language sql
  immutable
as $$
  select case
    when left(p_pattern, 1) is distinct from '"' then 'like_regex is followed by a pattern in quotes'
    when engine.token_text(p_pattern) is null then 'the pattern is not a valid text'
    when coalesce(p_flags, '') ~ 'x' then 'like_regex knows the flags i, s, m and q'
    when coalesce(p_flags, '') !~ 'q' and replace(engine.token_text(p_pattern), E'\\\\', '') ~ E'\\\\[1-9]'
      then 'a pattern cannot refer back to its groups'
    when length(p_pattern) > 1000 then 'a pattern has at most 1,000 characters'
  end
$$;

-- The problem of `.name` or `.name(…)`; null when there is none. p_next: the tokens after the name.
create or replace function engine.accessor_problem(p_name text, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_name ~ '^[0-9]' then format('write the key %s in double quotes', p_name)
    when p_next[1] is distinct from '(' then null
    when p_name in ('type', 'size', 'double', 'ceiling', 'floor', 'abs', 'keyvalue') then
      case when p_next[2] is distinct from ')' then format('%s() takes no argument', p_name) end
    when p_name <> 'datetime' then
      format('there is no method %s(): paths have type, size, double, ceiling, floor, abs, datetime and keyvalue; '
        'filters are written after |', p_name)
    when p_next[2] = ')' then null
    when left(p_next[2], 1) is distinct from '"' or p_next[3] is distinct from ')'
      then 'datetime() takes one template in quotes'
    when p_next[2] collate "C" ~* 'TZ(?![HM])|OF' then 'a datetime template writes a time zone as TZH:TZM'
  end;
end
$$;

-- The problem of a word that is no accessor; null when there is none. p_next: the tokens after it.
create or replace function engine.word_problem(p_word text, p_first boolean, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_word in ('strict', 'lax') then
      case when not p_first then format('%s stands at the beginning', p_word) end
    when p_word = 'like_regex' then
      engine.regex_problem(p_next[1], case when p_next[2] = 'flag' then p_next[3] end)
    when p_word in ('true', 'false', 'null', 'exists', 'is', 'unknown', 'flag', 'starts', 'with', 'to', 'last')
      then null
    when p_word in ('input', 'prev', 'inputs', 'nodes', 'run', 'vars', 'item', 'index')
      then format('write $.%s', p_word)
    else format('%s is not known here: a text is written in quotes, a value as $.prev.%1$s', p_word)
  end;
end
$$;

-- The problem of a token of a path; null when there is none. In PL/pgSQL, because it is called for
-- each token and PostgreSQL could not inline a SQL function.
create or replace function engine.token_problem(p_token text, p_before text, p_first boolean, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_token = '/' and left(p_next[1], 1) = '*' then 'comments are not allowed'
    when p_before = '[' and (left(p_token, 1) = '"' or p_token in ('true', 'false', 'null'))
      then 'brackets hold one key in quotes, or places: ["key"], [0], [1 to 3], [*]'
    when p_token ~ E'^[][?%$.{}()&!<>@*,:+/-]|^\\|\\||^==' then null
    when p_token ~ '^"' then case
      when length(p_token) < 2 then 'a quote is not closed'
      when engine.token_text(p_token) is null then 'not a valid text'
    end
    when p_token = '''' then 'a quote is not closed'
    when p_token = chr(92) then 'a backslash stands only in quotes'
    when p_token = '=' then 'write == to compare'
    when p_token = '|' then 'filters stand at the end, outside of parentheses'
    when p_token ~ E'^[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?$' then
      case
        when p_before = '.' then format('write the key %s in double quotes, or 0.%1$s', p_token)
        when p_token ~ '[eE][+-]?0*[0-9]{4}' or length(p_token) > 300 then 'the number is too large'
        when p_token::numeric > 1e308 then 'the number is too large'
      end
    when p_before = '.' then engine.accessor_problem(p_token, p_next)
    when p_token ~ '^[0-9]' then format('%s is not a number', p_token)
    when p_token = '#' then '# has no meaning here'
    else engine.word_problem(p_token, p_first, p_next)
  end;
end
$$;

-- The places of the @ that stand outside of filters `? (…)`: in an argument that is evaluated for each item, they are
-- the item.
create or replace function engine.item_places(p_tokens text[])
  returns int[]
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_open text[] := '{}'; -- '?' stands for the parenthesis of a filter
  v_places int[] := '{}';
begin
  for v_place in 1 .. cardinality(p_tokens) loop
    case
      when p_tokens[v_place] in ('(', '[', '{') then
        v_open := v_open || case when p_tokens[v_place - 1] = '?' then '?' else p_tokens[v_place] end;
      when p_tokens[v_place] in (')', ']', '}') then
        v_open := trim_array(v_open, least(1, cardinality(v_open)));
      when p_tokens[v_place] = '@' and '?' <> all (v_open) then
        v_places := v_places || v_place;
      else
        null;
    end case;
  end loop;
  return v_places;
end
$$;
