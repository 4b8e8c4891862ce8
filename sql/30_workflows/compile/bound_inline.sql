-- kind: code
-- Sets the sizes of input up to which the engine evaluates a compiled node inline, in its own
-- transaction. What reads more, or has no bounded cost, is evaluated in a local step: a transaction
-- of its own with a time limit. Writes and locks nothing.

-- Sets the limits of expressions by their cost class. null removes the limits, as for a local step.
create or replace function engine.with_inline_input(
  p_expressions engine.expression[],
  p_linear int default null,
  p_quadratic int default null
)
  returns engine.expression[]
  language plpgsql
  immutable
as $$
declare
  v_expression engine.expression;
  v_part engine.expression_part;
  v_limit int;
  v_expressions engine.expression[];
  v_parts engine.expression_part[];
begin
  foreach v_expression in array coalesce(p_expressions, '{}') loop
    v_limit := case
      when p_linear is null or v_expression.cost = 'linear' then p_linear
      when v_expression.cost = 'quadratic' then p_quadratic
      else 0
    end;
    v_expression.inline_input := least(v_expression.max_input, v_limit);
    if v_limit is null then
      v_expression.inline_input := null;
    end if;
    v_parts := null;
    foreach v_part in array coalesce(v_expression.parts, '{}') loop
      v_part.inline_input := case when v_limit is not null then least(v_part.max_input, v_limit) end;
      v_parts := v_parts || v_part;
    end loop;
    v_expression.parts := v_parts;
    v_expressions := v_expressions || v_expression;
  end loop;
  return v_expressions;
end
$$;

-- Up to how many bytes of input the work of the node itself, without its expressions, is cheap;
-- null: any number.
create or replace function engine.inline_node_input(p_node engine.compiled_node)
  returns int
  language sql
  immutable
as $$
  select case split_part(p_node.type, '@', 1)
    when 'compare' then engine.inline_quadratic_input()
    -- Sorting and grouping take some 128 units of work a byte, and more for each field.
    when 'sort' then engine.inline_work() / (128 * (1 + s.fields))
    when 'removeDuplicates' then engine.inline_work() / 256
    when 'summarize' then engine.inline_work() / (128 * (2 + s.fields / 4))
    when 'aggregate' then engine.inline_work() / (16 * (1 + s.fields))
    when 'splitOut' then engine.inline_work() / (32 * (1 + s.fields))
    when 'renameKeys' then engine.inline_work() / 64
    when 'convert' then engine.inline_work() / case when p_node.properties ->> 'to' ~ 'rl' then 512 else 128 end
    when 'merge' then case when p_node.properties ->> 'mode' = 'fields' then engine.inline_quadratic_input() end
    -- `set` copies the object for each type and compares each key with those to omit, so its work
    -- grows with both.
    when 'set' then case when s.keys > 8 then engine.inline_work() / s.keys end
  end
  from (
    select coalesce(jsonb_array_length(p_node.properties -> 'omit'), 0)
      + (select count(*)::int from jsonb_object_keys(coalesce(p_node.properties -> 'types', '{}'))) as keys,
      (
        select coalesce(sum(jsonb_array_length(l.list)), 0)::int
        from jsonb_path_query(
          p_node.properties, 'strict $.keyvalue() ? (@.key like_regex "^(by|fields|keep|values)$").value'
        ) as l (list)
        where jsonb_typeof(l.list) = 'array'
      ) as fields
  ) as s
$$;

-- Returns the node with its limits, as a local node if it is too expensive for any input.
create or replace function engine.bound_inline(p_node engine.compiled_node)
  returns engine.compiled_node
  language plpgsql
  immutable
as $$
declare
  v_node engine.compiled_node := p_node;
  v_expression engine.expression;
  v_weight bigint := 1;
  v_quadratic bigint := 0;
begin
  -- Expressions for child runs cannot be left to a local step: beyond these limits they fail.
  v_node.deferred := engine.with_inline_input(
    engine.with_large_input(v_node.deferred), engine.max_value_bytes(), engine.inline_quadratic_input()
  );
  v_node.is_isolated := coalesce(cardinality(v_node.expressions), 0)::bigint * pg_column_size(v_node.properties)
    > engine.inline_work();
  foreach v_expression in array coalesce(v_node.expressions, '{}') loop
    v_weight := v_weight + v_expression.weight + case v_expression.kind when 'each' then 32 else 0 end;
    v_quadratic := v_quadratic + case v_expression.cost when 'quadratic' then v_expression.weight else 0 end;
    v_node.is_isolated := v_node.is_isolated or v_expression.cost = 'unbounded';
  end loop;
  v_node.expressions := engine.with_inline_input(
    v_node.expressions,
    (engine.inline_work() / v_weight)::int,
    least(
      engine.inline_work() / v_weight, engine.inline_quadratic_input() / ceil(sqrt(greatest(v_quadratic / 4.0, 1)))
    )::int
  );
  if v_node.kind = 'pure' then
    v_node.inline_input := engine.inline_node_input(v_node);
    -- respondToWebhook stays pure: its local step only evaluates the properties, from which the
    -- engine takes the answer.
    if v_node.is_isolated and not starts_with(v_node.type, 'respondToWebhook@') then
      v_node.kind := 'local';
    end if;
  end if;
  return v_node;
end
$$;

-- Expressions that walk what they read a few times only may read a whole value: the output of a
-- child, which `until` looks at, may have 1 MiB.
create or replace function engine.with_large_input(p_expressions engine.expression[])
  returns engine.expression[]
  language plpgsql
  immutable
as $$
declare
  v_expression engine.expression;
  v_part engine.expression_part;
  v_parts engine.expression_part[];
  v_expressions engine.expression[];
begin
  foreach v_expression in array coalesce(p_expressions, '{}') loop
    if v_expression.cost = 'linear' and v_expression.weight <= 8 then
      v_parts := null;
      foreach v_part in array coalesce(v_expression.parts, '{}') loop
        v_part.max_input := engine.max_value_bytes();
        v_parts := v_parts || v_part;
      end loop;
      v_expression.parts := v_parts;
      v_expression.max_input := engine.max_value_bytes();
    end if;
    v_expressions := v_expressions || v_expression;
  end loop;
  return v_expressions;
end
$$;
