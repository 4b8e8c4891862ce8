-- kind: code
-- The limits of JSON values where they are made or received: at most 64 levels of arrays and
-- objects, 1 MiB as text, and numbers of a bounded length. src/json/strict.ts has the same limits.
-- Writes and locks nothing.

-- A smaller value of bounded numbers has less than 1 MiB as text: a number takes at least 12 bytes
-- and has at most 711 characters.
create or replace function engine.measured_bytes()
  returns int
  language sql
  immutable
  parallel safe
as $$
  select 16384
$$;

-- Whether a number has a bounded length: 1e130000 takes 12 bytes in binary form and 130,001
-- characters as text.
create or replace function engine.is_bounded(p_number jsonb)
  returns boolean
  language sql
  immutable
  parallel safe
as $$
  select abs(p_number::numeric) < '1e309'::numeric and scale(p_number::numeric) <= 400
$$;

-- Why a value of bounded numbers is too deep or too large; null when it is neither. Callers on the
-- hot path skip it up to 512 bytes, because each level takes 8 bytes.
create or replace function engine.excess(
  p_value jsonb,
  p_levels int default engine.max_value_levels(),
  p_bytes int default engine.max_value_bytes()
)
  returns text
  language plpgsql
  immutable
as $$
begin
  if pg_column_size(p_value) > 500 and (case p_levels
    when 63 then p_value @? 'strict $.**{63} ? (@.type() == "array" || @.type() == "object")'
    when 64 then p_value @? 'strict $.**{64} ? (@.type() == "array" || @.type() == "object")'
    else p_value @? 'strict $.**{128} ? (@.type() == "array" || @.type() == "object")'
  end) then
    return format('is nested deeper than %s levels', p_levels);
  elsif pg_column_size(p_value) > least(p_bytes / 64, engine.measured_bytes())
    and octet_length(p_value::text) > p_bytes
  then
    return format('is larger than %s', private.size_text(p_bytes));
  end if;
  return null;
end
$$;

-- Why a value of unknown origin is refused; null when it is not. Checks numbers first, because they
-- can make the text of a value too large to be measured.
create or replace function engine.value_problem(
  p_value jsonb,
  p_levels int default engine.max_value_levels(),
  p_bytes int default engine.max_value_bytes()
)
  returns text
  language sql
  immutable
as $$
  select case
    when jsonb_path_exists(
      p_value,
      'strict $.** ? (@.type() == "number"
        && (@ >= 1e309 || @ <= -1e309 || (@ != 0 && @ < 1e-400 && @ > -1e-400)))'
    ) then 'has a number that is too large or too small'
    else engine.excess(p_value, p_levels, p_bytes)
  end
$$;

-- Raises TOO_LARGE for a value that a caller has given. p_name is its name in the message, such as
-- "The input of a run".
create or replace function engine.refuse_value(p_value jsonb, p_name text, p_bytes int default engine.max_value_bytes())
  returns void
  language plpgsql
  immutable
as $$
declare
  v_problem constant text := engine.value_problem(p_value, engine.max_value_levels(), p_bytes);
begin
  if v_problem is not null then
    perform private.raise_error('TOO_LARGE', format('%s %s.', p_name, v_problem));
  end if;
end
$$;

-- The same for a value that a node has made of values that were checked before.
create or replace function engine.refuse_size(
  p_value jsonb,
  p_name text,
  p_levels int default engine.max_value_levels()
)
  returns void
  language plpgsql
  immutable
as $$
declare
  v_problem constant text := engine.excess(p_value, p_levels);
begin
  if v_problem is not null then
    perform private.raise_error('TOO_LARGE', format('%s %s.', p_name, v_problem));
  end if;
end
$$;
