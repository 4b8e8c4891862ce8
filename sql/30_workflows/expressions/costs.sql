-- kind: code
-- Computes the cost class of a path when it is compiled. linear: the work grows with the size of
-- what it reads. quadratic: it compares or multiplies two values that it reads, or reads one again
-- for each item of another. unbounded: no bound is known. bound_inline uses it to say which inputs
-- the engine evaluates inline; others go to a local step. Weights count how many times each byte of
-- input is processed. Writes and locks nothing.

-- The worse of two classes.
create or replace function engine.worse_cost(p_one text, p_other text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when 'unbounded' in (p_one, p_other) then 'unbounded'
    when 'quadratic' in (p_one, p_other) then 'quadratic'
    else 'linear'
  end
$$;

-- Whether the automaton of a pattern stays as small as the pattern: literal texts and alternatives
-- of them, or, from the beginning of the text on, single characters and classes in a row, of which
-- the last may be repeated. Then only one state is active at a time, so matching builds no sets of
-- states.
create or replace function engine.is_safe_regex(p_pattern text, p_flags text)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select coalesce(p_flags, '') ~ 'q'
    or (
      length(p_pattern) <= 256
      and coalesce(p_flags, '') !~ 'm'
      and (
        a.pattern ~ format(E'^\\^?%1$s*\\$?$', a.literal)
        or a.pattern ~ format(E'^%1$s+(\\|%1$s+)*$', a.literal)
        or (
          a.pattern ~ format(E'^\\^((%1$s|%2$s)(\\{[0-9]{1,2}\\})?)*((%1$s|%2$s)[*+])?\\$?$', a.literal, a.class)
          and (
            select coalesce(sum(m.match[1]::int), 0) <= 128
            from regexp_matches(p_pattern, E'\\{([0-9]{1,2})\\}', 'g') as m (match)
          )
        )
      )
    )
  from (values (
    p_pattern collate engine.unicode,
    E'([[:alnum:] _@:,;=#%&~''"/<>!-]|\\\\[].^$*+?()[{}|\\\\/-])', E'(\\.|\\\\[dDwWsS]|\\[\\^?[A-Za-z0-9 _.,:@/+-]+\\])'
  )) as a (pattern, literal, class)
$$;

-- Whether a token is a literal: a number, a text, true, false or null.
create or replace function engine.is_literal_token(p_token text)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select coalesce(p_token ~ '^["0-9]' or p_token in ('true', 'false', 'null'), false)
$$;

-- Whether one side of the operator at p_place is a literal: then each item is compared once.
create or replace function engine.has_literal_side(p_tokens text[], p_place int)
  returns boolean
  language plpgsql
  immutable
as $$
declare
  v_ends constant text[] := '{(,),&&,||,!}';
  v_left int := p_place - 2;
  v_right int := p_place + 1;
begin
  if p_tokens[v_left] in ('-', '+') then
    v_left := v_left - 1;
  end if;
  if p_tokens[v_right] in ('-', '+') then
    v_right := v_right + 1;
  end if;
  return engine.is_literal_token(p_tokens[p_place - 1]) and coalesce(p_tokens[v_left] = any (v_ends), true)
    or engine.is_literal_token(p_tokens[v_right]) and coalesce(p_tokens[v_right + 1] = any (v_ends), true);
end
$$;

-- Whether both sides of the comparison at p_place begin with a root.
create or replace function engine.compares_roots(p_tokens text[], p_place int)
  returns boolean
  language plpgsql
  immutable
as $$
declare
  v_left boolean := false;
  v_right boolean := false;
  v_place int := p_place - 1;
begin
  while v_place > 0 and p_tokens[v_place] not in ('&&', '||', '?') loop
    v_left := v_left or p_tokens[v_place] = '$';
    v_place := v_place - 1;
  end loop;
  v_place := p_place + 1;
  while v_place <= cardinality(p_tokens) and p_tokens[v_place] not in ('&&', '||') loop
    v_right := v_right or p_tokens[v_place] = '$';
    v_place := v_place + 1;
  end loop;
  return v_left and v_right;
end
$$;

-- The cost of one token. p_open: the open brackets around it: ? of a filter, [ of a subscript, ( of
-- others. p_item: the path is evaluated for each item, where the numbers of a product are bounded.
create or replace function engine.token_cost(
  p_tokens text[],
  p_place int,
  p_open text[],
  p_item boolean,
  out cost text,
  out weight int
)
  language plpgsql
  immutable
as $$
declare
  v_token constant text := p_tokens[p_place];
  v_before constant text := coalesce(p_tokens[p_place - 1], '');
  v_depth constant int := cardinality(array_positions(p_open, '?') || array_positions(p_open, '['));
  v_is_subscript constant boolean := coalesce(p_open[cardinality(p_open)] = '[', false);
begin
  cost := 'linear';
  weight := 0;
  case
    when v_token = '**' or (v_token = ',' and v_is_subscript) then
      cost := 'unbounded'; -- items that are found several times are processed several times
    when v_token = '$' then
      weight := 1;
      cost := case when v_depth > 1 then 'unbounded' when v_depth = 1 then 'quadratic' else cost end;
    when v_token = '@' then
      weight := 1;
      cost := case when '[' = any (p_open) then 'quadratic' else cost end;
    when v_token in ('[', '?') then
      weight := 1;
    when v_token in ('==', '!=', '<>', '<', '<=', '>', '>=') then
      weight := 1;
      if not engine.has_literal_side(p_tokens, p_place) then
        cost := case
          when v_depth > 0 and engine.compares_roots(p_tokens, p_place) then 'unbounded'
          else 'quadratic'
        end;
      end if;
    when v_token in ('*', '/', '%') and v_before not in ('.', '[') then
      weight := 8;
      if not (engine.is_literal_token(v_before) or engine.is_literal_token(p_tokens[p_place + 1])) then
        weight := 24;
        cost := case when p_item then cost else 'quadratic' end;
      end if;
    when v_token in ('+', '-') then
      weight := 1;
    when v_token = 'like_regex' and v_before <> '.' then
      weight := 32;
      cost := case
        when engine.is_safe_regex(
          engine.token_text(p_tokens[p_place + 1]),
          case when p_tokens[p_place + 2] = 'flag' then engine.token_text(p_tokens[p_place + 3]) end
        ) then cost
        else 'unbounded'
      end;
    when v_before = '.' and p_tokens[p_place + 1] = '(' then
      weight := case v_token when 'datetime' then 16 else 2 end;
    else
      null;
  end case;
end
$$;

-- The cost class and the weight of a whole path.
create or replace function engine.path_cost(
  p_tokens text[],
  p_item boolean default false,
  out cost text,
  out weight int
)
  language plpgsql
  immutable
as $$
declare
  v_open text[] := '{}';
  v_found record;
  v_key_values int := 0;
  v_products int := 0;
begin
  cost := 'linear';
  weight := 0;
  for v_place in 1 .. cardinality(p_tokens) loop
    if p_tokens[v_place] in (')', ']', '}') then
      v_open := trim_array(v_open, least(1, cardinality(v_open)));
    end if;
    v_found := engine.token_cost(p_tokens, v_place, v_open, p_item);
    cost := engine.worse_cost(cost, v_found.cost);
    weight := weight + v_found.weight;
    v_key_values := v_key_values + (p_tokens[v_place] = 'keyvalue' and p_tokens[v_place - 1] = '.')::int;
    v_products := v_products + (v_found.weight = 24)::int;
    if p_tokens[v_place] in ('(', '[', '{') then
      v_open := v_open || case
        when p_tokens[v_place] = '(' and p_tokens[v_place - 1] = '?' then '?'
        else p_tokens[v_place]
      end;
    end if;
  end loop;
  -- Each keyvalue() makes three items of one, and each product makes numbers longer.
  if v_key_values > 1 or v_products > 4 then
    cost := 'unbounded';
  end if;
end
$$;
