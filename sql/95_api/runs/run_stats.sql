-- kind: code
-- Counts the runs of a filter by status, with percentiles of their durations, in groups and in spans
-- of time. Reads the runs themselves, so it agrees with lists at any moment. Writes and locks nothing.

create or replace function public.workflow_run_stats(
  filter jsonb default '{}',
  group_by text default null,
  bucket text default null
)
  returns public.workflow_run_stats
  language plpgsql
  stable
  security definer -- definer because policies would hide the conditions of the filter from indexes
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_organization_id constant uuid := private.acting_organization();
  v_filter constant jsonb := engine.checked_run_filter(coalesce(filter, '{}'));
  v_count public.workflow_run_count;
  v_stats public.workflow_run_stats;
begin
  perform private.require_scope('runs:read');
  if group_by not in ('status', 'workflow', 'error_code', 'mode') or bucket not in ('minute', 'hour', 'day') then
    perform private.raise_error(
      'INVALID_ARGUMENT', 'Groups are status, workflow, error_code or mode; a bucket is a minute, an hour or a day.'
    );
  end if;
  v_count := engine.count_runs(v_organization_id, v_filter);
  perform engine.refuse_large_stats(not v_count.is_exact, 'runs', engine.max_counted_runs());
  v_stats.runs := v_count.count;
  v_stats.groups := array(
    select engine.run_stat(
      date_trunc(bucket, r.started_at, 'UTC'), engine.run_group(r, group_by),
      array_agg(r.status), array_agg(engine.run_duration_ms(r.started_at, r.finished_at))
    )
    from public.workflow_runs as r
    where r.organization_id = v_organization_id and engine.run_matches(r, v_filter)
    group by date_trunc(bucket, r.started_at, 'UTC'), engine.run_group(r, group_by)
    order by date_trunc(bucket, r.started_at, 'UTC'), engine.run_group(r, group_by) collate "C"
    limit engine.max_run_groups() + 1
  );
  perform engine.refuse_large_stats(
    cardinality(v_stats.groups) > engine.max_run_groups(), 'groups', engine.max_run_groups()
  );
  return v_stats;
end
$$;
comment on function public.workflow_run_stats(jsonb, text, text) is
  'Counts the runs that match a filter, which is that of workflow_run_count, by status, with the mean and percentiles of the duration of those that have ended. group_by (status, workflow, error_code or mode) makes a row for each value; bucket (minute, hour or day, in UTC) one for each span of time in which a run has started. Scope: runs:read. Errors: UNAUTHENTICATED, FORBIDDEN, INVALID_ARGUMENT, TOO_LARGE (more than 100,000 runs, more than 1,000 rows, a filter above 64 KiB). Example: select g.key, g.runs, g.p95_ms from workflow_run_stats(''{"startedAt": {"greaterThan": "2026-11-21"}}'', ''workflow'') as s, unnest(s.groups) as g;';

grant execute on function public.workflow_run_stats(jsonb, text, text) to flowgres_user, flowgres_dba;

-- Returns the value by which a run is grouped; null without groups, and for runs without an error.
create or replace function engine.run_group(p_run public.workflow_runs, p_group_by text)
  returns text
  language sql
  immutable
as $$
  select case p_group_by
    when 'status' then p_run.status
    when 'workflow' then p_run.workflow_id::text
    when 'error_code' then p_run.error ->> 'code'
    when 'mode' then p_run.mode
  end
$$;

-- Returns the figures of one group. Durations are null for runs that have not ended.
create or replace function engine.run_stat(
  p_bucket timestamptz,
  p_key text,
  p_statuses text[],
  p_durations double precision[]
)
  returns public.workflow_run_stats_group
  language sql
  immutable
as $$
  select
    p_bucket,
    p_key,
    count(*)::int,
    count(*) filter (where r.status = 'waiting')::int,
    count(*) filter (where r.status = 'running')::int,
    count(*) filter (where r.status = 'paused')::int,
    count(*) filter (where r.status = 'success')::int,
    count(*) filter (where r.status = 'error')::int,
    count(*) filter (where r.status = 'canceled')::int,
    avg(r.duration),
    percentile_cont(0.5) within group (order by r.duration),
    percentile_cont(0.95) within group (order by r.duration),
    percentile_cont(0.99) within group (order by r.duration)
  from unnest(p_statuses, p_durations) as r (status, duration)
$$;

create or replace function engine.refuse_large_stats(p_is_large boolean, p_things text, p_most int)
  returns void
  language plpgsql
  stable
as $$
begin
  if p_is_large then
    perform private.raise_error(
      'TOO_LARGE', format('There are more than %s %s.', p_most, p_things),
      'Name a shorter time in the filter, by startedAt, or a longer bucket.', jsonb_build_object('limit', p_most)
    );
  end if;
end
$$;
