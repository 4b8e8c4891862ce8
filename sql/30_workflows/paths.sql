-- kind: code
-- Reads one SQL/JSON path, token by token, and rewrites its roots: `$.prev.total` becomes `$.total` of `prev`. The grammar
-- is that of PostgreSQL 15 on every version, so what newer ones added is refused here; PostgreSQL itself has the last
-- word on the rest (see expressions.sql).

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
    coalesce(array_agg(s.token order by s.place), '{}'),
    coalesce(array_agg(s.start order by s.place), '{}'),
    coalesce(array_agg(case when s.place - s.place_before > 1 then ' ' else '' end order by s.place), '{}')
  from significant as s
$$;

-- A text token as a jsonpath string; '…' may be used instead of "…", because definitions are JSON.
create or replace function engine.double_quoted(p_token text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when left(p_token, 1) <> '''' then p_token
    else '"' || regexp_replace(replace(substr(p_token, 2, length(p_token) - 2), '\''', ''''), '(\\.)|"', '\1', 'g') || '"'
  end
$$;
