-- kind: code
-- Copies the rows of a converted table into new partitions that are not part of it yet. A trigger
-- repeats changes in the copy; copying reads the old table's file from its first block to its last.
-- Writes the copy; locks the rows it copies (for key share), and the old table while it creates the
-- triggers.

-- Names the table that holds the new partitions until they replace the old table.
create or replace function partitions.copy_name(p_name text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select p_name || '_split'
$$;

-- Lists the columns of a table's primary key.
create or replace function partitions.columns_of_key(p_table regclass, p_prefix text default '')
  returns text
  language sql
  stable
as $$
  select string_agg(p_prefix || quote_ident(a.attname), ', ' order by c.n)
  from pg_index as x
  cross join lateral unnest(x.indkey::int[]) with ordinality as c (attnum, n)
  join pg_attribute as a on a.attrelid = x.indrelid and a.attnum = c.attnum
  where x.indrelid = p_table
    and x.indisprimary
    and c.n <= x.indnkeyatts
$$;

-- Lists the columns to copy; generated ones are computed again.
create or replace function partitions.written_columns(p_table regclass, p_prefix text default '')
  returns text
  language sql
  stable
as $$
  select string_agg(p_prefix || quote_ident(a.attname), ', ' order by a.attnum)
  from pg_attribute as a
  where a.attrelid = p_table
    and a.attnum > 0
    and not a.attisdropped
    and a.attgenerated = ''
$$;

-- Returns the statements that create the copy: a partitioned table that routes each row to its
-- partition.
create or replace function partitions.copy_statements(p_managed partitions.managed_tables, p_key text)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create table %s (like %s including generated) partition by range (%I)', copy, p_managed.parent, p_key),
    format('alter table %s add constraint %I primary key (%s)', copy, partitions.copy_name(c.relname) || '_pkey',
      partitions.columns_of_key(p_managed.parent)),
    format('alter table %s enable row level security', copy),
    format('select partitions.close_table(%L)', copy)
  )
  from pg_class as c
  cross join lateral partitions.qualified(c.oid, partitions.copy_name(c.relname)) as copy
  where c.oid = p_managed.parent
$$;

-- Returns the statements that create one partition of the copy, with the foreign keys too: adding
-- them to a full partition would read it.
create or replace function partitions.batch_statements(
  p_managed partitions.managed_tables,
  p_conversion partitions.conversions,
  p_batch tstzrange
)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    partitions.table_like(p_managed, name),
    partitions.comment_of_partition(c.relname, qualified, p_batch),
    format('alter table %s add constraint %I check (%s)', qualified, partitions.bound_check(),
      partitions.bound_condition(p_managed.key_kind, p_conversion.key, p_batch)),
    (
      select string_agg(format('alter table %s add constraint %I %s', qualified, k.conname,
        pg_get_constraintdef(k.oid)), '; ')
      from pg_constraint as k
      where k.conrelid = p_managed.parent
        and k.contype = 'f'
        and k.conparentid = 0
    ),
    format('alter table %s attach partition %s %s', p_conversion.copy, qualified,
      partitions.values_clause(p_managed.key_kind, p_batch))
  )
  from pg_class as c
  cross join lateral partitions.partition_name(c.relname, p_managed.granularity, p_batch) as name
  cross join lateral partitions.qualified(c.oid, name) as qualified
  where c.oid = p_managed.parent
$$;

-- Returns the statements that create triggers on the old table; they repeat every insert, update,
-- delete and truncate in the copy.
create or replace function partitions.catch_up_statements(p_conversion partitions.conversions)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create trigger partitions_catch_up after insert or update or delete on %s
      for each row execute function partitions.catch_up(%L, %L)', p_conversion.historic,
      format('delete from %s where (%s) = (%s)', p_conversion.copy,
        partitions.columns_of_key(p_conversion.copy), partitions.columns_of_key(p_conversion.copy, '($1).')),
      format('insert into %s (%s) select %s on conflict (%s) do update set (%2$s) = row(%5$s)', p_conversion.copy,
        partitions.written_columns(p_conversion.copy), partitions.written_columns(p_conversion.copy, '($1).'),
        partitions.columns_of_key(p_conversion.copy), partitions.written_columns(p_conversion.copy, 'excluded.'))),
    format('create trigger partitions_catch_up_truncate after truncate on %s
      for each statement execute function partitions.catch_up(%L)', p_conversion.historic,
      format('truncate %s', p_conversion.copy))
  )
$$;

-- Repeats a change of the old table in the copy; its arguments are the statements to execute.
create or replace function partitions.catch_up()
  returns trigger
  language plpgsql
  volatile
  security definer -- definer because who writes the table has no right to its copy
  set search_path = pg_catalog, pg_temp
as $$
begin
  if TG_OP = 'TRUNCATE' then
    execute TG_ARGV[0];
  elsif TG_OP = 'DELETE' then
    execute TG_ARGV[0] using OLD;
  elsif TG_OP = 'UPDATE' then
    -- The update may have changed the key.
    execute TG_ARGV[0] using OLD;
    execute TG_ARGV[1] using NEW;
  else
    execute TG_ARGV[1] using NEW;
  end if;
  return null;
end
$$;

-- Returns the statement that copies the blocks up to p_until. Rows written since the triggers exist
-- are in the copy, or will be when their transaction commits. Waits for a row that is being
-- deleted: a copy made after the deletion would bring it back.
create or replace function partitions.copy_statement(p_conversion partitions.conversions, p_until bigint)
  returns text
  language sql
  stable
as $$
  select format(
    'insert into %s (%s) select %s from only %s where ctid >= %L and ctid < %L for key share
     on conflict (%s) do nothing',
    p_conversion.copy, columns, columns, p_conversion.historic,
    format('(%s,0)', p_conversion.copied_blocks), format('(%s,0)', p_until),
    partitions.columns_of_key(p_conversion.copy))
  from partitions.written_columns(p_conversion.copy) as columns
$$;

-- Compares the number of rows and a sum of hashes over all columns, both read by one statement in
-- one snapshot.
create or replace function partitions.is_equal_copy(p_conversion partitions.conversions)
  returns boolean
  language plpgsql
  volatile
as $$
declare
  v_sum constant text := 'select row(count(*), sum(hashtextextended(row(%s)::text, 0)::numeric)) from %s';
  v_columns constant text := partitions.written_columns(p_conversion.copy);
  v_query constant text := format('select (%s) = (%s)',
    format(v_sum, v_columns, format('only %s', p_conversion.historic)), format(v_sum, v_columns, p_conversion.copy));
  v_is_equal boolean;
begin
  execute v_query into v_is_equal;
  return v_is_equal;
end
$$;
