-- Runs, their events and logs: the tables, how they are cut by time, and the event functions that people call.

--!include 40_runs/tables.sql
--!include 40_runs/run_operations.sql
--!include 40_runs/flow.sql
--!include 40_runs/unfinished.sql
--!include 40_runs/partitioning.sql
--!include 40_runs/event_partitions.sql
--!include 40_runs/run_events.sql
--!include 40_runs/policies.sql
