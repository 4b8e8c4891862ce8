-- kind: code
-- The limits of flow control in the settings of a workflow: concurrency, rateLimit and debounce,
-- each with a key that says which runs count together. Writes and locks nothing.

-- The JSON schemas of the three limits.
create or replace function engine.flow_schemas()
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select '{
    "concurrency": {
      "type": ["object", "null"], "required": ["limit"], "additionalProperties": false,
      "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
        "key": {"type": "string", "minLength": 1}
      }
    },
    "rateLimit": {
      "type": ["object", "null"], "required": ["limit", "perMs"], "additionalProperties": false,
      "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
        "perMs": {"type": "integer", "minimum": 1, "maximum": 2678400000},
        "key": {"type": "string", "minLength": 1}
      }
    },
    "debounce": {
      "type": ["object", "null"], "required": ["ms"], "additionalProperties": false,
      "properties": {
        "ms": {"type": "integer", "minimum": 1, "maximum": 2678400000},
        "key": {"type": "string", "minLength": 1}
      }
    }
  }'::jsonb
$$;

-- The problems of the limits in the settings.
create or replace function engine.flow_problems(p_settings jsonb)
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_rule text;
  v_key record;
begin
  foreach v_rule in array array['concurrency', 'rateLimit', 'debounce'] loop
    continue when jsonb_typeof(p_settings -> v_rule -> 'key') is distinct from 'string';
    v_key := engine.parse_expression(p_settings -> v_rule ->> 'key');
    if v_key.problem is not null then
      return next engine.problem(
        array['settings', v_rule, 'key'], 'INVALID_EXPRESSION',
        format('%s (at character %s)', v_key.problem, v_key.problem_at)
      );
    elsif v_key.sources <> '{input}' or v_key.filters is not null then
      return next engine.problem(
        array['settings', v_rule, 'key'], 'INVALID_EXPRESSION',
        'a key is a path into the input, such as $.input.customer, without filters'
      );
    elsif v_key.cost <> 'linear' or v_key.weight > 4 then
      return next engine.problem(
        array['settings', v_rule, 'key'], 'EXPENSIVE_EXPRESSION',
        'a key is looked up when the run starts: it must be a simple path, such as $.input.customer'
      );
    end if;
  end loop;
end
$$;

-- The limits of valid settings, with each key compiled to a path that starts at the input; null
-- when there are none.
create or replace function engine.compile_flow(p_settings jsonb)
  returns jsonb
  language sql
  stable
as $$
  select jsonb_object_agg(
    s.rule,
    s.value || case when s.value ? 'key'
      then jsonb_build_object('path', (engine.parse_expression(s.value ->> 'key')).path)
      else '{}'
    end
  )
  from jsonb_each(p_settings) as s (rule, value)
  where s.rule in ('concurrency', 'rateLimit', 'debounce')
    and s.value <> 'null'
$$;
