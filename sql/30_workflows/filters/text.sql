-- kind: code
-- Filters on texts. Each depends on its arguments alone. SQL null means that the filter does not
-- apply to the value, which fails the expression. Writes and locks nothing.

-- The text of a text, a number (without zeros at its end) or a boolean; null for other values.
create or replace function engine.scalar_text(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) in ('string', 'boolean') then p_value #>> '{}'
    when jsonb_typeof(p_value) = 'number' then trim_scale(p_value::numeric)::text
  end
$$;

-- A value as part of a text: a text unchanged, a number without zeros at its end (a division gives
-- sixteen), null as an empty text, arrays and objects as JSON.
create or replace function engine.text_of(p_value jsonb)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) = 'number' then trim_scale(p_value::numeric)::text
    else coalesce(p_value #>> '{}', '')
  end
$$;

-- The list that filters of lists work on; a value that is no array becomes a list of one.
create or replace function engine.list_of(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case when jsonb_typeof(p_value) = 'array' then p_value else jsonb_build_array(p_value) end
$$;

-- Also null when the result would be larger than 1 MiB; the result is then not built.
create or replace function engine.filter_replace(p_value jsonb, p_old text, p_new text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_old = '' then to_jsonb(engine.scalar_text(p_value))
    when (length(t.value) - length(replace(t.value, p_old, '')))::bigint / length(p_old)
      * octet_length(p_new) <= engine.max_value_bytes()
      then to_jsonb(replace(t.value, p_old, p_new))
  end
  from (values (engine.scalar_text(p_value))) as t (value)
$$;

create or replace function engine.filter_split(p_value jsonb, p_separator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(string_to_array(engine.scalar_text(p_value), nullif(p_separator, '')))
$$;

create or replace function engine.filter_join(p_value jsonb, p_separator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_array_length(l.items)::bigint * octet_length(p_separator) <= engine.max_value_bytes()
      then to_jsonb(coalesce((
        select string_agg(engine.text_of(i.item), p_separator order by i.place)
        from jsonb_array_elements(l.items) with ordinality as i (item, place)
      ), ''))
  end
  from (values (engine.list_of(p_value))) as l (items)
$$;

-- The part of a text or list from the 0-based place p_from up to, but not including, p_to. Negative
-- places count from the end.
create or replace function engine.filter_slice(p_value jsonb, p_from int, p_to int)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when jsonb_typeof(p_value) = 'array' then coalesce((
      select jsonb_agg(i.item order by i.place)
      from jsonb_array_elements(p_value) with ordinality as i (item, place)
      where i.place > b.first_place and i.place <= b.last_place
    ), '[]')
    else to_jsonb(substr(engine.scalar_text(p_value), b.first_place + 1, greatest(b.last_place - b.first_place, 0)))
  end
  from (
    values (case
      when jsonb_typeof(p_value) = 'array' then jsonb_array_length(p_value)
      else length(engine.scalar_text(p_value))
    end)
  ) as s (size),
  lateral (
    values (
      least(greatest(case when p_from < 0 then s.size + p_from else p_from end, 0), s.size),
      least(greatest(case when p_to < 0 then s.size + p_to else coalesce(p_to, s.size) end, 0), s.size)
    )
  ) as b (first_place, last_place)
$$;

create or replace function engine.filter_pad(p_value jsonb, p_length int, p_fill text, p_side text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_length not between 0 and 10000 or p_side not in ('left', 'right') then null
    when p_length <= length(t.value) then to_jsonb(t.value)
    when p_side = 'left' then to_jsonb(lpad(t.value, p_length, p_fill))
    else to_jsonb(rpad(t.value, p_length, p_fill))
  end
  from (values (engine.scalar_text(p_value))) as t (value)
$$;

-- Percent-encodes all but the unreserved characters of RFC 3986.
create or replace function engine.filter_urlencode(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case when engine.scalar_text(p_value) is not null then coalesce((
    select string_agg(
      case
        when c.letter ~ '^[A-Za-z0-9._~-]$' then c.letter
        else regexp_replace(upper(encode(convert_to(c.letter, 'UTF8'), 'hex') collate "C"), '(..)', E'%\\1', 'g')
      end,
      '' order by c.place
    )
    from regexp_split_to_table(engine.scalar_text(p_value), '') with ordinality as c (letter, place)
  ), '') end)
$$;

create or replace function engine.filter_base64(p_value jsonb, p_mode text)
  returns jsonb
  language plpgsql
  immutable
as $$
begin
  case p_mode
    when 'encode' then
      return to_jsonb(translate(encode(convert_to(engine.scalar_text(p_value), 'UTF8'), 'base64'), e'\n', ''));
    when 'decode' then
      return to_jsonb(convert_from(decode(engine.scalar_text(p_value), 'base64'), 'UTF8'));
    else
      return null;
  end case;
exception
  when data_exception or untranslatable_character then
    return null;
end
$$;

create or replace function engine.filter_hash(p_value jsonb, p_algorithm text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case p_algorithm
    when 'md5' then md5(b.bytes)
    when 'sha224' then encode(sha224(b.bytes), 'hex')
    when 'sha256' then encode(sha256(b.bytes), 'hex')
    when 'sha384' then encode(sha384(b.bytes), 'hex')
    when 'sha512' then encode(sha512(b.bytes), 'hex')
  end)
  from (values (convert_to(engine.scalar_text(p_value), 'UTF8'))) as b (bytes)
$$;

-- Whether two texts are equal, in a time that does not depend on where they differ: counts the bits
-- in which their digests differ. False when one is no text, number or truth value.
create or replace function engine.filter_constant_time_equals(p_value jsonb, p_other jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select to_jsonb(coalesce(bit_count(
    ('x' || encode(sha256(convert_to(engine.scalar_text(p_value), 'UTF8')), 'hex'))::bit(256)
    # ('x' || encode(sha256(convert_to(engine.scalar_text(p_other), 'UTF8')), 'hex'))::bit(256)
  ) = 0, false))
$$;
