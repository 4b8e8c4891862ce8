-- kind: code
-- Filters that write texts and numbers for people, and ids for machines. SQL null means that the filter does not apply.
-- Writes and locks nothing.

-- Each word with a capital letter. initcap() differs between versions and splits words at apostrophes.
create or replace function engine.filter_title(p_value jsonb)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(case when engine.scalar_text(p_value) is not null then coalesce((
    select string_agg(
      upper(left(w.word[1], 1) collate engine.unicode) || lower(substr(w.word[1], 2) collate engine.unicode),
      '' order by w.place
    )
    from regexp_matches(engine.scalar_text(p_value), E'[ \\t\\r\\n-]+|[^ \\t\\r\\n-]+', 'g')
      with ordinality as w (word, place)
  ), '') end)
$$;

-- A number with so many digits after the point (at most 20), and a separator after each three digits before it.
create or replace function engine.filter_format_number(p_value jsonb, p_digits int, p_point text, p_separator text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_digits between 0 and 20 and length(p_point) <= 5 and length(p_separator) <= 5 then to_jsonb(
      replace(
        regexp_replace(split_part(n.text, '.', 1), E'([0-9])(?=([0-9]{3})+$)', E'\\1,', 'g'), ',', p_separator
      ) || case when p_digits > 0 then p_point || split_part(n.text, '.', 2) else '' end
    )
  end
  from (values (round((engine.filter_number(p_value) #>> '{}')::numeric, p_digits)::text)) as n (text)
$$;

-- The same UUID for the same text: version 8, from the SHA-256 of the namespace and the text.
create or replace function engine.filter_uuid_from(p_value jsonb, p_namespace text)
  returns jsonb
  language sql
  immutable
  parallel safe
as $$
  select to_jsonb(encode(
    set_byte(
      set_byte(h.bytes, 6, get_byte(h.bytes, 6) & 15 | 128), 8, get_byte(h.bytes, 8) & 63 | 128
    ),
    'hex'
  )::uuid)
  from (values (substring(
    sha256(sha256(convert_to(coalesce(p_namespace, ''), 'UTF8')) || convert_to(engine.scalar_text(p_value), 'UTF8'))
    from 1 for 16
  ))) as h (bytes)
$$;
