-- kind: code
-- News of runs for those who wait: subscriptions and webhooks that answer with a result. NOTIFY carries ids only, since
-- any role may listen; whoever hears one reads again under its own rights.

create or replace function engine.listen(p_listener_id uuid)
  returns void
  language sql
  volatile
  security definer -- definer because engine.listeners is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  insert into engine.listeners (id, seen_at)
  values (p_listener_id, clock_timestamp())
  on conflict (id) do update set seen_at = excluded.seen_at;
$$;

create or replace function engine.unlisten(p_listener_id uuid)
  returns void
  language sql
  volatile
  security definer -- definer because engine.listeners is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  delete from engine.listeners as l
  where l.id = p_listener_id
    or l.seen_at < clock_timestamp() - interval '1 hour'
$$;

-- A transaction that notifies holds one lock of the whole server until it has committed: nobody listening means none.
-- The ids of the runs, and those of their workflows, so that nobody reads again for a workflow that has not changed. A
-- payload has less than 8,000 bytes: `many` stands for more than 90 of one kind.
create or replace function engine.notify(p_transitions engine.transition[])
  returns void
  language plpgsql
  volatile
as $$
begin
  if exists (select from engine.listeners as l where l.seen_at > clock_timestamp() - interval '15 seconds') then
    perform pg_notify('flowgres_runs', (
      select jsonb_build_object(
        'runs', case
          when count(distinct (m.run).id) <= 90 then to_jsonb(array_agg(distinct (m.run).id))
          else '"many"'
        end,
        'workflows', case
          when count(distinct (m.run).workflow_id) <= 90 then to_jsonb(array_agg(distinct (m.run).workflow_id))
          else '"many"'
        end
      )::text
      from unnest(p_transitions) as m
    ));
  end if;
end
$$;

-- When a run that waits may go on without being asked, in milliseconds from now: at its first timer, at any time where
-- children run. Null: only somebody from outside lets it go on, or a hold ends.
create or replace function engine.continues_in_ms(p_run_id uuid)
  returns double precision
  language sql
  stable
as $$
  select min(case
    when s.next_index is not null then 0
    else extract(epoch from nullif(s.run_at, 'infinity') - engine.now()) * 1000
  end)
  from engine.open_steps as s
  where s.run_id = p_run_id
$$;

-- What a webhook answers with, for many that wait at once.
create or replace function engine.run_answers(p_ids uuid[])
  returns table (
    run_id uuid,
    status text,
    output jsonb,
    response jsonb,
    error jsonb,
    continues_in_ms double precision
  )
  language plpgsql
  stable
  security definer -- definer because the intake reads no table
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_from constant timestamptz := engine.uuid_time((select min(i::text)::uuid from unnest(p_ids) as i));
  -- Both bounds: planning for the partitions made ahead would take as long as all the rest.
  v_to constant timestamptz := clock_timestamp() + interval '1 day';
begin
  return query
  select
    r.id,
    r.status,
    engine.output_of_event((array_agg(e.payload) filter (where e.type = 'run.succeeded'))[1], r.id, r.finished_at),
    (array_agg(e.payload - 'node') filter (where e.type = 'run.responded'))[1],
    r.error,
    case when r.status = 'waiting' then engine.continues_in_ms(r.id) end
  from public.workflow_runs as r
  left join public.workflow_events as e
    on e.run_id = r.id
    and e.ts >= v_from
    and e.ts < v_to
    and e.type in ('run.succeeded', 'run.responded')
  where r.id = any (p_ids)
  group by r.id, r.status, r.error, r.finished_at;
end
$$;

comment on function engine.listen(uuid) is
  'Says that a process listens on channel flowgres_runs for the next 15 seconds. Example: select engine.listen(gen_random_uuid());';
comment on function engine.unlisten(uuid) is
  'Says that it listens no more. Example: select engine.unlisten(''0190…'');';
comment on function engine.run_answers(uuid[]) is
  'For the intake: status, output, response and error of runs that webhooks wait for; continues_in_ms says in how many milliseconds one that waits may go on by itself, null if never. Example: select * from engine.run_answers(array[''0190…'']::uuid[]);';

grant execute on function engine.listen(uuid), engine.unlisten(uuid) to flowgres_api, flowgres_intake;
grant execute on function engine.run_answers(uuid[]) to flowgres_intake, flowgres_dba;
