-- The migration in the making; README.md says how to write one.

set local role flowgres_owner;

alter type engine.move add attribute heir engine.open_steps;
drop function if exists engine.write_moves(engine.move[]);
drop function if exists engine.write_starts(engine.move[]);
drop function if exists monitor.invariants();
drop function if exists monitor.broken_logs();
drop function if exists monitor.wrong_projections();

--!include 10_partitions/locks.sql
--!include 10_partitions/create.sql
--!include 10_partitions/maintain.sql
--!include 10_partitions/leave.sql
--!include 10_partitions/retire.sql
--!include 20_tenancy/organizations.sql
--!include 20_tenancy/tokens.sql
--!include 40_runs/unfinished.sql
--!include 40_runs/ensure_partitions.sql
--!include 50_engine/outcomes.sql
--!include 50_engine/waiting.sql
--!include 50_engine/advance.sql
--!include 50_engine/fair.sql
--!include 50_engine/jobs.sql
--!include 50_engine/write.sql
--!include 50_engine/requests.sql
--!include 50_engine/admit.sql
--!include 50_engine/release.sql
--!include 50_engine/start.sql
--!include 50_engine/load.sql
--!include 50_engine/signals.sql
--!include 50_engine/move.sql
--!include 50_engine/begin.sql
--!include 50_engine/complete.sql
--!include 50_engine/wait.sql
--!include 50_engine/approve.sql
--!include 50_engine/family.sql
--!include 50_engine/children.sql
--!include 50_engine/end.sql
--!include 50_engine/pause.sql
--!include 50_engine/rerun.sql
--!include 50_engine/heartbeat.sql
--!include 50_engine/reconcile.sql
--!include 50_engine/repair.sql
--!include 50_engine/verify.sql
--!include 60_triggers/fire_schedules.sql
--!include 70_cron/policies.sql
--!include 90_monitor/broken_logs.sql
--!include 90_monitor/stuck_runs.sql
--!include 90_monitor/projections.sql
--!include 90_monitor/references.sql
--!include 90_monitor/invariants.sql
--!include 95_api/workflows.sql
--!include 95_api/templates.sql
--!include 95_api/runs.sql
--!include 95_api/run_commands.sql
--!include 95_api/run_operations.sql

reset role;
