-- kind: code
-- Translates methods and members in n8n's expressions that are more than paths; see
-- expressions.sql. Writes and locks nothing.

-- Methods of texts and lists that a filter does in the same way. In JavaScript `replace` with a
-- text replaces only the first occurrence.
create or replace function private.n8n_method(p_text text, p_places jsonb)
  returns text
  language plpgsql
  immutable
as $$
declare
  v_found text[];
  v_filter text;
begin
  v_found := coalesce(
    regexp_match(p_text, E'^(.+)\\.(replace)\\(/([A-Za-z0-9 ,;:_-]+)/g,\\s*(''[^''$]*''|"[^"$]*")\\)$'),
    regexp_match(
      p_text,
      E'^(.+)\\.(\\w+)\\(\\s*((?:''[^'']*''|"[^"]*"|-?[0-9]+)?)(?:\\s*,\\s*(''[^''$]*''|"[^"$]*"|-?[0-9]+))?\\s*\\)$'
    )
  );
  v_filter := case
    when v_found[2] = 'trim' and v_found[3] = '' then 'trim'
    when v_found[2] = 'toUpperCase' and v_found[3] = '' then 'upper'
    when v_found[2] = 'toLowerCase' and v_found[3] = '' then 'lower'
    when v_found[2] = 'split' and v_found[4] is null and v_found[3] ~ '^[''"].+[''"]$'
      then 'split(' || private.n8n_literal(v_found[3]) || ')'
    when v_found[2] = 'join' and v_found[4] is null and v_found[3] ~ '^[''"]'
      then 'join(' || private.n8n_literal(v_found[3]) || ')'
    when v_found[2] = 'replaceAll' and v_found[3] ~ '^[''"].+[''"]$' and v_found[4] ~ '^[''"]'
      then 'replace(' || private.n8n_literal(v_found[3]) || ', ' || private.n8n_literal(v_found[4]) || ')'
    when v_found[2] = 'replace' and v_found[3] !~ '^[''"]' and v_found[4] ~ '^[''"]'
      then 'replace(' || to_jsonb(v_found[3])::text || ', ' || private.n8n_literal(v_found[4]) || ')'
    when v_found[2] = 'slice' and v_found[3] ~ E'^-?[0-9]{1,6}$' and coalesce(v_found[4], '0') ~ E'^-?[0-9]{1,6}$'
      then 'slice(' || concat_ws(', ', v_found[3], v_found[4]) || ')'
  end;
  return case when v_filter is not null then private.n8n_term(v_found[1], p_places) || ' | ' || v_filter end;
end
$$;

-- `.length` of a list; of any other value it is null, which n8n_remarks reports for texts.
create or replace function private.n8n_length(p_text text, p_places jsonb)
  returns text
  language sql
  immutable
as $$
  select format('%1$s ? (@%2$s.type() == "array")%2$s.size() | first', p.found[1], p.found[2])
  from regexp_match(
    private.n8n_path((regexp_match(p_text, E'^(.+)\\.length$'))[1], p_places), E'^(\\$.*)(\\.\\w+|\\."[^"]+")$'
  ) as p (found)
  where p.found is not null
$$;

-- `$now`, shifted by whole units, as ISO 8601 or in a format of digits. Here it is the start of the
-- run.
create or replace function private.n8n_now(p_text text, p_places jsonb)
  returns text
  language sql
  immutable
as $$
  select '$.run.startedAt' || coalesce((
    select string_agg(format(
      ' | add(%s%s, "%s", "%s")', case m.shift[1] when 'minus' then '-' else '' end, m.shift[3], m.shift[2], z.zone
    ), '' order by m.place)
    from regexp_matches(n.found[1], E'(plus|minus)\\(\\{ *([a-z]+): *([0-9]+) *\\}\\)', 'g')
      with ordinality as m (shift, place)
  ), '') || format(' | date("%s"%s)', z.zone, case
    when n.found[2] = '.toISODate()' then ', "YYYY-MM-DD"'
    when n.found[3] is not null then ', ' || to_jsonb(replace(replace(replace(replace(replace(
      n.found[3], 'yyyy', 'YYYY'), 'dd', 'DD'), 'HH', 'HH24'), 'mm', 'MI'), 'ss', 'SS'))::text
    else ''
  end)
  from regexp_match(
    p_text,
    E'^\\$now((?:\\.(?:plus|minus)\\(\\{ *(?:seconds|minutes|hours|days|weeks|months|years): *[0-9]{1,6} *\\}\\))*)'
    || E'(\\.toISO\\(\\)|\\.toISODate\\(\\)|\\.toFormat\\([''"]((?:yyyy|MM|dd|HH|mm|ss|[-_/.: ])+)[''"]\\))?$'
  ) as n (found)
  cross join (values (p_places ->> (chr(1) || 'zone'))) as z (zone)
  where n.found is not null
$$;
