-- kind: code
-- Splits texts with expressions into pieces, and expressions into tokens, when a workflow is
-- validated or compiled; never when it runs. Writes and locks nothing.

-- The tokens of an expression with its white space, so that joining them gives the expression
-- again.
create or replace function engine.tokenize(p_text text)
  returns text[]
  language sql
  immutable
  parallel safe
as $$
  select coalesce(array_agg(m.match[1] order by m.place), '{}')
  from regexp_matches(
    p_text,
    E'("(?:[^"\\\\]|\\\\.)*"'
    || E'|''(?:[^''\\\\]|\\\\.)*'''
    || E'|\\s+'
    || E'|[0-9]+(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?'
    || E'|\\*\\*|==|!=|<>|<=|>=|&&|\\|\\|'
    || E'|[^][?%$.{}()|&!=<>@#,*:+/\\\\"''\\s-]+'
    || '|.)',
    'g'
  ) with ordinality as m (match, place)
$$;

-- The pieces of a text: literal texts, and what stands between {{ and }}. `\{{` is a literal {{. An
-- expression ends at the first }} outside of its string literals and of its own braces. start_at: the 1-based character
-- after {{.
create or replace function engine.split_template(p_text text)
  returns table (literal text, expression text, start_at int, error text)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_rest text := p_text;
  v_literal text := '';
  v_at int;
  v_body text;
begin
  start_at := 1;
  if (length(p_text) - length(replace(p_text, '{{', ''))) / 2 > 1000 then
    error := 'a text holds at most 1,000 expressions';
    return next;
    return;
  end if;
  loop
    v_at := strpos(v_rest, '{{');
    if v_at > 1 and substr(v_rest, v_at - 1, 1) = chr(92) then
      v_literal := v_literal || left(v_rest, v_at - 2) || '{{';
      v_rest := substr(v_rest, v_at + 2);
      start_at := start_at + v_at + 1;
      continue;
    end if;

    literal := v_literal || case v_at when 0 then v_rest else left(v_rest, v_at - 1) end;
    v_literal := '';
    if literal <> '' then
      return next;
    end if;
    exit when v_at = 0;

    literal := null;
    start_at := start_at + v_at + 1;
    v_rest := substr(v_rest, v_at + 2);
    v_body := substring(
      left(v_rest, 4200) from E'^((?:[^"''}]|"(?:[^"\\\\]|\\\\.)*"|''(?:[^''\\\\]|\\\\.)*''|\\}(?!\\}))*)\\}\\}'
    );
    if strpos(v_body, '{') > 0 or v_body is null then
      v_body := engine.braced_expression(left(v_rest, 4200));
    end if;
    if v_body is null then
      error := case
        when length(v_rest) > 4200 then 'an expression has at most 4,096 characters; or }} is missing'
        else E'}} is missing, or the quote of a text; a literal {{ is written \\{{'
      end;
      return next;
      return;
    end if;
    expression := v_body;
    return next;
    expression := null;
    start_at := start_at + length(v_body) + 2;
    v_rest := substr(v_rest, length(v_body) + 3);
  end loop;
end
$$;

-- What stands before the first }} that is neither in a string literal nor closes a brace of the
-- expression; null when there is none.
create or replace function engine.braced_expression(p_text text)
  returns text
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_token text;
  v_depth int := 0;
  v_length int := 0;
begin
  foreach v_token in array engine.tokenize(p_text) loop
    if v_token = '}' and v_depth = 0 then
      return case when substr(p_text, v_length + 1, 2) = '}}' then left(p_text, v_length) end;
    elsif v_token in ('"', '''') then
      return null; -- a quote that is not closed
    end if;
    v_depth := v_depth + (v_token = '{')::int - (v_token = '}')::int;
    v_length := v_length + length(v_token);
  end loop;
  return null;
end
$$;
