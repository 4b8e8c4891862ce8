-- kind: code
-- Writes the lines that nodes log about a run. A run keeps a number of lines and bytes; one more
-- line says that the rest is not kept. Inserts into public.workflow_run_logs and locks nothing.
-- Transactions at the same time do not see the lines of each other: each of them may exceed a limit
-- by its own lines, and write the line that says so.

create or replace function engine.append_logs(p_logs jsonb)
  returns int
  language plpgsql
  volatile
  security definer -- definer because logs are written by the engine only
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := engine.now();
  v_written int;
begin
  with lines as (
    select l.*, engine.log_bytes(l.message, l.context) as bytes
    from engine.read_log_lines(p_logs) as l
  ),
  kept as (
    select k.*
    from engine.kept_logs(
      array(select distinct l.organization_id from lines as l), array(select distinct l.run_id from lines as l), v_now
    ) as k
  ),
  counted as (
    select
      l.*,
      coalesce(k.lines, 0) + row_number() over w > engine.max_log_lines()
        or coalesce(k.bytes, 0) + sum(l.bytes) over w > engine.max_log_bytes() as is_over
    from lines as l
    left join kept as k on k.organization_id = l.organization_id and k.run_id = l.run_id
    where k.is_truncated is not true
    window w as (partition by l.organization_id, l.run_id order by l.place)
  )
  insert into public.workflow_run_logs (organization_id, run_id, node, level, message, context, ts)
  select
    c.organization_id, c.run_id,
    case when not c.is_over then c.node end,
    case when c.is_over then 'warning' else c.level end,
    case when c.is_over then 'Further lines of this run are not kept.' else c.message end,
    case when c.is_over then engine.truncation_context() else c.context end,
    v_now
  from (
    select c.*, count(*) filter (where c.is_over) over (
      partition by c.organization_id, c.run_id order by c.place
    ) as over
    from counted as c
  ) as c
  where c.over <= c.is_over::int
  order by c.place;
  get diagnostics v_written = row_count;
  return v_written;
end
$$;

-- Returns the context of the line that says that the rest is not kept.
create or replace function engine.truncation_context()
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_build_object(
    'code', 'LOG_TRUNCATED', 'maxLines', engine.max_log_lines(), 'maxBytes', engine.max_log_bytes()
  )
$$;

-- Returns the size of a line in bytes. The context counts as it is stored, compressed: that is read
-- without decompressing it.
create or replace function engine.log_bytes(p_message text, p_context jsonb)
  returns bigint
  language sql
  stable -- like pg_column_size(), so that the planner inlines this function
as $$
  select octet_length(p_message)::bigint + coalesce(pg_column_size(p_context), 0)
$$;

-- Returns the lines of a request. A context that is too large is replaced by its size; a message is
-- cut to 65,536 characters.
create or replace function engine.read_log_lines(p_logs jsonb)
  returns table (
    place bigint,
    organization_id uuid,
    run_id uuid,
    node text,
    level text,
    message text,
    context jsonb
  )
  language sql
  immutable
as $$
  select
    l.place,
    (l.line ->> 'organizationId')::uuid,
    (l.line ->> 'runId')::uuid,
    l.line ->> 'node',
    coalesce(l.line ->> 'level', 'info'),
    left(coalesce(l.line ->> 'message', ''), engine.max_log_message_length()),
    case
      when pg_column_size(l.line -> 'context') > engine.max_log_context_bytes() then jsonb_build_object(
        'code', 'LOG_TRUNCATED',
        'bytes', pg_column_size(l.line -> 'context'), 'maxBytes', engine.max_log_context_bytes()
      )
      else l.line -> 'context'
    end
  from jsonb_array_elements(p_logs) with ordinality as l (line, place)
$$;

-- Returns how many lines and bytes the logs of runs hold; no row for a run without lines.
-- is_truncated: the line is there that says that the rest is not kept.
create or replace function engine.kept_logs(p_organization_ids uuid[], p_run_ids uuid[], p_now timestamptz)
  returns table (
    organization_id uuid,
    run_id uuid,
    lines bigint,
    bytes numeric,
    is_truncated boolean
  )
  language plpgsql
  stable
  set plan_cache_mode = force_generic_plan -- planning takes longer than executing
  set enable_seqscan = off -- forces the index on the run, whatever the statistics of a new partition say
as $$
declare
  v_from constant timestamptz := engine.uuid_time(engine.earliest(p_run_ids));
  v_to constant timestamptz := greatest(p_now, clock_timestamp()) + interval '1 day';
begin
  return query
  select
    l.organization_id,
    l.run_id,
    count(*),
    sum(engine.log_bytes(l.message, l.context)),
    bool_or(l.node is null and l.context ->> 'code' = 'LOG_TRUNCATED')
  from public.workflow_run_logs as l
  where l.organization_id = any (p_organization_ids)
    and l.run_id = any (p_run_ids)
    and l.ts >= v_from
    and l.ts < v_to
  group by l.organization_id, l.run_id;
end
$$;

comment on function engine.append_logs(jsonb) is
  'For workers: writes lines to the logs of runs, [{"organizationId", "runId", "node", "level", "message", "context"}]; returns how many it wrote. A run keeps 10,000 lines and 4 MiB; a line with the code LOG_TRUNCATED stands for those after them. Example: select engine.append_logs(''[]'');';

grant execute on function engine.append_logs(jsonb) to flowgres_worker;
