-- kind: code
-- Compares the audit log with its seals, and the seals with each other. Reads the whole log; writes
-- and locks nothing.

-- Returns the time before which rows and seals have been retired; what is left of either from
-- before proves nothing.
create or replace function private.audit_boundary()
  returns timestamptz
  language sql
  stable
as $$
  select min(o.lower) from partitions.of('private.audit_seals') as o
$$;

-- Lists rows that are missing, changed, or inserted without private.write_audit().
create or replace function private.verify_entries(p_organization_id uuid)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
as $$
  with known as (
    select s.organization_id, s.number, sealed.id, sealed.hash
    from private.audit_seals as s
    cross join unnest(s.ids, s.hashes) as sealed (id, hash)
    where p_organization_id is null or s.organization_id = p_organization_id
    union all
    select u.organization_id, null, u.id, u.hash
    from private.audit_unsealed as u
    where p_organization_id is null or u.organization_id = p_organization_id
  ), written as (
    select a.id, a.organization_id, private.audit_hash(a) as hash
    from public.audit_log as a
    where p_organization_id is null
      or a.organization_id = p_organization_id
      or (a.organization_id is null and p_organization_id = '00000000-0000-0000-0000-000000000000')
  )
  select
    coalesce(k.organization_id, w.organization_id), k.number, coalesce(k.id, w.id),
    case
      when w.id is null then 'the row is missing'
      when k.id is null then 'the row was inserted without a trace'
      else 'the row was changed'
    end
  from known as k
  full join written as w on w.id = k.id
  where k.hash is distinct from w.hash
    and coalesce(k.id, w.id) >= engine.uuid_floor(private.audit_boundary())
$$;

-- Lists seals that were changed or exchanged, and gaps in their chain.
create or replace function private.verify_seals(p_organization_id uuid)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
as $$
  with seals as (
    select
      s.organization_id, s.number, s.previous, s.hash, private.seal_hash(s) as computed,
      lag(s.number) over chain as number_before, lag(s.hash) over chain as hash_before,
      row_number() over (partition by s.organization_id order by s.number desc) = 1 as is_newest
    from private.audit_seals as s
    where p_organization_id is null or s.organization_id = p_organization_id
    window chain as (partition by s.organization_id order by s.number)
  ), judged as (
    select
      s.organization_id, s.number,
      case
        when s.hash is distinct from s.computed then 'the seal was changed'
        when s.number <> s.number_before + 1 then 'seals before it are missing'
        when s.previous <> coalesce(s.hash_before, case when s.number = 1 then '' else s.previous end)
          then 'the seal before it was exchanged'
      end as problem
    from seals as s
    union all
    -- An organization without any seal is not listed: all have been retired, or somebody has
    -- deleted them; then verify_entries() finds their rows.
    select h.organization_id, h.number, 'the newest seal is missing or was exchanged'
    from private.audit_heads as h
    join seals as s on s.organization_id = h.organization_id and s.is_newest
    where (s.number, s.hash) is distinct from (h.number, h.hash)
  )
  select j.organization_id, j.number, null::uuid, j.problem from judged as j where j.problem is not null
$$;

create or replace function monitor.verify_audit(organization uuid default null)
  returns table (organization_id uuid, seal bigint, entry uuid, problem text)
  language sql
  stable
  security definer -- definer because it reads the log and the seals of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select e.* from private.verify_entries(organization) as e
  union all
  select s.* from private.verify_seals(organization) as s
$$;
comment on function monitor.verify_audit(uuid) is
  'Compares every row of the audit log with its seal. Returns one row per entry that was changed, is missing or was inserted, and per broken seal; none when the log is intact. Covers one organization, or all; the nil UUID stands for rows that belong to none. Reads the whole log: about 10 s per million rows. Example: select * from monitor.verify_audit();';

grant execute on function monitor.verify_audit(uuid) to flowgres_dba, flowgres_monitor;
