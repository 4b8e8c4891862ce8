-- kind: code
-- What the catalog says about a partitioned table.

-- The kind of key that we can cut by; null when we cannot.
create or replace function partitions.key_kind(p_parent regclass)
  returns text
  language sql
  stable
as $$
  select case a.atttypid
    when 'timestamptz'::regtype then 'timestamptz'
    when 'date'::regtype then 'date'
    when 'uuid'::regtype then 'uuidv7'
  end
  from pg_partitioned_table as t
  join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
  where t.partrelid = p_parent
    and t.partstrat = 'r'
    and t.partnatts = 1
$$;

create or replace function partitions.of(parent regclass)
  returns table (partition regclass, lower timestamptz, upper timestamptz, detaching boolean)
  language sql
  stable
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
as $$
  select
    i.inhrelid::regclass,
    case when b.bounds[1] = 'MINVALUE' then '-infinity'
      when k.kind = 'uuidv7' then engine.uuid_time(btrim(b.bounds[1], '''')::uuid)
      else btrim(b.bounds[1], '''')::timestamptz
    end as lower,
    case when b.bounds[2] = 'MAXVALUE' then 'infinity'
      when k.kind = 'uuidv7' then engine.uuid_time(btrim(b.bounds[2], '''')::uuid)
      else btrim(b.bounds[2], '''')::timestamptz
    end as upper,
    i.inhdetachpending
  from partitions.key_kind($1) as k (kind)
  join pg_inherits as i on i.inhparent = $1
  join pg_class as c on c.oid = i.inhrelid
  cross join lateral
    regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') as b (bounds)
  order by 2, 1
$$;
comment on function partitions.of(regclass) is
  'The partitions of a table in the order of time, with their bounds (upper excluded). A default partition has null bounds. Example: select * from partitions.of(''public.workflow_events'')';

-- The partition that holds the moment, or null.
create or replace function partitions.find(p_parent regclass, p_at timestamptz)
  returns regclass
  language sql
  stable
as $$
  select o.partition
  from partitions.of(p_parent) as o
  where p_at >= o.lower
    and p_at < o.upper
    and not o.detaching
$$;

create or replace function partitions.covered(p_parent regclass)
  returns tstzmultirange
  language sql
  stable
as $$
  select coalesce(range_agg(tstzrange(o.lower, o.upper)), '{}')
  from partitions.of(p_parent) as o
  where o.lower is not null
$$;

-- Changes whenever a partition comes, goes, or is bound anew (which writes a new catalog row): cheaper than reading bounds.
create or replace function partitions.fingerprint(p_parent regclass)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)::bigint
  from pg_inherits as i
  where i.inhparent = p_parent
$$;
