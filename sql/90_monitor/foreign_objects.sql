-- kind: code
-- Lists what schema public has beside the objects of Flowgres. Reads the catalog only; writes and
-- locks nothing.

create or replace function monitor.foreign_objects()
  returns table (object text, kind text, owner text, hint text)
  language sql
  stable
  set search_path = pg_catalog, pg_temp
as $$
  select
    o.object,
    o.kind,
    pg_get_userbyid(o.owner)::text,
    'It is not part of the API. Move it to a schema of the application, or leave it: Flowgres does not use it.'
  from (
    select
      format('%I.%I', n.nspname, c.relname) as object,
      case c.relkind when 'v' then 'view' when 'm' then 'view' when 'S' then 'sequence' else 'table' end as kind,
      c.relowner as owner,
      c.relnamespace as namespace,
      'pg_class'::regclass as catalog,
      c.oid
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select p.oid::regprocedure::text, 'function', p.proowner, p.pronamespace, 'pg_proc'::regclass, p.oid
    from pg_proc as p
  ) as o
  where o.namespace = 'public'::regnamespace
    and o.owner <> (select r.oid from pg_roles as r where r.rolname = 'flowgres_owner')
    and not exists (
      select from pg_depend as d
      where d.classid = o.catalog and d.objid = o.oid and d.deptype in ('e', 'i', 'a')
    )
  order by o.kind, o.object
$$;
comment on function monitor.foreign_objects() is
  'Tables, views, sequences and functions in schema public that flowgres_owner does not own: an application''s own, in a database shared with Flowgres. They are not exposed by GraphQL. No row: there are none. Example: select * from monitor.foreign_objects()';

grant execute on function monitor.foreign_objects() to flowgres_dba, flowgres_monitor;
