-- kind: code
-- Makes one partition: a table of its own that gets everything the parent has, and only then, in an instant, becomes part of
-- it. `create table … partition of` would lock the parent, and with it every insert, until its readers are done.

-- The statements that make a table like the parent: its constraints and indexes under the partition's name, closed to all.
create or replace function partitions.table_like(p_policy partitions.policies, p_partition text)
  returns text
  language sql
  stable
as $$
  select concat_ws('; ',
    format('create table %s (like %s including all excluding indexes excluding comments excluding identity)', t.name, p_policy.parent),
    (
      select string_agg(
        case when k.oid is not null
          then format('alter table %s add constraint %I %s', t.name, i.name, pg_get_constraintdef(k.oid))
          -- Everything after the table's name: method, columns, predicate.
          else format('create %sindex %I on %s%s', case when x.indisunique then 'unique ' end, i.name, t.name,
            substr(pg_get_indexdef(x.indexrelid), length(format('CREATE %sINDEX %I ON ONLY %I.%I',
              case when x.indisunique then 'UNIQUE ' end, ic.relname, n.nspname, p.relname)) + 1))
        end, '; ' order by k.oid is null, i.name)
      from pg_index as x
      join pg_class as ic on ic.oid = x.indexrelid
      cross join lateral partitions.index_name(p.relname, p_partition, ic.relname) as i (name)
      left join pg_constraint as k on k.conindid = x.indexrelid and k.conrelid = p.oid and k.contype in ('p', 'u')
      where x.indrelid = p.oid
    ),
    format('alter table %s enable row level security', t.name),
    case p.relreplident
      when 'f' then format('alter table %s replica identity full', t.name)
      when 'n' then format('alter table %s replica identity nothing', t.name)
      when 'i' then (
        select format('alter table %s replica identity using index %I', t.name, partitions.index_name(p.relname, p_partition, ic.relname))
        from pg_index as x
        join pg_class as ic on ic.oid = x.indexrelid
        where x.indrelid = p.oid and x.indisreplident
      )
    end,
    (
      select format('alter table %s set (%s)', t.name, string_agg(
        format('%s%I = %L', substring(s.key, '^toast\.'), regexp_replace(s.key, '^toast\.', ''), s.value), ', '))
      from jsonb_each_text(p_policy.storage) as s
      having count(*) > 0
    )
  )
  from pg_class as p
  join pg_namespace as n on n.oid = p.relnamespace
  cross join lateral format('%I.%I', n.nspname, p_partition) as t (name)
  where p.oid = p_policy.parent
$$;

-- Default privileges may have opened the new table; it is reached through its parent only, because policies are not inherited.
create or replace function partitions.close_table(p_table regclass)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_grantee text;
begin
  for v_grantee in
    select distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
    from pg_class as c
    cross join aclexplode(c.relacl) as a
    where c.oid = p_table
      and a.grantee <> c.relowner
  loop
    execute format('revoke all on %s from %s', p_table, v_grantee);
  end loop;
end
$$;

-- Makes the partition for a span of time that has none, and returns its name.
create or replace function partitions.add_partition(p_policy partitions.policies, p_span tstzrange, p_attempts int)
  returns text
  language plpgsql
  volatile
as $$
declare
  v_parent constant pg_class := (select c from pg_class as c where c.oid = p_policy.parent);
  v_name constant text := partitions.partition_name(v_parent.relname, p_policy.granularity, p_span);
  v_table constant text := format('%I.%I', v_parent.relnamespace::regnamespace::name, v_name);
begin
  if to_regclass(v_table) is not null then
    perform private.raise_error('CONFLICT', format('A table %s exists that is no partition of %s.', v_table, p_policy.parent),
      format('Rename or drop it, or attach it: alter table %s attach partition %s for values from (%L) to (%L)', p_policy.parent,
        v_table, partitions.bound(p_policy.key_kind, lower(p_span)), partitions.bound(p_policy.key_kind, upper(p_span))));
  end if;
  perform partitions.execute_patiently(
    concat_ws('; ',
      partitions.table_like(p_policy, v_name),
      format('select partitions.close_table(%L)', v_table),
      format('comment on table %s is %L', v_table, format('Rows of %s from %s to %s (UTC, end excluded).', v_parent.relname,
        to_char(lower(p_span) at time zone 'UTC', 'YYYY-MM-DD'), to_char(upper(p_span) at time zone 'UTC', 'YYYY-MM-DD'))),
      -- The table is empty: no CHECK is needed to spare the scan. Foreign keys come with the attachment; one made before
      -- would lock the referenced table harder.
      format('alter table %s attach partition %s for values from (%L) to (%L)', p_policy.parent, v_table,
        partitions.bound(p_policy.key_kind, lower(p_span)), partitions.bound(p_policy.key_kind, upper(p_span)))
    ),
    p_attempts
  );
  return v_name;
end
$$;

create or replace function partitions.create(parent regclass, at timestamptz)
  returns text
  language plpgsql
  volatile
  security definer -- a DBA adds partitions to tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_policy constant partitions.policies := partitions.require_policy("create".parent);
  v_partition regclass;
  v_span tstzrange;
begin
  perform partitions.require_time(v_policy.key_kind, "create".at);
  v_partition := partitions.find(v_policy.parent, "create".at);
  if v_partition is null then
    perform partitions.require_manageable(v_policy.parent);
    perform partitions.execute_patiently(
      format('select pg_advisory_xact_lock(%s)', partitions.lock_key(v_policy.parent)), 10);
    -- What is free of the period; nothing when somebody else has just made the partition.
    select free.span into v_span
    from unnest(
      tstzmultirange(partitions.period(v_policy.granularity, "create".at)) - partitions.covered(v_policy.parent)
    ) as free (span)
    where free.span @> "create".at;
    if v_span is not null then
      return partitions.add_partition(v_policy, v_span, 10);
    end if;
    v_partition := partitions.find(v_policy.parent, "create".at);
    if v_partition is null then
      perform private.raise_error('CONFLICT', format('The partition of %s for this time is being detached.', v_policy.parent),
        format('select * from partitions.maintain(%L) finishes an interrupted detach.', v_policy.parent));
    end if;
  end if;
  return (select c.relname from pg_class as c where c.oid = v_partition);
end
$$;
comment on function partitions.create(regclass, timestamptz) is
  'Makes the partition for a moment, with the parent''s indexes, row-level security on and no grants, and returns its name; also when it existed. Errors: NOT_FOUND (no managed table), INVALID_ARGUMENT (null, infinity, year 9999), CONFLICT (another table has the name, or locks were not to be had). Example: select partitions.create(''public.workflow_events'', ''2027-01-01'')';

create or replace function partitions.require_policy(p_parent regclass)
  returns partitions.policies
  language plpgsql
  stable
as $$
declare
  v_policy partitions.policies;
begin
  select p.* into v_policy from partitions.policies as p where p.parent = p_parent;
  if not found then
    perform private.raise_error('NOT_FOUND', format('%s is not a managed table.', coalesce(p_parent::text, 'null')),
      'partitions.policies lists the managed tables; partitions.manage() adds one.');
  end if;
  return v_policy;
end
$$;

grant execute on function partitions.of(regclass), partitions.create(regclass, timestamptz) to flowgres_dba;
