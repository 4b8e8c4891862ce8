-- kind: code
-- Restores an archived period from schema partitions: the referred table first, late rows last.
-- Each table is prepared before it is attached, so that attaching changes the catalog only. Writes
-- partitions.archives and restores late rows; locks are in restore_steps.sql.

create or replace function partitions.restore(
  parent regclass,
  at timestamptz,
  keep interval default '30 days'
)
  returns setof partitions.action
  language plpgsql
  volatile
  security definer -- definer because DBAs restore partitions without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_statement text;
begin
  for v_statement in
    select s from partitions.restore_concurrently(restore.parent, restore.at, restore.keep) as s
  loop
    if starts_with(v_statement, 'select *') then
      return query execute v_statement;
    else
      execute v_statement;
    end if;
  end loop;
end
$$;
comment on function partitions.restore(regclass, timestamptz, interval) is
  'Restores the archived tables of a period, with those that were retired with it: checks that they hold what was sealed, attaches them, and inserts late rows where they were. The period is kept for the given time before retire() may retire it again. If it is restored already, nothing happens. Errors: NOT_FOUND (no managed table, no archive; the hint names its files), INVALID_ARGUMENT, CONFLICT (a partition exists for the time, the rows refer to rows that do not exist, or the archive was changed). Example: select * from partitions.restore(''public.workflow_runs'', ''2025-01-01'', keep => ''7 days'')';

create or replace function partitions.restore_concurrently(
  parent regclass,
  at timestamptz,
  keep interval default '30 days'
)
  returns setof text
  language plpgsql
  volatile
  set search_path = pg_catalog, pg_temp
  set timezone = 'UTC'
as $$
declare
  v_parent constant regclass := restore_concurrently.parent;
  v_at constant timestamptz := restore_concurrently.at;
  v_keep constant interval := restore_concurrently.keep;
  v_tables constant partitions.archives[] := array(select a from partitions.archived_tables(v_parent, v_at) as a);
  v_archive partitions.archives;
begin
  perform partitions.require_time((partitions.require_managed(v_parent)).key_kind, v_at);
  if v_keep is null or v_keep < interval '1 day' or v_keep > interval '1000 years' then
    perform private.raise_error('INVALID_ARGUMENT', format('A restored period cannot be kept for %s.', v_keep),
      'Give an interval between one day and 1000 years.');
  end if;
  if v_tables = '{}' then
    perform partitions.require_restored(v_parent, v_at);
  end if;
  perform partitions.require_period_free(v_tables);
  foreach v_archive in array v_tables loop
    return next format('select partitions.prepare_archive(%L, %L, %L)',
      v_archive.parent, v_archive.lower, v_archive.content);
    if v_archive.content = 'partition' then
      return next format('select partitions.link_archive(%L, %L)', v_archive.parent, v_archive.lower);
      return next format('select partitions.validate_archive(%L, %L)', v_archive.parent, v_archive.lower);
      return next format('select * from partitions.attach_archive(%L, %L, %L)',
        v_archive.parent, v_archive.lower, v_keep);
    else
      return next format('select * from partitions.restore_late_events(%L, %L, %L)',
        v_archive.parent, v_archive.lower, v_keep);
    end if;
  end loop;
end
$$;
comment on function partitions.restore_concurrently(regclass, timestamptz, interval) is
  'Returns what restore() would do, as statements to run one after the other, each in a transaction of its own, as flowgres_owner: foreign keys are then checked while others write. If one fails, call it again: it continues. Errors as of restore(). Example, in psql: set role flowgres_owner; select partitions.restore_concurrently(''public.workflow_runs'', ''2025-01-01'') \gexec';

-- Raises NOT_FOUND unless the period is in the parent already; the hint names a file that holds it.
create or replace function partitions.require_restored(p_parent regclass, p_at timestamptz)
  returns void
  language plpgsql
  stable
as $$
declare
  v_file text;
begin
  if partitions.find(p_parent, p_at) is not null then
    return;
  end if;
  select a.location into v_file
  from partitions.archives as a
  where a.parent = p_parent
    and a.kind <> 'table'
    and p_at >= a.lower
    and p_at < a.upper
  limit 1;
  perform private.raise_error('NOT_FOUND',
    format('There is no archived table of %s for %s.', p_parent, to_char(p_at, 'YYYY-MM-DD')),
    case
      when v_file is null then 'To list the archives: select * from partitions.archives'
      else format('It is in a file: flowgres restore %s', regexp_replace(v_file, '/[^/]*$', ''))
    end);
end
$$;

-- Refuses a restore that could not be completed: no partition may exist for the time of an archive,
-- and late rows need partitions.
create or replace function partitions.require_period_free(p_tables partitions.archives[])
  returns void
  language plpgsql
  volatile
as $$
declare
  v_archive partitions.archives;
  v_occupied text;
begin
  foreach v_archive in array p_tables loop
    if partitions.table_of(v_archive) is null then
      perform private.raise_error('NOT_FOUND', format('The archived table %s is gone.', v_archive.location),
        'Restore it from a file or a backup; else forget it: delete from partitions.archives, as flowgres_owner.');
    end if;
    select o.name into v_occupied
    from partitions.of(v_archive.parent) as o
    where v_archive.content = 'partition'
      and tstzrange(o.lower, o.upper) && tstzrange(v_archive.lower, v_archive.upper)
    union all
    select v_archive.name
    where to_regclass(partitions.qualified(v_archive.parent, v_archive.name)) is not null
    limit 1;
    if found then
      perform private.raise_error('CONFLICT',
        format(
          '%s cannot come back: a table %s is there for its time, or has its name.', v_archive.location, v_occupied
        ),
        format('If that one is empty, drop it: drop table %s', partitions.qualified(v_archive.parent, v_occupied)));
    end if;
    perform partitions.require_space_for_late_events(v_archive, p_tables);
  end loop;
end
$$;

-- Raises CONFLICT when a late row has no partition to return to.
create or replace function partitions.require_space_for_late_events(
  p_archive partitions.archives,
  p_tables partitions.archives[]
)
  returns void
  language plpgsql
  volatile
as $$
declare
  v_covered constant tstzmultirange := partitions.covered(p_archive.parent) + coalesce(
    (
      select range_agg(tstzrange(t.lower, t.upper))
      from unnest(p_tables) as t
      where t.parent = p_archive.parent
        and t.content = 'partition'
    ),
    '{}'
  );
  v_query constant text := (
    select format('select min(%1$s) from partitions.%2$I where not $1 @> %1$s',
      partitions.key_time(partitions.key_kind(t.partrelid), a.attname), p_archive.name)
    from pg_partitioned_table as t
    join pg_attribute as a on a.attrelid = t.partrelid and a.attnum = t.partattrs[0]
    where t.partrelid = p_archive.parent
  );
  v_missing timestamptz;
begin
  if p_archive.content = 'partition' then
    return;
  end if;
  execute v_query into v_missing using v_covered;
  if v_missing is not null then
    perform private.raise_error('CONFLICT',
      format('Late rows of the period have no partition of %s to come back to: one is of %s.',
        p_archive.parent, to_char(v_missing at time zone 'UTC', 'YYYY-MM-DD')),
      format('Restore that time first; if it was dropped: select partitions.create(%L, %L)',
        p_archive.parent, v_missing));
  end if;
end
$$;

grant execute on function partitions.restore(regclass, timestamptz, interval) to flowgres_dba;
