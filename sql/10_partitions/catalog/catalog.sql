-- kind: code
-- Reads PostgreSQL's catalog about a partitioned table: its key, partitions and bounds. Writes and
-- locks nothing.

-- Returns the kind of partition key that a type makes; null when the type is not supported.
create or replace function partitions.kind_of_type(p_type oid)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case p_type
    when 'timestamptz'::regtype then 'timestamptz'
    when 'date'::regtype then 'date'
    when 'uuid'::regtype then 'uuidv7'
  end
$$;

-- Returns the kind of key of a partitioned table; null when it is not RANGE over one supported
-- column.
create or replace function partitions.key_kind(p_parent regclass)
  returns text
  language sql
  stable
as $$
  select partitions.kind_of_type(a.atttypid)
  from pg_partitioned_table as t
  join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
  where t.partrelid = p_parent
    and t.partstrat = 'r'
    and t.partnatts = 1
$$;

-- Converts a bound as pg_get_expr writes it into a time.
create or replace function partitions.bound_time(p_key_kind text, p_bound text)
  returns timestamptz
  language sql
  stable
as $$
  select case
    when p_key_kind is null then null
    when p_bound = 'MINVALUE' then '-infinity'
    when p_bound = 'MAXVALUE' then 'infinity'
    when p_key_kind = 'uuidv7' then engine.uuid_time(btrim(p_bound, '''')::uuid)
    else btrim(p_bound, '''')::timestamptz
  end
$$;

-- Takes FOR VALUES FROM ('…') TO ('…') apart by position: with 1,200 partitions regular expressions
-- took half of the time.
create or replace function partitions.of(parent regclass)
  returns table (
    partition regclass,
    name text,
    lower timestamptz,
    upper timestamptz,
    detaching boolean
  )
  language sql
  stable
  set timezone = 'UTC'
  set datestyle = 'ISO, YMD'
  set search_path = pg_catalog, pg_temp
as $$
  select c.oid::regclass, c.relname,
    partitions.bound_time(kind, rtrim(substr(nullif(bound.text, 'DEFAULT'), 18, bound.middle - 18), ')')) as lower,
    partitions.bound_time(kind, rtrim(substr(nullif(bound.text, 'DEFAULT'), bound.middle + 5), ')')) as upper,
    i.inhdetachpending
  from partitions.key_kind($1) as kind
  join pg_inherits as i on i.inhparent = $1
  join pg_class as c on c.oid = i.inhrelid
  cross join lateral (
    select b.text, position(' TO (' in b.text) as middle
    from (select pg_get_expr(c.relpartbound, c.oid) offset 0) as b (text)
  ) as bound
  order by lower, upper
$$;
comment on function partitions.of(regclass) is
  'Lists the partitions of a table in the order of time, with their bounds (upper excluded). A default partition has null bounds. Example: select * from partitions.of(''public.workflow_events'')';

-- Returns the name of the partition that holds a moment; null when there is none.
create or replace function partitions.find(p_parent regclass, p_at timestamptz)
  returns text
  language sql
  stable
as $$
  select o.name
  from partitions.of(p_parent) as o
  where p_at >= o.lower
    and p_at < o.upper
    and not o.detaching
$$;

-- Returns the time that the partitions of a table cover.
create or replace function partitions.covered(p_parent regclass)
  returns tstzmultirange
  language sql
  stable
as $$
  select coalesce(range_agg(tstzrange(o.lower, o.upper)), '{}')
  from partitions.of(p_parent) as o
  where o.lower is not null
$$;

-- Returns a number that changes when a partition is attached, detached or gets other bounds, since
-- each writes a catalog row. Costs less than reading the bounds.
create or replace function partitions.fingerprint(p_parent regclass)
  returns bigint
  language sql
  stable
as $$
  select coalesce(sum(i.inhrelid::bigint * 31 + i.xmin::text::bigint), 0)::bigint
  from pg_inherits as i
  where i.inhparent = p_parent
$$;

-- Says whether a foreign key refers to a table.
create or replace function partitions.is_referenced(p_table regclass)
  returns boolean
  language sql
  stable
as $$
  select exists (select from pg_constraint as k where k.confrelid = p_table and k.contype = 'f')
$$;

-- Returns the qualified and quoted name of a partition, which is in the schema of its parent.
create or replace function partitions.qualified(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select format('%I.%I', n.nspname, p_partition)
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.oid = p_parent
$$;

grant execute on function partitions.of(regclass) to flowgres_dba;
