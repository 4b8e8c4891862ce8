-- kind: code
-- The cost of filters after a path; expressions/costs.sql explains the classes. Writes and locks
-- nothing.

-- The cost class and the weight of a path together with its filters.
create or replace function engine.chain_cost(
  p_cost text,
  p_weight int,
  p_filters jsonb,
  out cost text,
  out weight int
)
  language plpgsql
  immutable
as $$
declare
  v_filter jsonb;
  v_found record;
  v_growth bigint := 1;
  v_weight bigint := p_weight;
begin
  cost := p_cost;
  for v_filter in select f from jsonb_array_elements(p_filters) as f loop
    v_found := engine.filter_cost(v_filter ->> 'name', v_filter -> 'arguments');
    cost := engine.worse_cost(cost, v_found.cost);
    v_weight := v_weight + v_found.weight * v_growth;
    -- What reads a source for each item may give the source as often.
    v_growth := least(v_growth * v_found.growth * case when v_filter ? 'reads' then 128 else 1 end, 1024);
  end loop;
  weight := least(v_weight, 1000000);
end
$$;

-- The cost class of a filter, its work per byte of the value, and the factor by which the value may
-- grow. An argument that is a path has no `value`.
create or replace function engine.filter_cost(
  p_name text,
  p_arguments jsonb,
  out cost text,
  out weight int,
  out growth int
)
  language plpgsql
  immutable
as $$
declare
  v_first constant text := p_arguments -> 0 ->> 'value';
  v_second constant text := p_arguments -> 1 ->> 'value';
  v_is_given constant boolean := coalesce(p_arguments -> 0 ? 'value', true);
begin
  cost := 'linear';
  weight := case
    when p_name in ('upper', 'lower', 'trim', 'pad', 'length', 'first', 'last', 'default', 'type', 'then') then 2
    when p_name in ('base64', 'hash', 'hmac', 'constant_time_equals', 'number', 'round', 'keys') then 4
    when p_name in ('date', 'add', 'diff', 'split', 'calc', 'start_of', 'local_date') then 16
    when p_name in ('parse_date', 'parse_json') then 32
    when p_name in ('match', 'title') then 64
    when p_name in ('unique', 'sort', 'sort_by', 'group_by', 'index_by', 'object') then 128
    when p_name = 'urlencode' then 512
    when p_name = 'flatten' then case when v_is_given then 4 * greatest(coalesce(v_first::int, 1), 1) else 256 end
    else 8
  end;
  growth := case
    when p_name = 'map' then engine.map_growth(p_arguments -> 0)
    when p_name in ('upper', 'lower', 'base64', 'title', 'format_number') then 2
    when p_name in ('zip', 'entries', 'uuid_from') then 4
    when p_name in ('group_by', 'parse_json') then 8
    when p_name = 'urlencode' then 3
    when p_name = 'split' then 5
    when p_name = 'json' then 32
    when p_name = 'join' then case when v_is_given then 1 + length(coalesce(v_first, ',')) / 4 else 1024 end
    when p_name = 'replace' then case
      when v_is_given and p_arguments -> 1 ? 'value'
        then 1 + octet_length(coalesce(v_second, '')) / greatest(length(coalesce(v_first, '')), 1)
      else 1024
    end
    else 1
  end;
  -- A search in a text takes at worst the product of both lengths.
  if p_name = 'match' then
    cost := case when engine.is_safe_regex(v_first, v_second) then cost else 'unbounded' end;
  elsif p_name in ('replace', 'split', 'contains') then
    cost := case when not v_is_given then 'quadratic' when length(v_first) > 64 then 'unbounded' else cost end;
  end if;
end
$$;

-- The factor by which a list may grow when each item is replaced by the value of an argument.
create or replace function engine.map_growth(p_argument jsonb)
  returns int
  language sql
  immutable
  parallel safe
as $$
  select least(1024, 1 + length(p_argument::text) / 8)
$$;
