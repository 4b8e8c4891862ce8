-- kind: code
-- Makes the statements for a table that can become a partition: it has everything that the parent
-- has, under the partition's names, and no grants. Only partitions.close_table() changes something:
-- it revokes the grants of a new table.

-- Names a partition's index: events_run_id_idx of the parent becomes events_y2026m11_run_id_idx,
-- and attaching the partition uses it.
create or replace function partitions.index_name(p_parent text, p_partition text, p_index text)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case
    when p_partition = p_parent then p_index
    when starts_with(p_index, p_parent || '_') then p_partition || substr(p_index, length(p_parent) + 1)
    else p_partition || '_' || p_index
  end
$$;

-- Returns the statements that give a partition the keys and indexes of its parent.
create or replace function partitions.index_statements(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select string_agg(
    case
      when k.oid is not null then
        format('alter table %s add constraint %I %s', qualified, name, pg_get_constraintdef(k.oid))
      else
        format('create %sindex %I on %s%s', case when x.indisunique then 'unique ' end, name, qualified,
          -- Take what follows the table's name: method, columns, predicate.
          substr(pg_get_indexdef(x.indexrelid), 1 + length(format('CREATE %sINDEX %I ON ONLY %s',
            case when x.indisunique then 'UNIQUE ' end, ic.relname, partitions.qualified(p.oid, p.relname)))))
    end,
    '; ' order by k.oid is null, name
  )
  from pg_class as p
  join pg_index as x on x.indrelid = p.oid
  join pg_class as ic on ic.oid = x.indexrelid
  left join pg_constraint as k
    on k.conindid = x.indexrelid and k.conrelid = p.oid and k.contype in ('p', 'u')
  cross join lateral partitions.index_name(p.relname, p_partition, ic.relname) as name
  cross join lateral partitions.qualified(p.oid, p_partition) as qualified
  where p.oid = p_parent
$$;

-- Returns the statement that gives a partition its parent's replica identity; null for the default
-- one.
create or replace function partitions.replica_identity_statement(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select format('alter table %s replica identity %s', partitions.qualified(p.oid, p_partition),
    case p.relreplident
      when 'f' then 'full'
      when 'n' then 'nothing'
      when 'i' then format('using index %I', partitions.index_name(p.relname, p_partition, ic.relname))
    end)
  from pg_class as p
  left join pg_index as x on x.indrelid = p.oid and x.indisreplident
  left join pg_class as ic on ic.oid = x.indexrelid
  where p.oid = p_parent
    and p.relreplident <> 'd'
$$;

-- Returns the grants on a table and on its columns.
create or replace function partitions.access_lists(p_table regclass)
  returns table (owner oid, attname name, list aclitem[])
  language sql
  stable
as $$
  select c.relowner, null, c.relacl from pg_class as c where c.oid = p_table
  union all
  select c.relowner, a.attname, a.attacl
  from pg_class as c
  join pg_attribute as a on a.attrelid = c.oid and a.attacl is not null
  where c.oid = p_table
$$;

-- Lists the roles other than the owner with rights on a table; null when there are none.
create or replace function partitions.grantees(p_table regclass)
  returns text[]
  language sql
  stable
as $$
  select array_agg(distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end)
  from partitions.access_lists(p_table) as acl
  cross join lateral aclexplode(acl.list) as a
  where a.grantee <> acl.owner
$$;

-- Revokes all grants on a new table: default privileges may have added some. Rows are read through
-- the parent only, since partitions do not inherit policies.
create or replace function partitions.close_table(p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_revoke text;
begin
  for v_revoke in
    select format('revoke all on %s from %s', p_table, grantee) from unnest(partitions.grantees(p_table)) as grantee
  loop
    execute v_revoke;
  end loop;
end
$$;

-- Returns the statements for TRUNCATE triggers, which partitions do not inherit; attaching creates
-- the triggers for rows.
create or replace function partitions.truncate_triggers(p_parent regclass, p_partition text)
  returns text
  language sql
  stable
as $$
  select string_agg(
    format('create trigger %I %s truncate on %s for each statement execute function %I.%I()', t.tgname,
      case when t.tgtype & 2 <> 0 then 'before' else 'after' end, partitions.qualified(t.tgrelid, p_partition),
      n.nspname, f.proname),
    '; ' order by t.tgname
  )
  from pg_trigger as t
  join pg_proc as f on f.oid = t.tgfoid
  join pg_namespace as n on n.oid = f.pronamespace
  where t.tgrelid = p_parent
    and t.tgtype & 32 <> 0
    and t.tgnargs = 0
    and not t.tgisinternal
$$;

-- Returns the statements that create the table. Leaves foreign keys to the attaching: adding one
-- before would lock the other table in a stronger mode.
create or replace function partitions.table_like(p_managed partitions.managed_tables, p_partition text)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create table %s (like %s including all excluding indexes excluding comments excluding identity)',
      qualified, p_managed.parent),
    partitions.index_statements(p_managed.parent, p_partition),
    format('alter table %s enable row level security', qualified),
    format('select partitions.close_table(%L)', qualified),
    partitions.replica_identity_statement(p_managed.parent, p_partition),
    (
      select format('alter table %s set (%s)', qualified, string_agg(
        format('%s%I = %L', substring(s.key, E'^toast\\.'), regexp_replace(s.key, E'^toast\\.', ''), s.value),
        ', '
      ))
      from jsonb_each_text(p_managed.storage) as s
      having count(*) > 0
    )
  )
  from partitions.qualified(p_managed.parent, p_partition) as qualified
$$;

-- Returns the statement that comments a partition with its time range.
create or replace function partitions.comment_of_partition(p_parent text, p_table text, p_time_range tstzrange)
  returns text
  language sql
  stable
as $$
  select format('comment on table %s is %L', p_table, format('Rows of %s from %s to %s (UTC, end excluded).', p_parent,
    to_char(lower(p_time_range) at time zone 'UTC', 'YYYY-MM-DD'),
    to_char(upper(p_time_range) at time zone 'UTC', 'YYYY-MM-DD')))
$$;
