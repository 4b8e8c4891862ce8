-- kind: code
-- Checks references without a foreign key, whose targets may be retired earlier: I1 and I11 of
-- docs/reference/invariants.md. Writes and locks nothing.

create or replace function monitor.wrong_references(since timestamptz default '-infinity')
  returns table (
    invariant text,
    run_id uuid,
    detail jsonb
  )
  language plpgsql
  stable
  security definer -- definer because it reads the runs of every organization
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
begin
  return query
    -- A key expires a week after its start, so this selects the keys of starts since then.
    select
      case
        when r.id is null then 'I1 an accepted start has a run'
        else 'I11 the key of a start is of its run''s organization'
      end,
      k.run_id, to_jsonb(k) - 'request_hash'
    from engine.start_keys as k
    left join public.workflow_runs as r on r.id = k.run_id
    where k.expires_at >= since + engine.start_key_time()
      and r.organization_id is distinct from k.organization_id
    union all
    select 'I1 a run was started under one key', k.run_id, jsonb_build_object('keys', array_agg(k.key))
    from engine.start_keys as k
    where k.expires_at >= since + engine.start_key_time()
    group by k.run_id
    having count(*) > 1
    union all
    select 'I11 a parent and its child belong to one organization', c.id, jsonb_build_object('parent', p.id)
    from public.workflow_runs as c
    join public.workflow_runs as p on p.id = c.parent_run_id and p.organization_id <> c.organization_id
    where c.id >= private.first_run(since)
    union all
    select 'I11 a run and the one that it repeats belong to one organization', r.id, jsonb_build_object('of', o.id)
    from public.workflow_runs as r
    join public.workflow_runs as o on o.id = r.retry_of and o.organization_id <> r.organization_id
    where r.id >= private.first_run(since)
    union all
    select 'I11 a place in the queue of a workflow is of its run''s organization', f.run_id, to_jsonb(f)
    from engine.flow_runs as f
    join public.workflow_runs as r on r.id = f.run_id and r.organization_id <> f.organization_id;
end
$$;
comment on function monitor.wrong_references(timestamptz) is
  'Accepted starts without a run, and runs that refer to something of another organization, of runs that started since then. Example: select * from monitor.wrong_references(now() - interval ''1 hour'')';

grant execute on function monitor.wrong_references(timestamptz) to flowgres_dba, flowgres_monitor;
