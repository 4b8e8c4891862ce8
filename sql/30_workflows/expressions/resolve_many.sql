-- kind: code
-- Resolves nodes with more than eight expressions. Writes and locks nothing.

-- Resolves eight expressions at a time and checks the size of the properties in between, because
-- each result copies all properties.
create or replace function engine.resolve_many(
  p_properties jsonb,
  p_expressions engine.expression[],
  p_strict boolean,
  p_values jsonb[],
  p_outputs jsonb[]
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_properties jsonb := p_properties;
  v_copied bigint := 0;
  v_first int := 1;
begin
  while v_first <= cardinality(p_expressions) loop
    v_properties := engine.resolve(
      v_properties, p_expressions[v_first : v_first + 7], p_strict, p_values, p_outputs
    );
    if pg_column_size(v_properties) > engine.max_results_bytes() then
      perform engine.expression_failed(
        'EXPRESSION_TOO_LARGE',
        format('the results have at most %s together', private.size_text(engine.max_results_bytes())),
        p_expressions[v_first].place,
        1
      );
    end if;
    v_copied := v_copied + 8 * pg_column_size(v_properties);
    if v_copied > engine.inline_work() and p_expressions[v_first].inline_input is not null then
      perform engine.beyond_input(0, 0, p_expressions[v_first].place, 1);
    end if;
    v_first := v_first + 8;
  end loop;
  return v_properties;
end
$$;
