-- kind: code
-- Reads one SQL/JSON path, token by token, and rewrites its roots: `$.prev.total` becomes `$.total` of `prev`. The grammar
-- is that of PostgreSQL 15 on every version, so what newer ones added is refused here; PostgreSQL itself has the last
-- word on the rest (see expressions.sql).

-- A text token as a jsonpath string: '…' may be written instead of "…", because definitions are JSON.
create or replace function engine.double_quoted(p_token text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when left(p_token, 1) <> '''' or length(p_token) < 2 then p_token
    else '"' || regexp_replace(
      replace(substr(p_token, 2, length(p_token) - 2), chr(92) || '''', ''''), '((?:[^"\\]|\\.)*)"', '\1\\"', 'g'
    ) || '"'
  end
$$;

-- The tokens without white space, where each begins (1-based), and the space before it.
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
    where t.token !~ '^\s'
  )
  select
    coalesce(array_agg(engine.double_quoted(s.token) order by s.place), '{}'),
    coalesce(array_agg(s.start order by s.place), '{}'),
    coalesce(array_agg(case when s.place - s.place_before > 1 then ' ' else '' end order by s.place), '{}')
  from significant as s
$$;

-- The text in a text token; null when it is not a valid one.
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

-- What is wrong with `like_regex "pattern" flag "flags"`.
create or replace function engine.regex_problem(p_pattern text, p_flags text)
  returns text
  language sql
  immutable
as $$
  select case
    when left(p_pattern, 1) is distinct from '"' then 'like_regex is followed by a pattern in quotes'
    when engine.token_text(p_pattern) is null then 'the pattern is not a valid text'
    when coalesce(p_flags, '') ~ 'x' then 'like_regex knows the flags i, s, m and q'
    when coalesce(p_flags, '') !~ 'q' and replace(engine.token_text(p_pattern), '\\', '') ~ '\\[1-9]'
      then 'a pattern cannot refer back to its groups'
    when length(p_pattern) > 1000 then 'a pattern has at most 1,000 characters'
  end
$$;

-- What is wrong with `.name` or `.name(…)`; p_next are the tokens after the name.
create or replace function engine.accessor_problem(p_name text, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_name ~ '^\d' then format('write the key %s in double quotes', p_name)
    when p_next[1] is distinct from '(' then null
    when p_name in ('type', 'size', 'double', 'ceiling', 'floor', 'abs', 'keyvalue') then
      case when p_next[2] is distinct from ')' then format('%s() takes no argument', p_name) end
    when p_name <> 'datetime' then
      format('there is no method %s(): paths have type, size, double, ceiling, floor, abs, datetime and keyvalue; '
        'filters are written after |', p_name)
    when p_next[2] = ')' then null
    when left(p_next[2], 1) is distinct from '"' or p_next[3] is distinct from ')'
      then 'datetime() takes one template in quotes'
    when p_next[2] ~* 'TZ(?![HM])|OF' then 'a datetime template writes a time zone as TZH:TZM'
  end;
end
$$;

-- What is wrong with a word that is no accessor; p_next are the tokens after it.
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
    when p_word in ('true', 'false', 'null', 'exists', 'is', 'unknown', 'flag', 'starts', 'with', 'to', 'last') then null
    when p_word in ('input', 'prev', 'inputs', 'nodes', 'run', 'vars', 'item', 'index')
      then format('write $.%s', p_word)
    else format('%s is not known here: a text is written in quotes, a value as $.prev.%1$s', p_word)
  end;
end
$$;

-- What is wrong with a token of a path. PL/pgSQL, because it is called for each token and PostgreSQL cannot inline it.
create or replace function engine.token_problem(p_token text, p_before text, p_first boolean, p_next text[])
  returns text
  language plpgsql
  immutable
as $$
begin
  return case
    when p_token = '/' and left(p_next[1], 1) = '*' then 'comments are not allowed'
    when p_token ~ '^[][?%$.{}()&!<>@*,:+/-]|^\|\||^==' then null
    when p_token ~ '^"' then case
      when length(p_token) < 2 then 'a quote is not closed'
      when engine.token_text(p_token) is null then 'not a valid text'
    end
    when p_token = '''' then 'a quote is not closed'
    when p_token = chr(92) then 'a backslash stands only in quotes'
    when p_token = '=' then 'write == to compare'
    when p_token = '|' then 'filters stand at the end, outside of parentheses'
    when p_token ~ '^\d+(\.\d+)?([eE][+-]?\d+)?$' then
      case
        when p_before = '.' then format('write the key %s in double quotes, or 0.%1$s', p_token)
        when p_token ~ '[eE][+-]?0*\d{4}' or length(p_token) > 300 then 'the number is too large'
        when p_token::numeric > 1e308 then 'the number is too large'
      end
    when p_before = '.' then engine.accessor_problem(p_token, p_next)
    when p_token ~ '^\d' then format('%s is not a number', p_token)
    when p_token = '#' then '# has no meaning here'
    else engine.word_problem(p_token, p_first, p_next)
  end;
end
$$;

-- The root that begins with the `$` at the head of the tokens: its source, how many tokens name it, and the variable or
-- input that it reads.
create or replace function engine.path_root(
  p_tokens text[],
  out source text,
  out taken int,
  out variable text,
  out input text,
  out problem text
)
  language plpgsql
  immutable
as $$
declare
  v_name constant text := trim(both '"' from p_tokens[3]);
  v_next constant text := case when p_tokens[4] = '.' then trim(both '"' from p_tokens[5]) end;
begin
  taken := 3;
  source := v_name;
  if p_tokens[2] is distinct from '.' or coalesce(v_name, '') !~ '^[A-Za-z_]\w*$' then
    problem := 'a path begins with $.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.item or $.index';
  elsif v_name = 'nodes' then
    source := 'nodes.' || v_next;
    taken := 5;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a node: $.nodes.<id>';
    end if;
  elsif v_name = 'vars' then
    variable := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a variable: $.vars.<name>';
    end if;
  elsif v_name = 'inputs' then
    input := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_]\w*$' then
      problem := 'name an input: $.inputs.<name>';
    end if;
  elsif v_name not in ('input', 'prev', 'run', 'item', 'index') then
    problem := format(
      '$.%s is not known: a path begins with $.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.item or $.index', v_name
    );
  end if;
end
$$;

-- One path, rewritten: its pieces, where a piece that begins with \x01 is the root `source`; what it reads; whether it
-- asks for many items; or the problem and the token at which it is.
create or replace function engine.rewrite_path(
  p_tokens text[],
  p_gaps text[],
  out pieces text[],
  out sources text[],
  out variables text[],
  out inputs text[],
  out many boolean,
  out regex boolean,
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
as $$
declare
  v_count constant int := cardinality(p_tokens);
  v_root record;
  v_open text[] := '{}'; -- the brackets around the token; ? and e are those of a filter and of exists
  v_inside int := 0;     -- how many of them hide what is in them from the result
  v_predicate boolean := false;
  v_token text;
  v_before text;
  v_bracket text;
  v_place int := 1;
begin
  pieces := '{}'; sources := '{}'; variables := '{}'; inputs := '{}'; many := false; regex := false;
  while v_place <= v_count loop
    v_token := p_tokens[v_place];
    problem_at := v_place;
    if v_token = '$' then
      v_root := engine.path_root(p_tokens[v_place : v_count]);
      problem := v_root.problem;
      exit when problem is not null;
      pieces := pieces || (p_gaps[v_place] || e'\x01' || v_root.source);
      sources := sources || v_root.source;
      variables := variables || v_root.variable;
      inputs := inputs || v_root.input;
      v_place := v_place + v_root.taken;
      v_before := v_root.source;
      continue;
    end if;

    problem := engine.token_problem(v_token, v_before, v_place = 1, p_tokens[v_place + 1 : v_place + 4]);
    exit when problem is not null;
    case
      when v_token in ('(', '[', '{') then
        v_bracket := case
          when v_token = '(' and v_before = '?' then '?'
          when v_token = '(' and v_before = 'exists' then 'e'
          else v_token
        end;
        many := many or (v_inside = 0 and v_token = '[' and p_tokens[v_place + 1] = '*');
        v_open := v_open || v_bracket;
        v_inside := v_inside + (v_bracket in ('?', 'e', '['))::int;
      when v_token in (')', ']', '}') then
        v_bracket := v_open[cardinality(v_open)];
        if v_bracket is null or translate(v_bracket, '?e([{', ')))]}') <> v_token then
          problem := format('%s closes nothing', v_token);
          exit;
        end if;
        v_open := trim_array(v_open, 1);
        v_inside := v_inside - (v_bracket in ('?', 'e', '['))::int;
      when v_inside = 0 and v_before = '.' and v_token in ('*', '**') then
        many := true;
      when v_inside = 0 and v_token = '?' then
        many := true;
      when v_token in ('==', '!=', '<>', '<', '<=', '>', '>=', '&&', '||', '!') then
        v_predicate := v_predicate or v_inside = 0;
      when v_before is distinct from '.' and v_token in ('like_regex', 'starts', 'exists', 'is') then
        v_predicate := v_predicate or v_inside = 0;
        regex := regex or v_token = 'like_regex';
      else null;
    end case;
    if cardinality(v_open) > 32 then
      problem := 'brackets are nested more than 32 deep';
      exit;
    end if;
    pieces := pieces || (p_gaps[v_place] || v_token);
    v_before := v_token;
    v_place := v_place + 1;
  end loop;
  many := many and not v_predicate;
  if problem is null and cardinality(v_open) > 0 then
    problem := format('%s is not closed', translate(v_open[cardinality(v_open)], '?e', '(('));
  elsif problem is null and v_count = 0 then
    problem := 'a path is missing';
    problem_at := 1;
  end if;
end
$$;

-- The rewritten path as text: with one source, roots are `$`; with variables, `$"prev"`.
create or replace function engine.path_text(p_pieces text[], p_variables boolean)
  returns text
  language sql
  immutable
as $$
  select string_agg(
    case when p_variables
      then regexp_replace(p.piece, e'\x01(.*)$', '$"\1"')
      else regexp_replace(p.piece, e'\x01.*$', '$')
    end,
    '' order by p.place
  )
  from unnest(p_pieces) with ordinality as p (piece, place)
$$;
