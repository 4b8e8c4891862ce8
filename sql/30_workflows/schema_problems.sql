-- kind: code
create or replace function engine.json_pointer(p_place text[])
  returns text
  language sql
  immutable
  parallel safe
as $$
  select coalesce(string_agg('/' || replace(replace(p.key, '~', '~0'), '/', '~1'), '' order by p.place), '')
  from unnest(p_place) with ordinality as p (key, place)
$$;
