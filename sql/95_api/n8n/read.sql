-- kind: code
-- Reads a part of a document of n8n by the rows of n8n_parameters: keeps what they know for the
-- function that translates the node, and reports everything else as a problem, so that no parameter
-- is lost silently. Writes and locks nothing.

-- A problem with the JSON pointer of its place.
create or replace function private.n8n_problem(p_path text[], p_message text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'pointer', coalesce((
      select string_agg('/' || replace(replace(k.key, '~', '~0'), '/', '~1'), '' order by k.place)
      from unnest(p_path) with ordinality as k (key, place)
    ), ''),
    'message', p_message
  )
$$;

-- The rows of a type and version as a tree of keys; `=` holds the row of the path that ends there.
create or replace function private.n8n_rules(p_node text, p_version numeric)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_rule record;
  v_keys text[];
  v_tree jsonb := '{}';
begin
  for v_rule in
    select k.path, jsonb_build_object('becomes', p.becomes, 'allowed', p.allowed, 'message', p.message) as row
    from private.n8n_parameters() as p
    cross join lateral unnest(p.paths) as k (path)
    where p.node = p_node and p_version between p.since and p.until
  loop
    v_keys := string_to_array(v_rule.path, '/');
    for v_depth in 1 .. cardinality(v_keys) loop
      if v_tree #> v_keys[1 : v_depth] is null then
        v_tree := jsonb_set(v_tree, v_keys[1 : v_depth], '{}');
      end if;
    end loop;
    v_tree := jsonb_set(v_tree, v_keys || '{=}'::text[], v_rule.row);
  end loop;
  return v_tree;
end
$$;

-- Problems of a text that is translated but may mean something else.
create or replace function private.n8n_remarks(p_value jsonb, p_path text[])
  returns jsonb
  language sql
  immutable
as $$
  select coalesce(jsonb_agg(private.n8n_problem(p_path, m.message)), '[]')
  from (
    values
      (E'\\.length\\M', 'length is taken over for lists only; of a text it is null, where the filter length counts'),
      (E'\\$now\\M', '$now is the time at which the run has started here, where n8n reads the clock at the node')
  ) as m (pattern, message)
  where jsonb_typeof(p_value) = 'string' and p_value #>> '{}' ~ (E'^=.*\\{\\{.*' || m.pattern)
$$;

-- Whether a parameter (of kind `must`) has a value for which the node has no counterpart.
create or replace function private.n8n_is_beyond(p_type text, p_version numeric, p_parameters jsonb)
  returns boolean
  language sql
  immutable
as $$
  select exists (
    select
    from private.n8n_parameters() as p
    cross join lateral unnest(p.paths) as k (path)
    where p.node = p_type and p_version between p.since and p.until and p.becomes = 'must'
      and not p.allowed @> jsonb_build_array(p_parameters #> string_to_array(k.path, '/'))
      and p_parameters #> string_to_array(k.path, '/') is not null
  )
$$;

-- Applies a row to one value: whether the value is kept, and its problems.
create or replace function private.n8n_read_leaf(
  p_value jsonb,
  p_rule jsonb,
  p_path text[],
  p_places jsonb,
  out kept jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_text constant text := p_value #>> '{}';
begin
  problems := '[]';
  case p_rule ->> 'becomes'
    when 'none' then return;
    when 'own' then
      kept := p_value;
      problems := private.n8n_remarks(p_value, p_path);
    when 'only', 'must' then
      if not p_rule -> 'allowed' @> jsonb_build_array(p_value) then
        problems := jsonb_build_array(private.n8n_problem(
          p_path, format('%s is not taken over: %s', p_path[cardinality(p_path)], p_rule ->> 'message')
        ));
      end if;
    when 'literal' then
      if v_text ~ '^=' or jsonb_typeof(p_value) in ('array', 'object') then
        problems := jsonb_build_array(private.n8n_problem(
          p_path, format('%s cannot be an expression here', p_path[cardinality(p_path)])
        ));
      elsif jsonb_typeof(p_rule -> 'allowed') = 'array' and not p_rule -> 'allowed' @> jsonb_build_array(p_value) then
        problems := jsonb_build_array(private.n8n_problem(
          p_path, format('%s has a value that is not known here', p_path[cardinality(p_path)])
        ));
      else
        kept := p_value;
      end if;
    else
      kept := p_value;
      problems := private.n8n_value_problems(p_value, p_path, p_places);
  end case;
end
$$;

create or replace function private.n8n_read(
  p_value jsonb,
  p_rules jsonb,
  p_path text[],
  p_places jsonb,
  out kept jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_child record;
  v_read record;
begin
  problems := '[]';
  if p_rules ? '=' and (jsonb_typeof(p_value) not in ('object', 'array') or p_rules - '=' = '{}') then
    select l.kept, l.problems into kept, problems
    from private.n8n_read_leaf(p_value, p_rules -> '=', p_path, p_places) as l;
    return;
  elsif jsonb_typeof(p_value) not in ('object', 'array') then
    problems := jsonb_build_array(private.n8n_problem(
      p_path, format('%s is not taken over: the importer does not know it', p_path[cardinality(p_path)])
    ));
    return;
  end if;

  kept := case jsonb_typeof(p_value) when 'array' then '[]' else '{}' end;
  for v_child in
    select e.key, e.value
    from jsonb_each(case jsonb_typeof(p_value) when 'object' then p_value end) as e
    union all
    select (e.place - 1)::text, e.value
    from jsonb_array_elements(case jsonb_typeof(p_value) when 'array' then p_value end)
      with ordinality as e (value, place)
  loop
    v_read := private.n8n_read(
      v_child.value,
      -- A key `=` of the document must not match a row, and `*` matches places of lists only.
      case when v_child.key <> '=' then
        p_rules -> case jsonb_typeof(p_value) when 'array' then '*' else nullif(v_child.key, '*') end
      end,
      p_path || v_child.key, p_places
    );
    problems := problems || v_read.problems;
    if jsonb_typeof(p_value) = 'array' then
      kept := kept || jsonb_build_array(coalesce(v_read.kept, 'null'));
    elsif v_read.kept is not null then
      kept := kept || jsonb_build_object(v_child.key, v_read.kept);
    end if;
  end loop;
end
$$;
comment on function private.n8n_read(jsonb, jsonb, text[], jsonb) is
  'The part of a value that the rules know, and the problems of the rest, each with its JSON pointer.';
