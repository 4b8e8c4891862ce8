-- kind: code
-- Parses one SQL/JSON path and rewrites its roots: `$.prev.total` becomes `$.total` of `prev`.
-- Writes and locks nothing.

-- The root that begins with the `$` at the head of the tokens: its source, how many tokens belong
-- to it, and the name of the variable or input that it reads.
create or replace function engine.path_root(
  p_tokens text[],
  out source text,
  out consumed int,
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
  consumed := 3;
  source := v_name;
  if p_tokens[2] is distinct from '.' or coalesce(v_name, '') !~ '^[A-Za-z_][A-Za-z0-9_]*$' then
    problem := 'a path begins with $.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.secrets, $.item or $.index';
  elsif v_name = 'nodes' then
    source := 'nodes.' || v_next;
    consumed := 5;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a node: $.nodes.<id>';
    end if;
  elsif v_name = 'secrets' then
    source := 'secrets.' || v_next;
    consumed := 5;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a secret variable: $.secrets.<name>';
    end if;
  elsif v_name = 'vars' then
    variable := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]{0,63}$' then
      problem := 'name a variable: $.vars.<name>';
    end if;
  elsif v_name = 'inputs' then
    input := v_next;
    if coalesce(v_next, '') !~ '^[A-Za-z_][A-Za-z0-9_]*$' then
      problem := 'name an input: $.inputs.<name>';
    end if;
  elsif v_name not in ('input', 'prev', 'run', 'item', 'index') then
    problem := format(
      '$.%s is not known: a path begins with '
      '$.input, $.prev, $.inputs, $.nodes, $.run, $.vars, $.secrets, $.item or $.index',
      v_name
    );
  end if;
end
$$;

-- For each token, how many brackets around it keep it out of the result: those of filters, of
-- exists and of subscripts. An opening bracket counts as inside itself. If brackets do not match:
-- the problem and the token at which it is.
create or replace function engine.bracket_depths(
  p_tokens text[],
  out depths int[],
  out problem text,
  out problem_at int
)
  language plpgsql
  immutable
  parallel safe
as $$
declare
  v_open text[] := '{}'; -- '?' stands for the parenthesis of a filter, 'e' for that of exists
  v_depth int := 0;
  v_token text;
  v_before text;
begin
  depths := '{}';
  for v_place in 1 .. cardinality(p_tokens) loop
    v_token := p_tokens[v_place];
    problem_at := v_place;
    if v_token in ('(', '[', '{') then
      v_open := v_open || case
        when v_token = '(' and v_before = '?' then '?'
        when v_token = '(' and v_before = 'exists' then 'e'
        else v_token
      end;
      v_depth := v_depth + (v_open[cardinality(v_open)] in ('?', 'e', '['))::int;
    elsif v_token in (')', ']', '}') then
      if cardinality(v_open) = 0 or translate(v_open[cardinality(v_open)], '?e([{', ')))]}') <> v_token then
        problem := format('%s closes nothing', v_token);
        return;
      end if;
      v_depth := v_depth - (v_open[cardinality(v_open)] in ('?', 'e', '['))::int;
      v_open := trim_array(v_open, 1);
    end if;
    if cardinality(v_open) > 32 then
      problem := 'brackets are nested more than 32 deep';
      return;
    end if;
    depths[v_place] := v_depth;
    v_before := v_token;
  end loop;
  if cardinality(v_open) > 0 then
    problem := format('%s is not closed', translate(v_open[cardinality(v_open)], '?e', '(('));
  end if;
end
$$;

-- Whether a path asks for many items (and is no condition), and whether it matches a regular
-- expression.
create or replace function engine.path_traits(p_tokens text[], p_depths int[], out many boolean, out regex boolean)
  language sql
  immutable
  parallel safe
as $$
  select
    coalesce(
      bool_or(
        (t.depth = 0 and (t.token = '?' or (t.token in ('*', '**') and t.before = '.')))
        or (t.depth = 1 and t.token = '[' and t.after = '*')
      )
      and not bool_or(t.depth = 0 and (
        t.token in ('==', '!=', '<>', '<', '<=', '>', '>=', '&&', '||', '!')
        or (t.token in ('like_regex', 'starts', 'exists', 'is') and t.before is distinct from '.')
      )),
      false
    ),
    coalesce(bool_or(t.token = 'like_regex' and t.before is distinct from '.'), false)
  from (
    select p_tokens[n] as token, p_tokens[n - 1] as before, p_tokens[n + 1] as after, p_depths[n] as depth
    from generate_subscripts(p_tokens, 1) as n
  ) as t
$$;

-- Rewrites one path. Returns its pieces, of which one that begins with \x01 is a root with its
-- source, and what it reads; or the problem and the token at which it is. p_item: an @ outside of
-- filters is the item, at which the path starts.
create or replace function engine.rewrite_path(
  p_tokens text[],
  p_gaps text[],
  p_item boolean default false,
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
  v_items constant int[] := engine.item_places(p_tokens);
  v_root record;
  v_brackets record;
  v_before text;
  v_place int := 1;
begin
  pieces := '{}'; sources := '{}'; variables := '{}'; inputs := '{}';
  while v_place <= v_count loop
    problem_at := v_place;
    if p_tokens[v_place] = '$' then
      v_root := engine.path_root(p_tokens[v_place : v_count]);
      problem := v_root.problem;
      pieces := pieces || (p_gaps[v_place] || e'\x01' || v_root.source);
      sources := sources || v_root.source;
      variables := variables || v_root.variable;
      inputs := inputs || v_root.input;
      v_place := v_place + v_root.consumed;
      v_before := v_root.source;
    elsif v_place = any (v_items) then
      problem := case when not p_item then
        '@ is the item in a filter ? (…), and in arguments such as that of map(…); a path begins with $'
      end;
      pieces := pieces || (p_gaps[v_place] || '$');
      v_before := '@';
      v_place := v_place + 1;
    elsif p_tokens[v_place] = '[' and left(p_tokens[v_place + 1], 1) = '"' and p_tokens[v_place + 2] = ']' then
      -- In SQL/JSON a place stands between brackets only; a quoted key between brackets is read as
      -- a member.
      problem := engine.token_problem(p_tokens[v_place + 1], '.', false, '{}');
      pieces := pieces || (p_gaps[v_place] || '.' || p_tokens[v_place + 1]);
      v_before := ']';
      v_place := v_place + 3;
    else
      problem := engine.token_problem(p_tokens[v_place], v_before, v_place = 1, p_tokens[v_place + 1 : v_place + 4]);
      pieces := pieces || (p_gaps[v_place] || p_tokens[v_place]);
      v_before := p_tokens[v_place];
      v_place := v_place + 1;
    end if;
    if problem is not null then
      return;
    end if;
  end loop;
  if v_count = 0 then
    problem := 'a path is missing';
    problem_at := 1;
    return;
  end if;

  v_brackets := engine.bracket_depths(p_tokens);
  problem := v_brackets.problem;
  problem_at := v_brackets.problem_at;
  select t.many, t.regex into many, regex from engine.path_traits(p_tokens, v_brackets.depths) as t;
end
$$;

-- The rewritten path as text. Roots become `$`, or with p_variables a jsonpath variable such as
-- `$"prev"`.
create or replace function engine.path_text(p_pieces text[], p_variables boolean)
  returns text
  language sql
  immutable
as $$
  select ltrim(string_agg(
    case when p_variables
      then regexp_replace(p.piece, e'\x01(.*)$', E'$"\\1"')
      else regexp_replace(p.piece, e'\x01.*$', '$')
    end,
    '' order by p.place
  ))
  from unnest(p_pieces) with ordinality as p (piece, place)
$$;
