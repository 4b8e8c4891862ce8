-- kind: code
-- Notifies the processes that wait for changes of runs: subscriptions, and webhooks that answer
-- with a result. NOTIFY carries ids only, since any role may listen; a listener reads again under
-- its own rights. Writes engine.listeners. NOTIFY takes one lock of the whole server, at the
-- commit.

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

-- Notifies channel flowgres_runs of the runs that have changed, and of their workflows, so that a
-- listener does not read again for a workflow that has not changed. A payload has less than 8,000
-- bytes: `many` stands for more than 90 ids of one kind. Sends nothing while no process listens,
-- because NOTIFY locks out every other notifying transaction of the server during the commit.
create or replace function engine.notify(p_transitions engine.transition[])
  returns void
  language plpgsql
  volatile
as $$
begin
  if exists (select from engine.listeners as l where l.seen_at > clock_timestamp() - engine.silence_time()) then
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

-- Returns in how many milliseconds a waiting run may go on by itself: at its first timer, or 0
-- where a step has child runs. Null: only a call from outside, or the end of a hold, lets it go on.
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
  -- Give both bounds: without v_to, planning for the partitions created ahead takes as long as
  -- everything else.
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
  'For the API and the intake: says that a process listens on channel flowgres_runs for the next 15 seconds. Example: select engine.listen(gen_random_uuid());';
comment on function engine.unlisten(uuid) is
  'For the API and the intake: says that a process listens no more, and forgets those that have not been seen for an hour. Example: select engine.unlisten(''0190…'');';
comment on function engine.run_answers(uuid[]) is
  'For the intake: status, output, response and error of runs that webhooks wait for. continues_in_ms: in how many milliseconds a waiting run may go on by itself; null: never. Example: select * from engine.run_answers(array[''0190…'']::uuid[]);';

grant execute on function engine.listen(uuid), engine.unlisten(uuid) to flowgres_api, flowgres_intake;
grant execute on function engine.run_answers(uuid[]) to flowgres_intake, flowgres_dba;
