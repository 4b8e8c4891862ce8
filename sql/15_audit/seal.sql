-- kind: code
-- Seals new rows of the audit log every minute, in one chain per organization: a chain that each
-- change extended would make the changes of an organization wait for each other. Writes
-- private.audit_seals and private.audit_heads, and empties private.audit_unsealed. Holds one
-- advisory lock until the transaction ends; a second session returns at once.

-- Returns the hash of a seal: over the seal before it, its organization, number and time, and its
-- rows.
create or replace function private.seal_hash(p_seal private.audit_seals)
  returns bytea
  language sql
  immutable
  parallel safe
as $$
  select sha256(
    p_seal.previous || uuid_send(p_seal.organization_id) || int8send(p_seal.number)
    || convert_to(extract(epoch from p_seal.sealed_at)::text, 'UTF8')
    || string_agg(uuid_send(entry.id) || entry.hash, ''::bytea order by entry.place)
  )
  from unnest(p_seal.ids, p_seal.hashes) with ordinality as entry (id, hash, place)
$$;

-- Appends a seal to the chain of its organization. The caller holds the lock of sealing.
create or replace function private.add_seal(p_seal private.audit_seals)
  returns private.audit_seals
  language plpgsql
  volatile
as $$
declare
  v_seal private.audit_seals := p_seal;
  v_head private.audit_heads;
begin
  select h.* into v_head from private.audit_heads as h where h.organization_id = p_seal.organization_id;
  v_seal.number := coalesce(v_head.number, 0) + 1;
  v_seal.previous := coalesce(v_head.hash, '');
  v_seal.hash := private.seal_hash(v_seal);
  insert into private.audit_seals select v_seal.*;
  insert into private.audit_heads (organization_id, number, hash)
  values (v_seal.organization_id, v_seal.number, v_seal.hash)
  on conflict (organization_id) do update set number = excluded.number, hash = excluded.hash;
  return v_seal;
end
$$;

create or replace function engine.seal_audit()
  returns table (organization_id uuid, number bigint, entries int)
  language plpgsql
  volatile
  security definer -- definer because nobody writes the audit log
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_seal private.audit_seals;
begin
  -- Two sessions would append to the same seal.
  if not pg_try_advisory_xact_lock(hashtextextended('flowgres seal_audit', 0)) then
    return;
  end if;
  perform partitions.create('private.audit_seals', engine.now());
  for v_seal in
    with unsealed as (
      delete from private.audit_unsealed as u returning u.organization_id, u.id, u.hash
    ), numbered as (
      select t.*, row_number() over (partition by t.organization_id order by t.id) - 1 as place from unsealed as t
    )
    select
      n.organization_id, null, engine.now(), array_agg(n.id order by n.id), array_agg(n.hash order by n.id), null, null
    from numbered as n
    -- One statement may change a million rows: a seal covers at most 1,000.
    group by n.organization_id, n.place / 1000
    order by n.organization_id, n.place / 1000
  loop
    v_seal := private.add_seal(v_seal);
    organization_id := v_seal.organization_id;
    number := v_seal.number;
    entries := cardinality(v_seal.ids);
    return next;
  end loop;
end
$$;
comment on function engine.seal_audit() is
  'Seals the rows of the audit log that were committed since the last call; returns one row per seal, of at most 1,000 entries each. Runs every minute. Example: select * from engine.seal_audit();';

create or replace function monitor.audit_heads()
  returns table (organization_id uuid, number bigint, hash text, unsealed bigint)
  language sql
  stable
  security definer -- definer because it reads the seals of every organization
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(h.organization_id, u.organization_id), h.number, encode(h.hash, 'hex'), coalesce(u.unsealed, 0)
  from private.audit_heads as h
  full join (
    select q.organization_id, count(*) as unsealed from private.audit_unsealed as q group by q.organization_id
  ) as u on u.organization_id = h.organization_id
$$;
comment on function monitor.audit_heads() is
  'Returns the newest seal of each organization (the nil UUID: of rows that belong to none), and how many rows are not sealed yet. A hash kept elsewhere proves later that nothing before it was replaced. Example: select * from monitor.audit_heads();';

grant execute on function engine.seal_audit() to flowgres_maintenance, flowgres_dba;
grant execute on function monitor.audit_heads() to flowgres_dba, flowgres_monitor;
