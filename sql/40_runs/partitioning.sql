-- kind: state
-- Makes the tables of runs managed tables. Runs and their events are retired together, after 12
-- months; logs after 30 days. Writes partitions.managed_tables and creates the first partitions.

select from partitions.manage(
  'public.workflow_runs', 'month', premake => 3, behind => 2,
  retention => '12 months',
  guard => 'engine.unfinished_runs',
  storage => '{"autovacuum_vacuum_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

-- The log only grows: vacuum after inserts keeps index-only scans and freezing cheap.
select from partitions.manage(
  'public.workflow_events', 'month', premake => 3, behind => 2,
  retention => '12 months', retire_with => 'public.workflow_runs', retire_key => 'run_id',
  guard => 'engine.unfinished_runs',
  storage => '{"autovacuum_vacuum_insert_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

select from partitions.manage(
  'public.workflow_run_logs', 'week', premake => 4, behind => 1,
  retention => '30 days', retire_with => 'public.workflow_runs', retire_key => 'run_id',
  storage => '{"autovacuum_vacuum_insert_scale_factor": 0.05, "autovacuum_analyze_scale_factor": 0.05}'
);

do $$
declare
  v_failure text;
begin
  select format('%s: %s', m.partition, m.detail) into v_failure from partitions.maintain() as m where not m.done;
  if found then
    perform private.raise_error('CONFLICT', format('Not all partitions could be made: %s', v_failure));
  end if;
end
$$;
