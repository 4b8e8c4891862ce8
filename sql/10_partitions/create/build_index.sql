-- kind: code
-- Builds an index on a partitioned table in use: CREATE INDEX on it blocks writers until all
-- partitions are read, and PostgreSQL has no CONCURRENTLY for it. Returns statements to run one by
-- one; partitions.attach_index() locks the two indexes for an instant. Writes no table.

create or replace function partitions.build_index(
  parent regclass,
  name text,
  definition text,
  is_unique boolean default false
)
  returns setof text
  language plpgsql
  stable
  security definer -- definer because a DBA asks for tables of Flowgres without owning them
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_index regclass;
  v_create constant text := format('create %sindex', case when is_unique then 'unique ' end);
  v_leaf record;
begin
  perform partitions.require_manageable(build_index.parent);
  if coalesce(build_index.name, '') = '' or coalesce(btrim(definition), '') = '' then
    perform private.raise_error('INVALID_ARGUMENT', 'An index needs a name and a definition.',
      'The definition is what follows the table''s name in CREATE INDEX, such as (organization_id, ts).');
  end if;
  perform partitions.require_short_names(build_index.parent, build_index.name);
  v_name := partitions.qualified(build_index.parent, build_index.name);
  v_index := to_regclass(v_name);
  if not coalesce(
    (select x.indrelid = build_index.parent from pg_index as x where x.indexrelid = v_index),
    v_index is null
  ) then
    perform private.raise_error('CONFLICT', format('%s is something else already.', v_index), 'Choose another name.');
  end if;
  -- Build the index of the parent first, which is not valid until all partitions have theirs: new
  -- partitions get theirs from it.
  if v_index is null then
    return next format('select partitions.execute_with_lock_timeout(%L)',
      format('%s %I on only %s %s', v_create, build_index.name, build_index.parent, definition));
  end if;
  for v_leaf in
    select * from partitions.indexed_leaves(build_index.parent, build_index.name) as l where not l.is_attached
  loop
    -- Drop the index of an interrupted build.
    if v_leaf.is_valid is false then
      return next format('drop index concurrently %s', v_leaf.qualified);
    end if;
    if v_leaf.is_valid is not true then
      return next format('%s concurrently %I on %s %s', v_create, v_leaf.index, v_leaf.partition, definition);
    end if;
    return next format('select partitions.attach_index(%L, %L)', v_name, v_leaf.qualified);
  end loop;
end
$$;
comment on function partitions.build_index(regclass, text, text, boolean) is
  'Returns statements that build an index on a partitioned table while it is written: on each partition concurrently, under the partition''s name. The definition is what follows the table''s name in CREATE INDEX. Run them one after the other, each in a transaction of its own, as flowgres_owner. If they are interrupted, call it again with the same arguments: what is done is not listed, what failed is built anew; nothing is listed when the index is complete. Errors: NOT_FOUND, INVALID_ARGUMENT, CONFLICT (the name is taken). Example, in psql: set role flowgres_owner; select partitions.build_index(''public.workflow_events'', ''workflow_events_seq_idx'', ''(run_id, seq)'') \gexec';

-- Lists each partition with the state of its index; is_valid is null where no index has the
-- expected name: an attached table may have brought one with another name.
create or replace function partitions.indexed_leaves(p_parent regclass, p_index text)
  returns table (
    partition regclass,
    index text,
    qualified text,
    is_valid boolean,
    is_attached boolean
  )
  language sql
  stable
as $$
  select o.partition, leaf.index, leaf.qualified, x.indisvalid, exists (
    select
    from pg_inherits as h
    join pg_index as attached on attached.indexrelid = h.inhrelid
    where h.inhparent = to_regclass(partitions.qualified(p.oid, p_index))
      and attached.indrelid = o.partition
  )
  from pg_class as p
  cross join lateral partitions.of(p.oid) as o
  cross join lateral partitions.index_name(p.relname, o.name, p_index) as index
  cross join lateral partitions.qualified(p.oid, index) as qualified
  cross join lateral (select index, qualified) as leaf
  left join pg_index as x on x.indexrelid = to_regclass(leaf.qualified) and x.indrelid = o.partition
  where p.oid = p_parent
  order by o.lower desc
$$;

-- Attaches a partition's index to the parent's. Refuses an invalid one: attached, it could neither
-- be dropped nor become valid.
create or replace function partitions.attach_index(p_parent regclass, p_index regclass)
  returns void
  language plpgsql
  volatile
as $$
begin
  if not (select x.indisvalid from pg_index as x where x.indexrelid = p_index) then
    perform private.raise_error('CONFLICT', format('%s is not valid: its build has failed.', p_index),
      'Ask for the statements again: it is built anew.');
  end if;
  perform partitions.execute_with_lock_timeout(format('alter index %s attach partition %s', p_parent, p_index));
end
$$;

grant execute on function partitions.build_index(regclass, text, text, boolean) to flowgres_dba;
