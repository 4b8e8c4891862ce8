-- kind: code
-- Finds what keeps a plain table from being partitioned, before anything is changed. Writes and
-- locks nothing.

-- Raises INVALID_ARGUMENT for the first obstacle.
create or replace function partitions.require_convertible(
  p_table regclass,
  p_key text,
  p_extend_primary_key boolean
)
  returns void
  language plpgsql
  stable
as $$
declare
  v_obstacle record;
begin
  perform partitions.require_ours(p_table);
  for v_obstacle in
    select o.* from partitions.obstacles_of_table(p_table, p_key) as o
    union all
    select o.* from partitions.obstacles_of_keys(p_table, p_key, p_extend_primary_key) as o
    union all
    select o.* from partitions.obstacles_around(p_table, p_extend_primary_key) as o
  loop
    perform private.raise_error('INVALID_ARGUMENT', format('%s %s.', p_table, v_obstacle.problem), v_obstacle.hint);
  end loop;
  perform partitions.require_short_names(p_table);
end
$$;

-- Lists what PostgreSQL does not allow on a partitioned table, or what the conversion cannot carry
-- over.
create or replace function partitions.obstacles_of_table(p_table regclass, p_key text)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  select o.problem, o.hint
  from pg_class as c
  left join pg_attribute as a on a.attrelid = c.oid and a.attname = p_key and a.attnum > 0 and not a.attisdropped
  cross join lateral (
    values
      (c.relkind = 'p', 'is partitioned already', format('select partitions.manage(%L)', c.oid::regclass)),
      (c.relkind not in ('r', 'p'), 'is not a table', 'Name a plain table.'),
      (c.relispartition, 'is itself a partition', 'Partitions of partitions are not supported.'),
      (c.relpersistence <> 'p', 'is temporary or unlogged', format('alter table %s set logged', c.oid::regclass)),
      (c.reloftype <> 0, 'is a typed table', format('alter table %s not of', c.oid::regclass)),
      (
        not c.relispartition and c.relkind = 'r'
          and exists (select from pg_inherits as i where c.oid in (i.inhrelid, i.inhparent)),
        'inherits, or others inherit from it', 'Only a table on its own can be converted.'
      ),
      (a.attnum is null, format('has no column %s', coalesce(p_key, 'null')), 'Name the column of its time.'),
      (
        partitions.kind_of_type(a.atttypid) is null, format('cannot be cut by %I', p_key),
        'Supported are columns of type timestamptz, date or uuid (version 7).'
      ),
      (
        a.attgenerated <> '', format('cannot be cut by %I, which is generated', p_key),
        'Name a column that is written.'
      ),
      (
        exists (select from pg_attribute as i where i.attrelid = c.oid and i.attidentity <> ''),
        'has an identity column',
        'Give it a sequence instead, as bigserial does: drop identity, create sequence, set its value and the default.'
      )
  ) as o (applies, problem, hint)
  where c.oid = p_table
    and o.applies
$$;

-- Returns the unique index over the primary key's columns and the partition key, and no others,
-- which can become the primary key.
create or replace function partitions.extended_key_index(p_table regclass, p_key text)
  returns regclass
  language sql
  stable
as $$
  select x.indexrelid::regclass
  from pg_index as pk
  join pg_attribute as a on a.attrelid = pk.indrelid and a.attname = p_key
  join pg_index as x on x.indrelid = pk.indrelid and x.indisunique and x.indisvalid and x.indimmediate
    and x.indpred is null and x.indnatts = x.indnkeyatts
    and x.indkey::text = format('%s %s', pk.indkey, a.attnum)
  where pk.indrelid = p_table
    and pk.indisprimary
    and not exists (select from pg_constraint as k where k.conindid = x.indexrelid)
  order by 1
  limit 1
$$;

-- Lists primary keys and indexes that a partitioned table cannot have.
create or replace function partitions.obstacles_of_keys(
  p_table regclass,
  p_key text,
  p_extend_primary_key boolean
)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  with keys as (
    select x.*, ic.relname as name, k.contype, p_key_number = any (x.indkey::int[]) as has_key
    from pg_index as x
    join pg_class as ic on ic.oid = x.indexrelid
    left join pg_constraint as k on k.conindid = x.indexrelid and k.conrelid = x.indrelid
    cross join lateral (
      select a.attnum::int from pg_attribute as a where a.attrelid = p_table and a.attname = p_key
    ) as a (p_key_number)
    where x.indrelid = p_table
  )
  select 'has no primary key',
    'Without one its rows cannot be followed while they are copied: add one that holds the partition key.'
  where not exists (select from keys where indisprimary)
  union all
  select format('has a primary key without %I', p_key),
    format('Say extend_primary_key => true to add it. Then the other columns alone may occur twice.', p_key)
  from keys
  where indisprimary and not has_key and not p_extend_primary_key
  union all
  select format('needs an index for its new primary key'),
    format('Build it first, which holds up nobody: create unique index concurrently on %s (%s, %I)', p_table,
      (select string_agg(quote_ident(a.attname), ', ' order by n)
       from unnest(indkey::int[]) with ordinality as c (attnum, n)
       join pg_attribute as a on a.attrelid = p_table and a.attnum = c.attnum), p_key)
  from keys
  where indisprimary and not has_key and p_extend_primary_key
    and partitions.extended_key_index(p_table, p_key) is null
  union all
  select format('has a unique index %I without %I', name, p_key),
    'A unique index of a partitioned table contains the partition key: extend it, or make it a plain index.'
  from keys
  where indisunique and not indisprimary and not has_key
  union all
  select format('has an index %I that is invalid', name), format('reindex index concurrently %s', indexrelid::regclass)
  from keys
  where not indisvalid
  union all
  select format('has an exclusion constraint %I', name), 'Drop it: it would hold within each partition only.'
  from keys
  where contype = 'x'
  union all
  select format('has a primary key %I that is deferrable', name), 'Make it not deferrable: the copy is merged by it.'
  from keys
  where indisprimary and not indimmediate
$$;

-- Says whether an object that depends on the table is carried over, or can be dropped with the old
-- table without a loss.
create or replace function partitions.is_carried_over(p_table regclass, p_class oid, p_object oid)
  returns boolean
  language sql
  stable
as $$
  select case p_class
    when 'pg_attrdef'::regclass then exists (select from pg_attrdef as d where d.oid = p_object and d.adrelid = p_table)
    when 'pg_constraint'::regclass then
      exists (select from pg_constraint as k where k.oid = p_object and p_table in (k.conrelid, k.confrelid))
    when 'pg_trigger'::regclass then exists (select from pg_trigger as t where t.oid = p_object and t.tgrelid = p_table)
    when 'pg_policy'::regclass then exists (select from pg_policy as p where p.oid = p_object and p.polrelid = p_table)
    when 'pg_statistic_ext'::regclass then
      exists (select from pg_statistic_ext as s where s.oid = p_object and s.stxrelid = p_table)
    when 'pg_class'::regclass then
      exists (select from pg_index as x where x.indexrelid = p_object and x.indrelid = p_table)
      or exists (select from pg_class as s where s.oid = p_object and s.relkind = 'S')
    else false
  end
$$;

-- Lists foreign keys, triggers and other objects that are bound to the old table itself rather than
-- to its name.
create or replace function partitions.obstacles_around(p_table regclass, p_extend_primary_key boolean)
  returns table (problem text, hint text)
  language sql
  stable
as $$
  select format('has a foreign key %I that is not validated', k.conname),
    format('alter table %s validate constraint %I', p_table, k.conname)
  from pg_constraint as k
  where k.conrelid = p_table and k.contype = 'f' and not k.convalidated
  union all
  select format('refers to itself by %I', k.conname),
    'Drop that foreign key: a partition that others refer to could never leave.'
  from pg_constraint as k
  where k.conrelid = p_table and k.confrelid = p_table
  union all
  select format('is referred to by %s', k.conrelid::regclass), case
    when p_extend_primary_key then 'Drop that foreign key: there is no unique key of those columns alone any more.'
    else 'Drop that foreign key: one of a partitioned table cannot be added without reading it.'
  end
  from pg_constraint as k
  join pg_class as c on c.oid = k.conrelid
  where k.confrelid = p_table and k.conrelid <> p_table and (p_extend_primary_key or c.relkind <> 'r')
  union all
  select format('has a trigger %I with transition tables for each row', t.tgname), 'Make it one for each statement.'
  from pg_trigger as t
  where t.tgrelid = p_table and t.tgtype & 1 = 1 and (t.tgoldtable is not null or t.tgnewtable is not null)
  union all
  select format('is used by %s', pg_describe_object(d.classid, d.objid, d.objsubid)),
    'It would stay with the old table: drop it, and create it again afterwards.'
  from pg_class as c
  join pg_depend as d
    on (d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid)
    or (d.refclassid = 'pg_type'::regclass
      and d.refobjid in (c.reltype, (select t.typarray from pg_type as t where t.oid = c.reltype)))
  where c.oid = p_table
    and d.deptype in ('n', 'a')
    and not partitions.is_carried_over(p_table, d.classid, d.objid)
$$;
