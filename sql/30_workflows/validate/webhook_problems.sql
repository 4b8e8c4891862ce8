-- kind: code
-- The rules of webhook triggers beyond their schema. Writes and locks nothing.

-- The problems of a webhook trigger, each at its place.
create or replace function engine.webhook_problems(p_node jsonb, p_place text[])
  returns setof public.workflow_problem
  language plpgsql
  stable
as $$
declare
  v_properties constant jsonb := p_node -> 'properties';
  v_problem text := engine.path_problem(v_properties ->> 'path');
  v_key record;
begin
  if v_problem is not null then
    return next engine.problem(p_place || '{properties,path}'::text[], 'INVALID_PROPERTY', v_problem);
  end if;
  if v_properties ->> 'authentication' <> 'none' and p_node #>> '{credentials,auth}' is null then
    return next engine.problem(
      p_place || '{credentials}'::text[], 'INVALID_PROPERTY',
      'requests are authenticated by a credential: {"auth": "its name"}'
    );
  end if;
  if v_properties ? 'dedupe' then
    v_key := engine.parse_expression(v_properties ->> 'dedupe');
    v_problem := case
      when v_key.problem is not null then format('%s (at character %s)', v_key.problem, v_key.problem_at)
      when v_key.sources <> '{input}' or v_key.filters is not null
        then 'dedupe is a path into the input, such as $.input.body.id, without filters'
      when v_key.cost <> 'linear' or v_key.weight > 4
        then 'dedupe is looked up when a request comes: it must be a simple path, such as $.input.body.id'
    end;
    if v_problem is not null then
      return next engine.problem(p_place || '{properties,dedupe}'::text[], 'INVALID_EXPRESSION', v_problem);
    end if;
  end if;
end
$$;

-- Says whether a text is an address, or a network with its length.
create or replace function engine.is_network(p_text text)
  returns boolean
  language plpgsql
  immutable
as $$
begin
  return p_text::inet is not null;
exception
  when data_exception then
    return false;
end
$$;

-- The problem of how requests are signed; null when there is none.
create or replace function engine.signature_problem(p_signature jsonb)
  returns text
  language sql
  immutable
as $$
  select case
    when p_signature ->> 'scheme' <> 'generic'
      and p_signature ?| '{header,algorithm,encoding,prefix,timestampHeader,content}'
      then 'header, algorithm, encoding, prefix, timestampHeader and content are of the scheme generic'
    when p_signature ->> 'scheme' = 'generic' and not p_signature ? 'header'
      then 'the scheme generic needs header, in which the signature is'
    when p_signature ? 'toleranceSeconds' and (
      p_signature ->> 'scheme' in ('github', 'shopify')
      or (p_signature ->> 'scheme' = 'generic' and not p_signature ? 'timestampHeader')
    ) then 'toleranceSeconds is of a signed time, which there is none of'
    when p_signature ->> 'content' not like '%{body}%'
      or replace(p_signature ->> 'content', '{timestamp}', '') ~ '[{].*[{]'
      then 'content has {body} once, and {timestamp} where the time stands: {timestamp}.{body}'
    when p_signature ->> 'content' ~ '[{]timestamp[}]' and not p_signature ? 'timestampHeader'
      then 'content names {timestamp}, so timestampHeader is needed'
  end
$$;

-- The problem of the properties; null when there is none.
create or replace function engine.webhook_problem(p_properties jsonb)
  returns text
  language sql
  stable
as $$
  select case
    when coalesce(p_properties ->> 'authentication' = 'hmac', false) <> (p_properties ? 'signature')
      then 'authentication hmac and signature, which says how requests are signed, belong together'
    when p_properties ? 'dedupe' and p_properties ? 'dedupeHeader' then 'dedupe and dedupeHeader exclude each other'
    else coalesce(engine.signature_problem(p_properties -> 'signature'), (
      select format('allowCidrs: %L is not a network such as 192.0.2.0/24 or 2001:db8::/32', c.cidr)
      from jsonb_array_elements_text(coalesce(p_properties -> 'allowCidrs', '[]')) as c (cidr)
      where not engine.is_network(c.cidr)
      limit 1
    ))
  end
$$;

-- The problem of the path of a webhook; null when there is none.
create or replace function engine.path_problem(p_path text)
  returns text
  language sql
  immutable
as $$
  select case
    when cardinality(s.segments) > 16 then 'a path has at most 16 segments'
    when cardinality(s.segments) = 0 or exists (
      select from unnest(s.segments) as t (segment)
      where t.segment !~ '^(:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z0-9._~-]+)$' or t.segment in ('.', '..')
    ) then format(
      'the path %s is not one that a webhook can have: '
      'its segments are letters, digits, ".", "_", "~" and "-", or :names, such as /orders/:id',
      p_path
    )
    when cardinality(s.segments) <> (
      select count(*) filter (where not starts_with(t.segment, ':'))
        + count(distinct t.segment) filter (where starts_with(t.segment, ':'))
      from unnest(s.segments) as t (segment)
    ) then 'a path has each :name once'
  end
  from (
    select string_to_array(btrim(regexp_replace(p_path, '/+', '/', 'g'), '/'), '/') as segments
  ) as s
$$;
